"""What the workers share through Redis; while Redis is away, each process goes by its own memory."""

from __future__ import annotations

from django.core.signals import setting_changed

from channels.resting_redis import RestingRedis

PATIENCE = 0.5  # seconds: a hanging Redis must not hold up a slice

shared_redis = RestingRedis(PATIENCE, without="breakers, rate limits and budgets work per process")


def _forget(*, setting: str, **_: object) -> None:
    if setting == "REDIS_URL":
        shared_redis.forget()


setting_changed.connect(_forget)  # only tests change settings
