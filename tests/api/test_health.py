"""What whoever asks is told of the process's health, and what staff see of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from django.conf import settings as django_settings
from django.db import connection
from django.test import Client
from pytest_django.fixtures import Settings

from notifier import liveness
from tests.access.callers import staff
from tests.api.conftest import Caller
from tests.ports import free_port

pytestmark = pytest.mark.django_db
READY = "/health/ready"
QUEUES = ["events", "control", "urgent", "email", "sms", "push", "in_app"]


@pytest.fixture
def signs() -> Iterator[redis.Redis]:
    """Redis without a sign of life."""
    with redis.Redis.from_url(django_settings.REDIS_URL) as client:
        client.flushdb()
        yield client
        client.flushdb()


@pytest.fixture
def reader(caller: Callable[..., Caller]) -> Caller:
    return caller("read")


def test_whoever_asks_is_told_one_word(signs: redis.Redis) -> None:
    answer = Caller(None)("GET", READY)
    assert (answer.status, answer.body, answer.headers["Cache-Control"]) == (200, {"status": "ok"}, "no-store")


def test_a_reader_sees_each_check(signs: redis.Redis, reader: Caller) -> None:
    liveness.alive("control@here#1", ["events", "control", "urgent"])
    liveness.alive("worker@here#2", QUEUES)
    liveness.ticked()
    answer = reader("GET", READY)

    assert answer.status == 200
    age = answer.body["checks"]["beat"].pop("ageSeconds")
    assert 0 <= age < 5
    assert answer.body == {
        "status": "ok",
        "checks": {
            "database": {"status": "ok"},
            "migrations": {"status": "ok"},
            "redis": {"status": "ok"},
            "beat": {"status": "ok"},
            "workers": {"status": "ok", "number": 2, "queuesWithoutWorker": []},
        },
    }


def test_what_sends_is_missed_and_the_process_stays_ready(signs: redis.Redis, reader: Caller) -> None:
    liveness.alive("control@here#1", ["events", "control", "urgent", "email"])
    answer = reader("GET", READY)

    assert (answer.status, answer.body["status"]) == (200, "degraded")
    assert answer.body["checks"]["beat"] == {"status": "problem", "ageSeconds": None}
    unserved = {"status": "problem", "number": 1, "queuesWithoutWorker": ["sms", "push", "in_app"]}
    assert answer.body["checks"]["workers"] == unserved


def test_a_silent_beat_is_late_by_its_last_tick(signs: redis.Redis, reader: Caller) -> None:
    signs.set(liveness.TICK, 1, ex=liveness.TICK_TTL - 60)
    beat = reader("GET", READY).body["checks"]["beat"]
    assert beat["status"] == "problem"
    assert 59 <= beat["ageSeconds"] < 65


def test_without_redis_the_process_is_ready(settings: Settings, reader: Caller) -> None:
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    answer = reader("GET", READY)
    assert (answer.status, answer.body["status"]) == (200, "degraded")
    assert [answer.body["checks"][name]["status"] for name in ("redis", "beat", "workers")] == ["problem"] * 3
    assert Caller(None)("GET", READY).body == {"status": "ok"}


def test_a_migration_that_is_not_applied_makes_unready(
    transactional_db: None, signs: redis.Redis, caller: Callable[..., Caller]
) -> None:
    """Committed, as another session asks."""
    reader = caller("read")
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'notifier' AND name LIKE '0001%' RETURNING name")
        (name,) = cursor.fetchone()
    try:
        answer, plain = reader("GET", READY), Caller(None)("GET", READY)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO django_migrations (app, name, applied) VALUES ('notifier', %s, now())", [name])
    assert (plain.status, plain.body, plain.headers["Retry-After"]) == (503, {"status": "unavailable"}, "5")
    assert (answer.status, answer.body["status"]) == (503, "unavailable")
    assert answer.body["checks"]["migrations"] == {"status": "problem", "pending": [f"notifier.{name}"]}


@pytest.mark.parametrize(
    ("who", "sees"),
    [
        (lambda: staff(may_everything=False), True),
        (Client, False),
        (lambda: Client(headers={"Authorization": "Api-Key nk_unknown"}), False),
        (lambda: Client(headers={"Authorization": "Bearer nk_unknown"}), False),
    ],
    ids=["staff", "nobody", "unknown key", "no key of ours"],
)
def test_details_are_for_staff_and_readers(signs: redis.Redis, who: Callable[[], Client], sees: bool) -> None:
    answer: Any = who().get(READY)
    assert answer.status_code == 200
    assert ("checks" in answer.json()) is sees


def test_a_key_without_read_sees_no_details(signs: redis.Redis, caller: Callable[..., Caller]) -> None:
    assert caller("trigger")("GET", READY).body == {"status": "ok"}
