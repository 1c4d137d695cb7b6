"""Back-pressure: what the workers cannot take yet waits in PostgreSQL, where priority counts, and not in Redis.

A queue is full from settings.QUEUE_BOUND messages on; Redis away counts as full. While one is, dispatch claims nothing:
what comes meanwhile makes the next batch bigger, and nobody overtakes. The next deliver that ends rings. A queue that
stays full is stuck, as its provider takes its time; then its channel is left out, and the others go on.
"""

from __future__ import annotations

import logging
from collections.abc import Collection

import redis
from django.conf import settings

from notifier.doorbell import client

log = logging.getLogger(__name__)

HELD = "notifier:held"
HELD_TTL = 10  # seconds; Beat's due scan comes sooner
FULL = "notifier:full"  # a hash: queue -> since when it has been full, by Redis's clock
STUCK = 3.0  # seconds without room


def full(queues: Collection[str]) -> dict[str, float]:
    """Those among these queues that take no more for now, each with the seconds since it was first seen so."""
    names = sorted(queues)
    try:
        with client().pipeline(transaction=False) as pipeline:
            for name in names:
                pipeline.llen(name)
            pipeline.time()
            *lengths, (seconds, micros) = pipeline.execute()
        over = [name for name, length in zip(names, lengths, strict=True) if length >= settings.QUEUE_BOUND]
        return _since(over, [name for name in names if name not in over], seconds + micros / 1_000_000)
    except redis.RedisError as error:
        log.warning("queues not seen, nothing is dispatched: %s", type(error).__name__)
        return dict.fromkeys(names, 0.0)


def _since(over: Collection[str], others: Collection[str], now: float) -> dict[str, float]:
    with client().pipeline(transaction=False) as pipeline:
        if others:
            pipeline.hdel(FULL, *others)
        for name in over:
            pipeline.hsetnx(FULL, name, str(now))
        pipeline.hgetall(FULL)
        found = pipeline.execute()[-1]
    return {name: max(0.0, now - float(found.get(name.encode(), now))) for name in over}


def hold() -> None:
    """Something was left out: whoever makes room is to ring."""
    try:
        client().set(HELD, 1, ex=HELD_TTL)
    except redis.RedisError as error:
        log.warning("not held: %s", type(error).__name__)


def relieved() -> bool:
    """True for the one who is to ring, as there is room again."""
    try:
        return bool(client().delete(HELD))
    except redis.RedisError:
        return False
