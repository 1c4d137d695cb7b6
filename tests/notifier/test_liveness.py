"""Losses are told from absences, by a real Redis. Time passes by moving or deleting keys, as their TTL would."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import redis
from django.conf import settings as django_settings
from pytest_django.fixtures import Settings

from notifier import liveness
from tests.ports import free_port


@pytest.fixture
def client() -> Iterator[redis.Redis]:
    """The run's own Redis database, empty."""
    with redis.Redis.from_url(django_settings.REDIS_URL) as client:
        client.flushdb()
        yield client
        client.flushdb()


@pytest.fixture
def watched(client: redis.Redis) -> redis.Redis:
    """Losses have been asked for a while."""
    liveness.losses()
    _keep_watching(client)
    return client


def _keep_watching(client: redis.Redis) -> None:
    now, _ = client.time()
    client.set(liveness.WATCH, now - liveness.GRACE, ex=liveness.WATCH_TTL)


def _fall_silent(client: redis.Redis, worker: str) -> None:
    client.delete(f"notifier:alive:{worker}")


def test_the_first_call_ever_names_redis_once(client: redis.Redis) -> None:
    assert [liveness.losses() for _ in range(3)] == [["redis"], [], []]


def test_redis_without_its_data_is_named_once(watched: redis.Redis) -> None:
    watched.flushdb()
    assert [liveness.losses() for _ in range(3)] == [["redis"], [], []]


def test_redis_in_another_run_is_named_once(watched: redis.Redis) -> None:
    watched.set(liveness.RUN, "the run before its restart with all data")
    assert [liveness.losses() for _ in range(3)] == [["redis"], [], []]


def test_a_silent_worker_is_named_once(watched: redis.Redis) -> None:
    for worker in ("a", "b"):
        liveness.alive(worker)
    assert liveness.losses() == []
    _fall_silent(watched, "b")
    assert [liveness.losses() for _ in range(2)] == [["b"], []]
    assert watched.smembers(liveness.KNOWN) == {b"a"}


def test_a_worker_that_said_goodbye_is_not_lost(watched: redis.Redis) -> None:
    liveness.alive("a")
    liveness.goodbye("a")
    assert liveness.losses() == []
    assert not watched.exists(liveness.KNOWN, "notifier:alive:a")


def test_a_worker_that_returns_is_known_again(watched: redis.Redis) -> None:
    liveness.alive("a")
    _fall_silent(watched, "a")
    assert liveness.losses() == ["a"]
    liveness.alive("a")
    assert liveness.losses() == []
    _fall_silent(watched, "a")
    assert liveness.losses() == ["a"]


def test_a_sign_of_life_runs_out(watched: redis.Redis) -> None:
    liveness.alive("a")
    assert liveness.BEAT * 3 < watched.ttl("notifier:alive:a") <= liveness.ALIVE_TTL


@pytest.mark.parametrize("calls", [1, 5])
def test_workers_have_time_to_come_back_after_redis_was_away(watched: redis.Redis, calls: int) -> None:
    """Also when several sweepers ask at once."""
    liveness.alive("a")
    _fall_silent(watched, "a")  # ran out while Redis was away, and so did ...
    watched.delete(liveness.WATCH)
    assert [liveness.losses() for _ in range(calls)] == [[]] * calls
    _keep_watching(watched)
    assert liveness.losses() == ["a"]


def test_redis_away_is_no_loss_and_no_error(settings: Settings, client: redis.Redis) -> None:
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    liveness._client.cache_clear()
    try:
        liveness.alive("a")
        liveness.goodbye("a")
        assert liveness.losses() == []
    finally:
        liveness._client.cache_clear()


def test_what_redis_told_before_it_went_is_kept(watched: redis.Redis) -> None:
    """An answer that only the first question got: names are text, so a number for the watch breaks the second."""
    watched.flushdb()
    watched.rpush(liveness.WATCH, "not a text")
    assert liveness.losses() == ["redis"]


def test_a_child_does_not_share_its_parents_socket() -> None:
    assert liveness._client(os.getpid()) is not liveness._client(os.getppid())


def test_signs_tell_who_lives_and_what_they_take(client: redis.Redis) -> None:
    liveness.alive("a", ["events", "control"])
    liveness.alive("b", ["email"])
    liveness.alive("c")
    _fall_silent(client, "b")
    assert _signs().workers == {"a": frozenset({"events", "control"}), "c": frozenset()}
    assert client.scard(liveness.KNOWN) == 3, "looking names no loss"


def test_signs_tell_the_age_of_beats_last_tick(client: redis.Redis) -> None:
    assert _signs().beat is None
    liveness.ticked()
    assert 0 <= (_signs().beat or 0) < 5
    client.expire(liveness.TICK, liveness.TICK_TTL - 100)
    assert 100 <= (_signs().beat or 0) < 105


def _signs() -> liveness.Signs:
    with liveness.client_with(1) as client:
        return liveness.signs(client)
