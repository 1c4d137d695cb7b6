"""What a check makes of what it was told, apart from the servers that tell it."""

from __future__ import annotations

from typing import Any

import pytest

from notifier.catalogue import Priority
from notifier.doctor import of_postgres, of_redis, of_settings, of_work
from notifier.doctor.finding import Finding

REDIS = {
    "redis_version": "7.2.4",
    "role": "master",
    "maxmemory_policy": "noeviction",
    "maxmemory": 1000,
    "used_memory": 100,
    "aof_enabled": 1,
    "aof_last_write_status": "ok",
}


@pytest.mark.parametrize(
    ("key", "weak"),
    [
        ("development only, never in production", True),
        ("a" * 60, True),
        ("django-insecure-" + "abcdefghij" * 5, True),
        ("abcdefghij" * 5, False),
    ],
)
def test_a_weak_key(key: str, weak: bool) -> None:
    assert of_settings.is_weak(key) is weak


@pytest.mark.parametrize(
    ("seconds", "level"), [(0.0, "problem"), (20.0, "problem"), (15.0, "ok"), (60.0, "problem")], ids=str
)
def test_a_statement_ends_before_its_lease(seconds: float, level: str) -> None:
    assert of_postgres.judge_timeout(seconds, 20.0).level == level


@pytest.mark.parametrize(
    ("most", "used", "level"),
    [(97, 10, "ok"), (97, 76, "ok"), (97, 78, "warning"), (30, 12, "warning"), (97, 97, "problem"), (19, 1, "problem")],
)
def test_connections_leave_room_for_a_web_process(most: int, used: int, level: str) -> None:
    assert of_postgres.judge_connections(most, used, 20).level == level


@pytest.mark.parametrize(
    ("skew", "unsure", "level"),
    [(0.5, 0.0, "ok"), (-3.0, 0.1, "warning"), (3.0, 2.0, "ok"), (61.0, 0.1, "problem"), (-90.0, 0.1, "problem")],
)
def test_clocks_may_differ_by_what_the_way_takes(skew: float, unsure: float, level: str) -> None:
    assert of_postgres.judge_skew(skew, unsure).level == level


@pytest.mark.parametrize("value", ["on", "local", "remote_apply"])
def test_whatever_waits_for_the_disk_is_durable(value: str) -> None:
    [found] = of_postgres.judge_durability({"fsync": "on", "synchronous_commit": value})
    assert found.level == "ok"


@pytest.mark.parametrize(
    ("judge", "facts", "level", "said"),
    [
        (of_redis.judge_server, {}, "ok", "Redis 7.2.4"),
        (of_redis.judge_server, {"valkey_version": "9.1.2"}, "ok", "Valkey 9.1.2"),
        (of_redis.judge_server, {"redis_version": "6.0.16"}, "problem", "too old"),
        (of_redis.judge_server, {"role": "slave"}, "problem", "replica"),
        (of_redis.judge_memory, {}, "ok", "10% of maxmemory"),
        (of_redis.judge_memory, {"maxmemory": 0}, "ok", "no maxmemory"),
        (of_redis.judge_memory, {"used_memory": 900}, "warning", "90%"),
        (of_redis.judge_memory, {"maxmemory_policy": "allkeys-lru"}, "problem", "allkeys-lru"),
        (lambda facts: of_redis.judge_persistence(facts, "everysec"), {}, "ok", "everysec"),
        (lambda facts: of_redis.judge_persistence(facts, None), {}, "ok", "not to be seen"),
        (lambda facts: of_redis.judge_persistence(facts, "no"), {}, "warning", "appendfsync is no"),
        (lambda facts: of_redis.judge_persistence(facts, "no"), {"aof_enabled": 0}, "warning", "appendonly is off"),
        (
            lambda facts: of_redis.judge_persistence(facts, "always"),
            {"aof_last_write_status": "err"},
            "problem",
            "cannot be written",
        ),
    ],
)
def test_redis(judge: Any, facts: dict[str, Any], level: str, said: str) -> None:
    found: Finding = judge({**REDIS, **facts})
    assert (found.level, said in found.found) == (level, True), found


@pytest.mark.parametrize(
    ("notify", "timeout", "levels"),
    [("", "0", ["ok"]), (None, None, ["ok"]), ("AKE", "0", ["warning"]), ("", "30", ["warning"]), ("", "300", ["ok"])],
)
def test_what_makes_redis_dear(notify: str | None, timeout: str | None, levels: list[str]) -> None:
    assert [found.level for found in of_redis.judge_costs(notify, timeout)] == levels


@pytest.mark.parametrize(("age", "level"), [(None, "problem"), (0.4, "ok"), (15.0, "ok"), (15.1, "problem")])
def test_beat(age: float | None, level: str) -> None:
    assert of_work.judge_beat(age).level == level


@pytest.mark.parametrize(
    ("urgent", "normal", "level"),
    [(0, 0, "ok"), (9, 50, "ok"), (11, 0, "warning"), (0, 61, "warning"), (61, 0, "problem"), (0, 601, "problem")],
)
def test_urgent_events_may_wait_less(urgent: float, normal: float, level: str) -> None:
    found = of_work.judge_backlog(3, {Priority.URGENT: urgent, Priority.NORMAL: normal, Priority.BULK: 0})
    assert found.level == level


def test_a_large_backlog_is_not_counted_to_its_end() -> None:
    found = of_work.judge_backlog(of_work.MOST_COUNTED + 1, {Priority.BULK: 1200.0})
    assert found.found == "Events due: over 10,000; the oldest wait: bulk 1200 s."
