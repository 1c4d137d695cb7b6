"""The circuit breaker of a provider: who fails too often is left alone for a while, by all workers at once.

    CLOSED ── half of the calls failed ──► OPEN ── some seconds ──► HALF_OPEN ── trials succeeded ──► CLOSED
                                             ▲                         │
                                             └──── a trial failed ─────┘

`leave` and `judge` are pure: a Status and the time in, a Status out. A Breaker keeps the Status in Redis, with Redis's
own clock, or in the process's memory while Redis is away. A provider that only asks for patience (429) is paused.
"""

from __future__ import annotations

import enum
import logging
import random
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias, TypeVar

import orjson
import redis

from channels.base import ASKED_TO_WAIT, BREAKER_OPEN, Outcome, Permit
from channels.errors import CredentialsRejected, OutcomeUnknown, ProviderUnavailable, RateLimited
from channels.shared import shared_redis

log = logging.getLogger(__name__)

WINDOW = 10  # seconds that are looked back on
CALLS = 5  # in the window, before anything is concluded from it
IN_A_ROW = 10  # failures since the last second with a success: open, however good the window was before …
SILENT = (2, 4)  # … as are so many failures, when the last success is so many seconds ago: it does not answer
RATE = 0.5  # of them failed: open; of them were rate limited: pause
OPEN_FOR = (5.0, 10.0, 20.0)  # seconds; the n-th opening in a row, the last one for all further
TRIALS = 3  # sends at a time while half open, and successes that close
TRIAL_LOST = 10.0  # seconds without word of a trial: its worker was killed
TRIAL_WAIT = 1.0  # seconds, for those who came while the trials were under way
PAUSE = 1.0  # seconds, where a rate limited provider does not say
LONGEST_PAUSE = 300.0
KEEP = 600  # seconds without a change, then all is forgotten; longer than any pause
TRIES = 100  # to write what other workers write as well; each failure means that another one succeeded
SEEN_FOR = 10.0  # seconds that a process trusts its clock to run as Redis's does
STEP_ASIDE = 0.0005  # seconds, times the failed tries: so that the unlucky one gets through

FAILURES = (ProviderUnavailable, OutcomeUnknown, CredentialsRejected)

_T = TypeVar("_T")


class State(enum.StrEnum):
    CLOSED = "CLOSED"
    HALF_OPEN = "HALF_OPEN"
    OPEN = "OPEN"


Bucket: TypeAlias = tuple[int, int, int, int]  # a second, and the calls in it: ok, failed, rate limited


@dataclass(frozen=True, slots=True)
class Status:
    """All there is to know of a breaker. Times are seconds of the store's clock."""

    state: State = State.CLOSED
    since: float = 0.0
    reason: str = ""
    buckets: tuple[Bucket, ...] = ()
    openings: int = 0  # in a row, without a closing between them
    open_until: float = 0.0
    trials: int = 0  # under way
    trials_until: float = 0.0
    succeeded: int = 0
    paused_until: float = 0.0

    def counts(self, now: float) -> tuple[int, int, int]:
        """The calls of the window: ok, failed, rate limited."""
        recent = [bucket for bucket in self.buckets if bucket[0] > int(now) - WINDOW]
        return sum(b[1] for b in recent), sum(b[2] for b in recent), sum(b[3] for b in recent)


@dataclass(frozen=True, slots=True)
class Tally:
    """What came of some calls. `retry_after`: the longest wait in seconds that the provider asked for."""

    ok: int = 0
    failed: int = 0
    limited: int = 0
    retry_after: float = 0.0

    @classmethod
    def of(cls, outcomes: Iterable[Outcome]) -> Tally:
        """A Receipt or a PermanentError is ok: the provider answers."""
        outcomes = list(outcomes)
        failed = sum(isinstance(outcome, FAILURES) for outcome in outcomes)
        limited = [outcome for outcome in outcomes if isinstance(outcome, RateLimited)]
        asked = max((outcome.retry_after or 0.0 for outcome in limited), default=0.0)
        return cls(len(outcomes) - failed - len(limited), failed, len(limited), asked)


def leave(was: Status, wanted: int, now: float) -> tuple[Status, Permit]:
    """How many of `wanted` calls may be made now."""
    if was.state == State.OPEN:
        if now < was.open_until:
            return was, Permit(0, was.open_until - now, BREAKER_OPEN)
        was = replace(was, state=State.HALF_OPEN, since=now, reason="time for a trial", trials=0, succeeded=0)
    if now < was.paused_until:
        return was, Permit(0, was.paused_until - now, ASKED_TO_WAIT)
    return (was, Permit(wanted)) if was.state == State.CLOSED else _try(was, wanted, now)


def _try(was: Status, wanted: int, now: float) -> tuple[Status, Permit]:
    under_way = 0 if now >= was.trials_until else was.trials
    granted = min(wanted, TRIALS - under_way)
    if granted <= 0:
        return was, Permit(0, TRIAL_WAIT, BREAKER_OPEN)
    wait, reason = (TRIAL_WAIT, BREAKER_OPEN) if granted < wanted else (0.0, "")
    status = replace(was, trials=under_way + granted, trials_until=now + TRIAL_LOST)
    return status, Permit(granted, wait, reason, trial=True)


def judge(was: Status, tally: Tally, now: float, trials: int = 0) -> Status:
    """What some calls say of the provider. `trials`: how many of them had been granted as trials.

    Whoever was under way when it opened comes too late to be heard.
    """
    if was.state == State.CLOSED:
        return _judge_window(_count(was, tally, now), tally, now)
    return _judge_trials(was, tally, now, trials) if was.state == State.HALF_OPEN and trials else was


def _count(was: Status, tally: Tally, now: float) -> Status:
    """Add the calls to this second's, and drop what has left the window."""
    second = int(now)
    counted = {bucket[0]: bucket for bucket in was.buckets if bucket[0] > second - WINDOW}
    _, ok, failed, limited = counted.get(second, (second, 0, 0, 0))
    counted[second] = (second, ok + tally.ok, failed + tally.failed, limited + tally.limited)
    return replace(was, buckets=tuple(counted.values()))


def _judge_window(was: Status, tally: Tally, now: float) -> Status:
    ok, failed, limited = was.counts(now)
    last_ok = max((second for second, succeeded, _, _ in was.buckets if succeeded), default=int(now))
    in_a_row = sum(bucket[2] for bucket in was.buckets if bucket[0] > last_ok)
    if in_a_row >= IN_A_ROW or (in_a_row >= SILENT[0] and int(now) - last_ok >= SILENT[1]):
        return _open(was, f"{in_a_row} calls in a row failed", now)
    if ok + failed >= CALLS and failed >= RATE * (ok + failed):
        return _open(was, f"{failed} of {ok + failed} calls failed in {WINDOW} s", now)
    calls = ok + failed + limited
    if tally.limited and calls >= CALLS and limited >= RATE * calls:
        return _pause(was, tally, now)
    return was


def _judge_trials(was: Status, tally: Tally, now: float, trials: int) -> Status:
    was = replace(was, trials=max(was.trials - trials, 0), succeeded=was.succeeded + tally.ok)
    if tally.failed:
        return _open(was, "a trial failed", now)
    if was.succeeded >= TRIALS:
        return Status(since=now, reason=f"{was.succeeded} trials succeeded", paused_until=was.paused_until)
    return _pause(was, tally, now) if tally.limited else was


def _open(was: Status, reason: str, now: float) -> Status:
    length = OPEN_FOR[min(was.openings, len(OPEN_FOR) - 1)]
    return Status(
        State.OPEN, now, reason, openings=was.openings + 1, open_until=now + length, paused_until=was.paused_until
    )


def _pause(was: Status, tally: Tally, now: float) -> Status:
    """All wait as asked; the count starts anew, so that the same answers pause only once."""
    asked = min(tally.retry_after or PAUSE, LONGEST_PAUSE)
    buckets = tuple((second, ok, failed, 0) for second, ok, failed, _ in was.buckets)
    return replace(was, buckets=buckets, paused_until=max(was.paused_until, now + asked))


class Store(Protocol):
    """Where a Status lives, as text."""

    def read(self) -> tuple[bytes, float]:
        """The text (empty: none) and the time."""

    def swap(self, old: bytes, new: bytes) -> bool:
        """Write `new` where `old` still stands; False when another one was faster."""


class RedisStore:
    """Shared by all. Raises redis.RedisError."""

    SWAP = """
        if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
        redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
        return 1
    """

    def __init__(self, client: redis.Redis, key: str) -> None:
        self._client, self._key = client, key

    def read(self) -> tuple[bytes, float]:
        with self._client.pipeline(transaction=False) as pipeline:
            pipeline.get(self._key)
            pipeline.time()
            text, (seconds, micros) = pipeline.execute()
        return text or b"", seconds + micros / 1_000_000

    def swap(self, old: bytes, new: bytes) -> bool:
        return bool(self._client.eval(self.SWAP, 1, self._key, old, new, str(KEEP)))


class OwnStore:
    """The process's own."""

    def __init__(self) -> None:
        self._lock, self._text, self._written = threading.Lock(), b"", 0.0

    def read(self) -> tuple[bytes, float]:
        with self._lock:
            return self._found(), time.monotonic()

    def swap(self, old: bytes, new: bytes) -> bool:
        with self._lock:
            if self._found() != old:
                return False
            self._text, self._written = new, time.monotonic()
            return True

    def _found(self) -> bytes:
        return self._text if time.monotonic() < self._written + KEEP else b""


class Breaker:
    """The breaker of one provider. Both calls also give the new Status when its state changed, else None."""

    def __init__(self, name: str) -> None:
        self._key = f"notifier:breaker:{name}"
        self._own = OwnStore()
        self._seen = Seen()

    def leave(self, wanted: int) -> tuple[Permit, Status | None]:
        return self._step(lambda was, now: leave(was, wanted, now))

    def judge(self, tally: Tally, trials: int) -> Status | None:
        """One round trip where nobody else wrote since this process's last one: it begins with what it knows."""
        return self._step(lambda was, now: (judge(was, tally, now, trials), None), self._seen)[1]

    def look(self) -> tuple[Status, float] | None:
        """The status and the time by Redis, without a change; None while Redis is away."""
        read = shared_redis.ask(lambda client: RedisStore(client, self._key).read(), lambda: None)
        return (_loads(read[0]), read[1]) if read else None

    def _step(
        self, step: Callable[[Status, float], tuple[Status, _T]], known: Seen | None = None
    ) -> tuple[_T, Status | None]:
        return shared_redis.ask(
            lambda client: self._shared(RedisStore(client, self._key), step, known),
            lambda: _take_step(self._own, step)[:2],
        )

    def _shared(
        self, store: Store, step: Callable[[Status, float], tuple[Status, _T]], known: Seen | None
    ) -> tuple[_T, Status | None]:
        answer, changed, self._seen = _take_step(store, step, known)
        return answer, changed


@dataclass(frozen=True, slots=True)
class Seen:
    """What a store held at its time `now`, which was `at` by this process's clock."""

    text: bytes = b""
    now: float = 0.0
    at: float = 0.0

    def guess(self) -> tuple[bytes, float] | None:
        """What it may still hold, and its time; None when that is too long ago."""
        age = time.monotonic() - self.at
        return (self.text, self.now + age) if self.at and age < SEEN_FOR else None


def _take_step(
    store: Store, step: Callable[[Status, float], tuple[Status, _T]], known: Seen | None = None
) -> tuple[_T, Status | None, Seen]:
    guess = known and known.guess()
    for tries in range(TRIES):
        if tries:  # even a sleep of nothing costs half a millisecond
            time.sleep(random.uniform(0, tries * STEP_ASIDE))  # noqa: S311 - no secret
        text, now = guess or store.read()
        was = _loads(text)
        status, answer = step(was, now)
        if status == was and not guess:
            return answer, None, Seen(text, now, time.monotonic())
        new = orjson.dumps(status)
        if status != was and store.swap(text, new):
            return answer, status if status.state != was.state else None, Seen(new, now, time.monotonic())
        guess = None  # out of date, or nothing to write that would show whether it is
    log.warning("a breaker's count was lost: too many wrote at once")
    return answer, None, Seen()


def _loads(text: bytes) -> Status:
    """What cannot be read (an older version's) counts as nothing known."""
    try:
        found = orjson.loads(text) if text else {}
        buckets = tuple((int(a), int(b), int(c), int(d)) for a, b, c, d in found.pop("buckets", ()))
        return Status(state=State(found.pop("state", State.CLOSED)), buckets=buckets, **found)
    except (ValueError, TypeError, AttributeError):
        return Status()
