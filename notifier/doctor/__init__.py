"""`manage.py doctor`: is everything set up as the promises need it, and is anything sick now?"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import redis
from django.db import Error

from notifier.doctor import of_channels, of_postgres, of_redis, of_settings, of_work
from notifier.doctor.finding import Finding, Level, problem

__all__ = ["Finding", "Level", "examine"]

Check = Callable[[], Iterator[Finding]]

SETTINGS: tuple[Check, ...] = (
    of_settings.system_checks,
    of_settings.visibility,
    of_settings.secrets,
    of_settings.surroundings,
)
POSTGRES: tuple[Check, ...] = (
    of_postgres.server,
    of_postgres.durability,
    of_postgres.statement_timeout,
    of_postgres.connections,
    of_postgres.clock,
    of_postgres.migrations,
    of_work.backlog,
    of_work.dead_letters,
    of_work.pauses,
)
REDIS: tuple[Check, ...] = (
    of_redis.server,
    of_redis.memory,
    of_redis.persistence,
    of_redis.costs,
    of_work.workers,
    of_work.beat,
)
CHANNELS: tuple[Check, ...] = (of_channels.providers, of_channels.templates)


def examine() -> Iterator[Finding]:
    """Every check, one after the other; a server that is away is said once. Changes nothing and sends nothing."""
    yield from _all(SETTINGS)
    try:
        yield from _all(POSTGRES)
    except Error as error:
        yield problem("postgres", f"It could not be asked further: {_said(error)}.", "See DATABASE_URL and the server.")
    try:
        yield from _all(REDIS)
    except (redis.RedisError, OSError) as error:
        yield problem("redis", f"It could not be asked further: {_said(error)}.", "See REDIS_URL and the server.")
    yield from _all(CHANNELS)


def _all(checks: tuple[Check, ...]) -> Iterator[Finding]:
    for check in checks:
        yield from check()


def _said(error: Exception) -> str:
    """Its kind alone: a driver's words may show the address with its password."""
    return type(error).__name__
