"""Back-pressure: what the workers cannot take yet waits in PostgreSQL, where priority counts, and not in Redis.

A queue is full from settings.QUEUE_BOUND messages on; Redis away counts as full. Dispatch leaves full channels out, and
claims nothing where all are full: what comes meanwhile makes the next batch bigger. The next deliver that ends rings.
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


def full(queues: Collection[str]) -> set[str]:
    """Those among these queues that take no more for now."""
    names = sorted(queues)
    try:
        with client().pipeline(transaction=False) as pipeline:
            for name in names:
                pipeline.llen(name)
            lengths = pipeline.execute()
    except redis.RedisError as error:
        log.warning("queues not seen, nothing is dispatched: %s", type(error).__name__)
        return set(names)
    return {name for name, length in zip(names, lengths, strict=True) if length >= settings.QUEUE_BOUND}


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
