"""The doorbell: a flag in Redis that says "a dispatch message is waiting", so that a burst rings once.

It only saves work. Redis away, or the flag lost, costs one tick of Beat and never an event.
"""

from __future__ import annotations

import logging

import redis

from notifier.quick_redis import quick_redis

log = logging.getLogger(__name__)

FLAG = "notifier:doorbell"
FLAG_TTL_MS = 1000


def press() -> bool:
    """True when the caller is to publish a dispatch message; False while one is waiting, or Redis is away."""
    return bool(quick_redis.ask(lambda client: client.set(FLAG, 1, nx=True, px=FLAG_TTL_MS), lambda: None))


def release() -> None:
    """Deleted before a claim: what is recorded from now on must ring again."""
    try:
        quick_redis.client().delete(FLAG)
    except redis.RedisError as error:
        log.warning("doorbell not released: %s", type(error).__name__)
