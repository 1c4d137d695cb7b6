"""The breaker's rules under a clock that the test sets, and its status shared through Redis."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import orjson
import pytest
import redis
from django.conf import settings as django_settings
from pytest_django.fixtures import Settings

from channels import breaker
from channels.base import ASKED_TO_WAIT, BREAKER_OPEN, Outcome, Permit, Receipt
from channels.breaker import Breaker, OwnStore, RedisStore, State, Status, Tally, judge, leave
from channels.errors import (
    CredentialsRejected,
    InvalidRecipient,
    MessageRejected,
    OutcomeUnknown,
    ProviderUnavailable,
    RateLimited,
)
from channels.resting_redis import REST
from channels.shared import PATIENCE, shared_redis
from tests.ports import free_port

NOW = 1000.0
OPEN = Status(State.OPEN, NOW, "it failed", openings=1, open_until=NOW + 5)
HALF_OPEN = Status(State.HALF_OPEN, NOW, openings=1)
FAILED, OK = Tally(failed=1), Tally(ok=1)


@pytest.fixture
def client() -> Iterator[redis.Redis]:
    shared_redis.forget()
    found = redis.Redis.from_url(django_settings.REDIS_URL)
    found.flushdb()
    yield found
    found.close()
    shared_redis.forget()


@pytest.mark.parametrize(
    ("outcome", "tally"),
    [
        (Receipt("p"), Tally(ok=1)),
        (MessageRejected(), Tally(ok=1)),
        (InvalidRecipient(), Tally(ok=1)),
        (ProviderUnavailable(), Tally(failed=1)),
        (OutcomeUnknown(), Tally(failed=1)),
        (CredentialsRejected(), Tally(failed=1)),
        (RateLimited(retry_after=7), Tally(limited=1, retry_after=7)),
        (RateLimited(), Tally(limited=1)),
    ],
    ids=lambda given: type(given).__name__,
)
def test_what_counts_as_a_failure(outcome: Outcome, tally: Tally) -> None:
    assert Tally.of([outcome]) == tally


@pytest.mark.parametrize(
    ("ok", "failed", "state"),
    [(0, 4, State.CLOSED), (0, 5, State.OPEN), (3, 2, State.CLOSED), (5, 5, State.OPEN), (6, 5, State.CLOSED)],
)
def test_half_of_enough_calls_open_it(ok: int, failed: int, state: State) -> None:
    status = judge(Status(), Tally(ok=ok, failed=failed), NOW)
    assert status.state == state
    if state == State.OPEN:
        assert status.reason == f"{failed} of {ok + failed} calls failed in 10 s"
        assert leave(status, 9, NOW + 4) == (status, Permit(0, 1, BREAKER_OPEN))


def test_failures_that_left_the_window_do_not_count() -> None:
    status = judge(Status(), Tally(failed=4), NOW)
    assert judge(status, FAILED, NOW + 9).state == State.OPEN
    later = judge(status, FAILED, NOW + 10)
    assert later.state == State.CLOSED
    assert later.counts(NOW + 10) == (0, 1, 0)
    assert later.counts(NOW + 20) == (0, 0, 0)


@pytest.mark.parametrize(
    ("failed", "after", "state"),
    [(9, 1, State.CLOSED), (10, 1, State.OPEN), (1, 9, State.CLOSED), (2, 3, State.CLOSED), (2, 4, State.OPEN)],
)
def test_good_times_do_not_hide_that_it_stopped_answering(failed: int, after: int, state: State) -> None:
    was = judge(Status(), Tally(ok=500), NOW)
    status = judge(was, Tally(failed=failed), NOW + after)
    assert status.state == state
    if state == State.OPEN:
        assert status.reason == f"{failed} calls in a row failed"


def test_a_success_between_ends_the_row() -> None:
    status = judge(judge(Status(), Tally(ok=500), NOW), Tally(failed=9), NOW + 1)
    status = judge(status, Tally(ok=1, failed=9), NOW + 2)
    assert status.state == State.CLOSED
    assert judge(status, Tally(failed=9), NOW + 3).state == State.CLOSED


def test_open_hears_nothing_until_it_is_half_open() -> None:
    assert judge(OPEN, Tally(ok=9), NOW + 1) == OPEN
    assert judge(OPEN, Tally(ok=9), NOW + 1, trials=3) == OPEN
    assert judge(HALF_OPEN, Tally(failed=9), NOW + 6) == HALF_OPEN  # was sent before it opened


def test_half_open_grants_three_trials_at_a_time() -> None:
    status, permit = leave(OPEN, 50, NOW + 5)
    assert (status.state, status.since) == (State.HALF_OPEN, NOW + 5)
    assert permit == Permit(3, 1, BREAKER_OPEN, trial=True)
    assert leave(status, 1, NOW + 6) == (status, Permit(0, 1, BREAKER_OPEN))
    assert leave(OPEN, 2, NOW + 5)[1] == Permit(2, trial=True)

    status = judge(status, OK, NOW + 6, trials=1)
    assert leave(status, 50, NOW + 6)[1].granted == 1


def test_three_successes_close_it_with_an_empty_window() -> None:
    status = leave(replace(OPEN, openings=3), 3, NOW + 5)[0]
    status = judge(status, Tally(ok=2), NOW + 6, trials=2)
    assert status.state == State.HALF_OPEN
    status = judge(status, OK, NOW + 7, trials=1)
    assert status == Status(State.CLOSED, NOW + 7, "3 trials succeeded")
    assert leave(status, 50, NOW + 7) == (status, Permit(50))


def test_a_failed_trial_opens_it_for_longer_and_longer() -> None:
    status, lengths, now = judge(Status(), Tally(failed=5), NOW), [], NOW
    for _ in range(4):
        lengths.append(status.open_until - now)
        now = status.open_until
        status = judge(leave(status, 3, now)[0], Tally(ok=2, failed=1), now, trials=3)
    assert lengths == [5, 10, 20, 20]
    assert status.reason == "a trial failed"


def test_trials_that_never_report_are_granted_anew() -> None:
    status = leave(OPEN, 3, NOW + 5)[0]
    assert leave(status, 3, NOW + 14.9)[1].granted == 0
    assert leave(status, 3, NOW + 15)[1] == Permit(3, trial=True)


def test_a_trial_given_back_is_granted_anew() -> None:
    status = leave(OPEN, 3, NOW + 5)[0]
    status = judge(status, Tally(), NOW + 5, trials=2)
    assert leave(status, 3, NOW + 5)[1].granted == 2


@pytest.mark.parametrize(
    ("tally", "wait"),
    [
        (Tally(limited=5), 1.0),
        (Tally(ok=3, limited=3, retry_after=30), 30.0),
        (Tally(limited=5, retry_after=86_400), 300.0),
        (Tally(limited=4, retry_after=30), 0.0),
        (Tally(ok=6, limited=5, retry_after=30), 0.0),
        (Tally(ok=3, failed=2, limited=5, retry_after=30), 30.0),
    ],
)
def test_a_provider_that_asks_for_patience_is_paused(tally: Tally, wait: float) -> None:
    status = judge(Status(), tally, NOW)
    assert status.state == State.CLOSED
    assert leave(status, 9, NOW)[1] == (Permit(0, wait, ASKED_TO_WAIT) if wait else Permit(9))
    assert leave(status, 9, NOW + wait)[1] == Permit(9)
    assert not judge(status, OK, NOW + wait).paused_until > NOW + wait  # the same answers pause only once


def test_a_trial_that_is_rate_limited_is_waited_for() -> None:
    status = leave(OPEN, 3, NOW + 5)[0]
    status = judge(status, Tally(limited=1, retry_after=4), NOW + 6, trials=1)
    assert leave(status, 3, NOW + 7)[1] == Permit(0, 3, ASKED_TO_WAIT)
    assert leave(status, 3, NOW + 10)[1].granted == 1


def test_workers_share_it(client: redis.Redis) -> None:
    one, other = Breaker("SMS:p"), Breaker("SMS:p")
    changed = one.judge(Tally(failed=5), 0)
    assert changed is not None
    assert changed.state == State.OPEN
    permit, unchanged = other.leave(9)
    assert (permit.granted, permit.reason, unchanged) == (0, BREAKER_OPEN, None)
    assert 4 < permit.wait <= 5
    assert Breaker("EMAIL:p").leave(9)[0] == Permit(9)
    assert 0 < client.ttl("notifier:breaker:SMS:p") <= breaker.KEEP


def test_workers_that_write_at_once_lose_no_count(client: redis.Redis) -> None:
    def count(_: int) -> None:
        Breaker("SMS:p").judge(OK, 0)

    with ThreadPoolExecutor(8) as workers:
        list(workers.map(count, range(200)))
    assert looked(Breaker("SMS:p")).counts(time.time()) == (200, 0, 0)


def test_workers_together_get_three_trials(client: redis.Redis) -> None:
    store(client, replace(OPEN, open_until=time.time() - 1))
    with ThreadPoolExecutor(8) as workers:
        permits = list(workers.map(lambda _: Breaker("SMS:p").leave(1), range(40)))
    assert sum(permit.granted for permit, _ in permits) == 3
    assert [changed.state for _, changed in permits if changed] == [State.HALF_OPEN]


def test_a_store_writes_only_over_what_was_read(client: redis.Redis) -> None:
    for store in (RedisStore(client, "notifier:breaker:x"), OwnStore()):
        assert store.read()[0] == b""
        assert store.swap(b"", b"one")
        assert not store.swap(b"", b"two")
        assert store.swap(b"one", b"two")
        assert store.read()[0] == b"two"


@pytest.mark.parametrize("text", [b"}", b"[]", b'{"state": "AJAR"}', b'{"colour": 1}', b'{"buckets": [[1]]}'])
def test_what_cannot_be_read_is_nothing_known(client: redis.Redis, text: bytes) -> None:
    client.set("notifier:breaker:SMS:p", text)
    assert Breaker("SMS:p").leave(9)[0] == Permit(9)
    Breaker("SMS:p").judge(OK, 0)
    assert looked(Breaker("SMS:p")).state == State.CLOSED


def test_while_redis_is_away_each_process_has_its_own(client: redis.Redis, settings: Settings) -> None:
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    one, other = Breaker("SMS:p"), Breaker("SMS:p")
    began = time.monotonic()
    for _ in range(5):
        one.judge(FAILED, 0)
    assert one.leave(9)[0].reason == BREAKER_OPEN
    assert other.leave(9)[0] == Permit(9)
    assert one.look() is None
    assert time.monotonic() - began < 2 * PATIENCE


def test_redis_is_left_alone_for_a_while_and_then_asked_again(client: redis.Redis, settings: Settings) -> None:
    real, found = settings.REDIS_URL, Breaker("SMS:p")
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    assert found.look() is None
    assert shared_redis.rests_until > time.monotonic() + REST - 1
    settings.REDIS_URL = real
    assert looked(found) == Status()


def looked(found: Breaker) -> Status:
    seen = found.look()
    assert seen is not None
    return seen[0]


def store(client: redis.Redis, status: Status) -> None:
    client.set("notifier:breaker:SMS:p", orjson.dumps(status))
