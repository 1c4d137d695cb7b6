"""Redis for who must not wait: an answer comes within 0.3 s, or Redis is left alone for 5 s."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import redis
from django.conf import settings

log = logging.getLogger(__name__)

PATIENCE = 0.15  # seconds for a connection, and again for an answer: the order flow never waits
REST = 5.0  # seconds without a try after a failure

_T = TypeVar("_T")


@dataclass(slots=True)
class _Rest:
    until: float = 0.0


_rest = _Rest()


def ask(question: Callable[[redis.Redis], _T]) -> _T | None:
    """What `question` gets from Redis; None while Redis is away or being left alone."""
    if time.monotonic() < _rest.until:
        return None
    try:
        return question(client())
    except redis.RedisError as error:
        rest(error)
        return None


def rest(error: Exception) -> None:
    """After a failure leave Redis alone for a while: no event rings, and no caller is counted."""
    _rest.until = time.monotonic() + REST
    log.warning("no doorbell and no throttle for %.0f s: %s", REST, type(error).__name__)


@cache
def client() -> redis.Redis:
    return redis.Redis.from_url(
        settings.REDIS_URL, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE, retry=None
    )


def forget() -> None:
    """Connect anew, to whatever the settings name now."""
    _rest.until = 0.0
    client.cache_clear()


os.register_at_fork(after_in_child=client.cache_clear)
