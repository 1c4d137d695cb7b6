"""What a web process says of itself while its servers are not set up, away, or hang."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError

import pytest
import redis

from notifier import liveness
from tests import processes
from tests.chaos.servers import Postgres, Valkey
from tests.integration.started import started
from tests.ports import free_port
from tests.servers import DATA_DIRS

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.processes]
LONGEST = 1.5  # seconds, on a busy machine


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    """A server without tables, that the test may stop."""
    folder = DATA_DIRS / f"health-{secrets.token_hex(4)}"  # pytest's own folders are closed to the server's user
    (folder / "logs").mkdir(parents=True)
    server = Postgres(folder, secrets.token_hex(4), fast=True)
    server.start()
    server.wait()
    yield server
    server.child.end()
    shutil.rmtree(folder)


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code
    except OSError:
        return 0


def test_ready_follows_the_database_alone_and_never_hangs(
    env: dict[str, str], postgres: Postgres, valkey: Valkey, tmp_path: Path
) -> None:
    port = free_port()
    env = {**env, "DATABASE_URL": postgres.url}
    web = [sys.executable, "-m", "uvicorn", "config.asgi:application", "--port", str(port), "--no-access-log"]
    ready = f"http://127.0.0.1:{port}/health/ready"
    with started(web, env, tmp_path / "web.log"):
        processes.wait_for(lambda: status(ready) == 503, "it answers, and misses its tables")
        migrate = [sys.executable, "manage.py", "migrate", "--no-input", "--verbosity", "0"]
        subprocess.run(migrate, env=env, cwd=processes.ROOT, check=True)
        assert status(ready) == 200

        valkey.kill(wipe=False)
        assert status(ready) == 200, "what is recorded without Redis waits"

        stopped = postgres.backends()
        for pid in stopped:
            _signal(pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            answers = [status(ready) for _ in range(3)]
            took = (time.monotonic() - began) / 3
        finally:
            for pid in stopped:
                _signal(pid, signal.SIGCONT)
        assert answers == [503] * 3
        assert took < LONGEST
        processes.wait_for(lambda: status(ready) == 200, "ready again", 10)

        postgres.restart(signal.SIGINT)
        processes.wait_for(lambda: status(ready) == 200, "ready with the database back", 10)


def test_real_workers_and_a_real_beat_are_seen(env: dict[str, str], valkey: Valkey, tmp_path: Path) -> None:
    quick = ("--without-mingle", "--without-gossip", "--concurrency", "1")
    commands = {
        "control": processes.celery(
            "worker", "--queues", "events,control,urgent", "--hostname", "control@here", *quick
        ),
        "beat": processes.celery(
            "beat", "--scheduler", "django_celery_beat.schedulers:DatabaseScheduler", "--pidfile="
        ),
    }
    with processes.running(commands, env, tmp_path), valkey.client() as client:
        processes.wait_for(lambda: liveness.signs(client).beat is not None, "a tick")
        processes.wait_for(lambda: liveness.signs(client).workers, "a worker")
        signs = liveness.signs(client)
        ages: list[float] = []
        processes.wait_for(lambda: _falls(client, ages), "another tick", 10)
    assert list(signs.workers.values()) == [frozenset({"events", "control", "urgent"})]
    assert signs.beat is not None
    assert signs.beat < 10


def _falls(client: redis.Redis, ages: list[float]) -> bool:
    """A tick came: the age is less than it was."""
    ages.append(liveness.signs(client).beat or 0.0)
    return len(ages) > 1 and ages[-1] < ages[-2]


def _signal(pid: int, number: signal.Signals) -> None:
    os.kill(pid, number)
