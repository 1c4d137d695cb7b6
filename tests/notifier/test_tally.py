"""The tally: many processes count in one Redis, which may be away."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest
import redis
from celery.exceptions import Retry
from django.db import InterfaceError, OperationalError
from kombu.exceptions import OperationalError as BrokerError
from pytest_django.fixtures import Settings

from notifier import liveness, tally, tasks
from notifier.measures import ERRORS, HOLDS, REPAIRS, SETTLE_LAG, TALLIED
from notifier.quick_redis import quick_redis
from notifier.tally import Key
from tests.ports import free_port
from tests.tallies import tally_of_nothing

HELD: Key = (HOLDS.name, "CAP")


@pytest.fixture(autouse=True)
def nothing() -> Iterator[None]:
    tally_of_nothing()
    yield
    quick_redis.forget()
    tally.forget()


@pytest.fixture
def client() -> Iterator[redis.Redis]:
    with liveness.client_with(1) as client:
        yield client


def test_counts_come_to_redis_by_one_write(client: redis.Redis) -> None:
    tally.count(HOLDS, "CAP")
    tally.count(HOLDS, "CAP", number=2)
    tally.count(REPAIRS, "send")
    assert tally.totals(client) == {}
    tally.flush()
    tally.flush()
    assert tally.totals(client) == {HELD: 3, (REPAIRS.name, "send"): 1}


def test_minutes_are_apart_and_run_out(client: redis.Redis) -> None:
    tally.count(HOLDS, "CAP")
    tally.flush()
    (before, old), (now, new) = tally.minutes(client, 2)
    if not new:  # a minute began in between
        old, new, now = new, old, before
    assert (old, new) == ({}, {HELD: 1})
    assert tally.KEPT - 5 <= client.ttl(f"{tally.MINUTE}{now}") <= tally.KEPT
    assert client.ttl(tally.TOTALS) == -1


def test_a_histogram_has_buckets_and_a_sum() -> None:
    name, counts = SETTLE_LAG.name, tally.observed(SETTLE_LAG, (), (0.0, 0.01, 0.011, 500.0, -0.001))  # clocks differ
    assert counts == {(name, "0.01"): 3, (name, "0.025"): 1, (name, "+Inf"): 1, (name, "sum"): 500_021_000}


def test_a_forked_process_counts_its_own(client: redis.Redis) -> None:
    tally.count(HOLDS, "CAP")
    if not (child := os.fork()):
        tally.count(HOLDS, "CAP", number=10)
        tally.flush()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert tally.totals(client) == {HELD: 10}
    tally.flush()
    assert tally.totals(client) == {HELD: 11}


def test_what_was_counted_while_redis_was_away_is_written_when_it_is_back(
    client: redis.Redis, settings: Settings
) -> None:
    here, settings.REDIS_URL = settings.REDIS_URL, f"redis://127.0.0.1:{free_port()}/0"
    quick_redis.forget()
    tally.count(HOLDS, "CAP")
    tally.flush()
    tally.count(HOLDS, "CAP")
    tally.flush()  # Redis is being left alone
    assert quick_redis.rests()

    settings.REDIS_URL = here
    quick_redis.forget()
    tally.flush()
    assert tally.totals(client) == {HELD: 2, (ERRORS.name, "redis"): 1}


def test_without_a_task_counts_are_written_soon(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "SOON", 0.05)
    for _ in range(3):
        tally.count(HOLDS, "CAP")
    ends = time.monotonic() + 10
    while not (found := tally.totals(client)) and time.monotonic() < ends:
        time.sleep(0.01)
    assert found == {HELD: 3}


@pytest.mark.parametrize(
    ("failed", "server"),
    [
        (OperationalError("gone"), "database"),
        (Retry(exc=InterfaceError("gone")), "database"),
        (redis.ConnectionError("gone"), "redis"),
        (BrokerError("gone"), "redis"),
        (ValueError("of our own"), None),
        (None, None),
    ],
)
def test_a_task_tells_at_its_end_of_a_server_that_was_away(
    client: redis.Redis, failed: Exception | None, server: str | None
) -> None:
    tally.count(HOLDS, "CAP")
    tasks.dispatch.after_return("any", failed, "id", (), {}, None)
    told: dict[Key, int] = {(ERRORS.name, server): 1} if server else {}
    assert tally.totals(client) == {HELD: 1, **told}


def test_switched_off_nothing_is_counted(client: redis.Redis, settings: Settings) -> None:
    settings.METRICS = False
    tally.count(HOLDS, "CAP")
    tally.flush()
    settings.METRICS = True
    tally.flush()
    assert tally.totals(client) == {}


@pytest.mark.django_db
def test_no_label_breaks_its_key() -> None:
    assert not [labels for measure in TALLIED for labels in measure.known() if "|" in "".join(labels)]
