"""The doorbell: a flag in Redis that says "a dispatch message is waiting", so that a burst rings once.

It only saves work. Redis away, or the flag lost, costs one tick of Beat and never an event.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from functools import cache

import redis
from django.conf import settings

log = logging.getLogger(__name__)

FLAG = "notifier:doorbell"
FLAG_TTL_MS = 1000
PATIENCE = 0.15  # seconds for a connection, and again for an answer: the order flow never waits
REST = 5.0  # seconds without a try after a failure


@dataclass(slots=True)
class _Rest:
    until: float = 0.0


_rest = _Rest()


def press() -> bool:
    """True when the caller is to publish a dispatch message; False while one is waiting, or Redis is away."""
    if time.monotonic() < _rest.until:
        return False
    try:
        return bool(client().set(FLAG, 1, nx=True, px=FLAG_TTL_MS))
    except redis.RedisError as error:
        rest(error)
        return False


def release() -> None:
    """Deleted before a claim: what is recorded from now on must ring again."""
    try:
        client().delete(FLAG)
    except redis.RedisError as error:
        log.warning("doorbell not released: %s", type(error).__name__)


def rest(error: Exception) -> None:
    """After a failure leave Redis alone for a while; Beat's due scan takes over."""
    _rest.until = time.monotonic() + REST
    log.warning("doorbell silent for %.0f s: %s", REST, type(error).__name__)


@cache
def client() -> redis.Redis:
    return redis.Redis.from_url(
        settings.REDIS_URL, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE, retry=None
    )
