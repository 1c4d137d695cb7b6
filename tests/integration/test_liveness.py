"""Who died is told from real workers: killed, stopped, hung, and with Redis emptied under them."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis
from django.conf import settings as django_settings

from notifier import liveness
from tests import processes
from tests.integration.started import worker
from tests.sandbox_process import Sandbox

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]

WITHIN = 20.0  # seconds: a sign of life runs out after 10, the repair scan looks every 5


@pytest.fixture
def client() -> Iterator[redis.Redis]:
    with redis.Redis.from_url(django_settings.REDIS_URL) as client:
        client.flushdb()
        yield client


@pytest.fixture
def env(client: redis.Redis, sandbox: Sandbox, service_account: Path) -> dict[str, str]:
    return {**processes.environment(sandbox, service_account), "PGAPPNAME": "liveness"}


def known(client: redis.Redis) -> set[bytes]:
    return client.smembers(liveness.KNOWN)  # type: ignore[return-value] # bytes: this client decodes nothing


def losses_within(seconds: float, count: int) -> set[str]:
    """The losses that repair scans see until there are so many."""
    found: set[str] = set()

    def look() -> bool:
        found.update(liveness.losses())
        return len(found) >= count

    processes.wait_for(look, f"{count} losses", seconds)
    return found


def test_the_killed_and_the_hung_are_named_and_the_stopped_is_not(
    env: dict[str, str], client: redis.Redis, tmp_path: Path
) -> None:
    assert liveness.losses() == ["redis"]
    with (
        worker(env, tmp_path / "killed.log", "--hostname", "killed@here") as killed,
        worker(env, tmp_path / "hung.log", "--hostname", "hung@here") as hung,
        worker(env, tmp_path / "stopped.log", "--hostname", "stopped@here") as stopped,
    ):
        names = {name.decode().partition("#")[0]: name for name in known(client)}
        assert set(names) == {"killed@here", "hung@here", "stopped@here"}
        killed.kill_group()
        hung.send(signal.SIGSTOP)
        stopped.send(signal.SIGTERM)
        assert stopped.process.wait(15) == 0
        assert losses_within(WITHIN, 2) == {names["killed@here"].decode(), names["hung@here"].decode()}
        assert known(client) == set()
        hung.send(signal.SIGCONT)
        processes.wait_for(lambda: known(client) == {names["hung@here"]}, "the one that hung known again", 5)


def test_redis_emptied_is_named_and_its_workers_come_back(
    env: dict[str, str], client: redis.Redis, tmp_path: Path
) -> None:
    liveness.losses()
    with worker(env, tmp_path / "worker.log"):
        before = known(client)
        client.flushdb()
        assert liveness.losses() == ["redis"]
        processes.wait_for(lambda: known(client) == before, "the worker known again", 5)
        assert liveness.losses() == []


def test_the_main_process_opens_no_database_connection(
    env: dict[str, str], client: redis.Redis, tmp_path: Path
) -> None:
    # without a cache of people its children have nothing to read at the start (notifier/warm.py)
    with worker({**env, "NOTIFIER_CACHE_SECONDS": "0"}, tmp_path / "worker.log"):
        processes.wait_for(lambda: client.ttl(f"notifier:alive:{next(iter(known(client))).decode()}") == 9, "a beat")
        with psycopg.connect(processes.database_url()) as connection:
            count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'liveness'"
            assert connection.execute(count).fetchone() == (0,)
