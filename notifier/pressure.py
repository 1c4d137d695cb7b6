"""Back-pressure: what the workers cannot take yet waits in PostgreSQL, where priority counts, and not in Redis.

A queue is full from settings.QUEUE_BOUND messages on; Redis away counts as full. While one is, dispatch claims nothing:
what comes meanwhile makes the next batch bigger, and nobody overtakes. The next deliver that ends rings. A queue that
stays full is stuck, as its provider takes its time; then its channel is left out, and the others go on.

So batches adapt by themselves. With idle workers the queues are empty, and an event goes out alone, at once. With busy
ones a message waits in a queue, and what comes until a worker has taken it goes out together.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

import redis
from django.conf import settings

from notifier.quick_redis import quick_redis

log = logging.getLogger(__name__)

HELD_TTL = 10  # seconds; Beat's due scan comes sooner
FULL = "notifier:full"  # a hash: queue -> since when it has been full, by Redis's clock
STUCK = 10.0  # seconds without room: longer than the longest batch takes at a healthy provider


def full(queues: Collection[str]) -> dict[str, float]:
    """Those among these queues that take no more for now, each with the seconds since it was first seen so."""
    names = sorted(queues)
    try:
        with quick_redis.client().pipeline(transaction=False) as pipeline:
            for name in names:
                pipeline.llen(name)
            pipeline.hgetall(FULL)
            pipeline.time()
            *lengths, since, (seconds, micros) = pipeline.execute()
        over = {name for name, length in zip(names, lengths, strict=True) if length >= settings.QUEUE_BOUND}
        known = {name.decode(): float(at) for name, at in since.items()}
        now = seconds + micros / 1_000_000
        _remember(over - known.keys(), known.keys() & set(names) - over, now)
        return {name: max(0.0, now - known.get(name, now)) for name in sorted(over)}
    except redis.RedisError as error:
        log.warning("queues not seen, nothing is dispatched: %s", type(error).__name__)
        return dict.fromkeys(names, 0.0)


def _remember(newly_full: Collection[str], no_longer: Collection[str], now: float) -> None:
    """What has changed: usually nothing has."""
    if newly_full:
        quick_redis.client().hset(FULL, mapping=dict.fromkeys(newly_full, str(now)))
    if no_longer:
        quick_redis.client().hdel(FULL, *no_longer)


def hold(lane: str) -> None:
    """Something of this lane was left out: whoever makes room is to ring."""
    try:
        quick_redis.client().set(_held(lane), 1, ex=HELD_TTL)
    except redis.RedisError as error:
        log.warning("not held: %s", type(error).__name__)


def relieved(lanes: Mapping[str, Collection[str]]) -> bool:
    """True for the one who is to ring: of one of these lanes something was left out, and its queues have room again."""
    try:
        flags = quick_redis.client().mget([_held(lane) for lane in lanes])
        held = [lane for lane, flag in zip(lanes, flags, strict=True) if flag]
        if not held:
            return False
        waits = full({queue for lane in held for queue in lanes[lane]})
        free = [lane for lane in held if not crowded({q: waits[q] for q in lanes[lane] if q in waits})]
        return bool(free) and bool(quick_redis.client().delete(*map(_held, free)))
    except redis.RedisError:
        return False


def crowded(waits: Mapping[str, float]) -> bool:
    """Whether a queue is full that will soon have room: it is waited for, by all."""
    return any(age < STUCK for age in waits.values())


def _held(lane: str) -> str:
    return f"notifier:held:{lane}"
