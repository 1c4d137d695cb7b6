"""What the workers share through Redis; while Redis is away, each process goes by its own memory."""

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
from django.core.signals import setting_changed

log = logging.getLogger(__name__)

PATIENCE = 0.5  # seconds for a connection, and again for an answer: a hanging Redis must not hold up a slice
REST = 5.0  # seconds without a try after a failure

_T = TypeVar("_T")


@dataclass(slots=True)
class _Rest:
    until: float = 0.0


_rest = _Rest()


def shared_or_own(shared: Callable[[redis.Redis], _T], own: Callable[[], _T]) -> _T:
    """What `shared` gets from Redis, or what `own` finds in the process while Redis is away."""
    if time.monotonic() >= _rest.until:
        try:
            return shared(client())
        except redis.RedisError as error:
            _rest.until = time.monotonic() + REST
            log.warning("breakers and rate limits work per process for %.0f s: %s", REST, type(error).__name__)
    return own()


@cache
def client() -> redis.Redis:
    return redis.Redis.from_url(
        settings.REDIS_URL, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE, retry=None
    )


def forget() -> None:
    """Connect anew, to whatever the settings name now."""
    _rest.until = 0.0
    client.cache_clear()


def _forget(*, setting: str, **_: object) -> None:
    if setting == "REDIS_URL":
        forget()


setting_changed.connect(_forget)  # only tests change settings
os.register_at_fork(after_in_child=client.cache_clear)
