"""Counting what happens, over all processes: each keeps counts for a second at most, then adds them in Redis.

A worker adds them as soon as its task ends, since it may be killed at any time.

Two places there: totals, which only ever grow and are what Prometheus scrapes, and a hash for each minute, which lives
26 hours and is what the admin's front page reads. While Redis is away the counts stay here, and are written when it is
back: they are bounded, as measures.py names every value that a label may have. They count in the minute in which they
are written.

What a process that is killed had not written is lost, and a write whose answer did not come may count twice. The ledger
is the truth; this is for people and alarms.
"""

from __future__ import annotations

import atexit
import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from threading import Lock, Timer
from typing import Any

import redis
from django.conf import settings

from channels.resting_redis import Resting
from notifier.measures import ERRORS, REDIS, Measure
from notifier.quick_redis import quick_redis

TOTALS = "notifier:tally"  # a hash: measure and labels, joined by "|", -> count
MINUTE = "notifier:tally:"  # followed by the minute since 1970, by Redis's clock: as the totals, of that minute
KEPT = 26 * 60 * 60  # seconds
MICROSECONDS = 1_000_000  # sums are whole numbers of these
SUM = "sum"
SOON = 1.0  # seconds that counts wait for others

Key = tuple[str, ...]  # measure, its labels, and of a histogram the bucket's upper bound, or SUM

WRITE = """
local minute = KEYS[2] .. math.floor(redis.call('TIME')[1] / 60)
for i = 2, #ARGV, 2 do
  redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1])
  redis.call('HINCRBY', minute, ARGV[i], ARGV[i + 1])
end
redis.call('EXPIRE', minute, ARGV[1])
"""


@dataclass(slots=True)
class _Kept:
    """What this process has counted and not written yet."""

    counts: Counter[Key] = field(default_factory=Counter)
    failures: int = 0  # of Redis, that are counted already
    lock: Lock = field(default_factory=Lock)
    timer: Timer | None = None  # until they are written, where no task's end comes before


_kept = _Kept()


def count(measure: Measure, *labels: str, number: int = 1) -> None:
    """Labels in the measure's order, of its known values."""
    add({(measure.name, *labels): number})


def observed(measure: Measure, labels: Iterable[str], values: Iterable[float]) -> dict[Key, int]:
    """What `add` takes, for these values in seconds of a histogram: its buckets, and their sum."""
    start, names, seconds = (measure.name, *labels), bounds(measure), list(values)
    places = Counter(bisect_left(measure.buckets, each) for each in seconds)
    total = int(sum(max(0.0, each) for each in seconds) * MICROSECONDS)
    return {**{(*start, names[place]): number for place, number in places.items()}, (*start, SUM): total}


@cache
def bounds(measure: Measure) -> tuple[str, ...]:
    """The upper bounds of a histogram's buckets, as keys and Prometheus write them."""
    return (*(f"{bound:g}" for bound in measure.buckets), "+Inf")


def add(counts: Mapping[Key, int]) -> None:
    """Many at once."""
    if settings.METRICS and counts:
        with _kept.lock:
            for key, number in counts.items():
                _kept.counts[key] += number
            _wait()


def flush() -> None:
    """Write what was counted, by one command. Gives up within 0.3 s, and never raises; then it is kept."""
    nothing = not _kept.counts and Resting.failures == _kept.failures
    if nothing or not settings.METRICS or quick_redis.rests():
        return
    with _kept.lock:
        if failed := Resting.failures - _kept.failures:
            _kept.counts[ERRORS.name, REDIS] += failed
            _kept.failures += failed
        counts, _kept.counts = _kept.counts, Counter()
    if counts and not quick_redis.ask(lambda client: _write(client, counts), lambda: False):
        add(counts)


def _wait() -> None:
    """For others that share the command; then for Redis. The caller holds the lock."""
    if _kept.timer is None and _kept.counts:
        _kept.timer = Timer(SOON, _flush_in_time)
        _kept.timer.daemon = True
        _kept.timer.start()


def _flush_in_time() -> None:
    _kept.timer = None
    flush()
    with _kept.lock:
        _wait()


def _write(client: redis.Redis, counts: Mapping[Key, int]) -> bool:
    fields = [part for key, number in counts.items() for part in ("|".join(key), number)]
    client.eval(WRITE, 2, TOTALS, MINUTE, KEPT, *fields)
    return True


def totals(client: redis.Redis) -> dict[Key, int]:
    """All that was ever counted, by a client that decodes. Raises redis.RedisError."""
    return _read(client.hgetall(TOTALS))


def minutes(client: redis.Redis, number: int) -> list[tuple[int, dict[Key, int]]]:
    """The last so many minutes, oldest first, the present one last: since 1970, with what was counted in each.

    By a client that decodes. Raises redis.RedisError.
    """
    now = int(client.time()[0]) // 60
    wanted = range(now - number + 1, now + 1)
    with client.pipeline(transaction=False) as pipe:
        for minute in wanted:
            pipe.hgetall(f"{MINUTE}{minute}")
        return list(zip(wanted, map(_read, pipe.execute()), strict=True))


def _read(found: Mapping[Any, Any]) -> dict[Key, int]:
    return {tuple(key.split("|")): int(number) for key, number in found.items()}


def forget() -> None:
    """Count from nought."""
    if _kept.timer:
        _kept.timer.cancel()
    _begin()


def _begin() -> None:
    """In a process that was forked: its parent writes what it has counted itself, and threads do not come along."""
    _kept.counts, _kept.lock, _kept.failures, _kept.timer = Counter(), Lock(), Resting.failures, None


os.register_at_fork(after_in_child=_begin)
atexit.register(flush)
