"""How many messages a second a provider's account takes, counted over all workers by a moving window in Redis.

What is counted is the leave, not the call: between the two lie some ten milliseconds of our own work. So give a rate a
little below what the provider allows. While Redis is away each process counts for itself.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from functools import cache

import redis
from limits import RateLimitItem, RateLimitItemPerSecond
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import MovingWindowRateLimiter

from channels.shared import shared_redis

WINDOW = 1.0  # seconds
RESERVE = 0.1  # of the rate, for urgent messages: a backlog of others that asks all the time must not take it all
SHORTEST_WAIT = 0.05  # seconds; asking again sooner would not pay
TRIES = 3  # when others take what was just seen to be left


class Limiter:
    """The limit of one provider: `rate` messages in any second; 0 is no limit, and asks nobody."""

    def __init__(self, name: str, rate: int) -> None:
        self.rate = rate
        self._name = name
        self._all = RateLimitItemPerSecond(rate or 1, namespace="rate")
        self._ordinary = RateLimitItemPerSecond(rate - int(rate * RESERVE) or 1, namespace="ordinary")

    def take(self, wanted: int, *, urgent: bool = True) -> tuple[int, float]:
        """How many of `wanted` may go now, and the seconds until more may (0 when all may)."""
        if not self.rate or not wanted:
            return wanted, 0.0
        items = (self._all,) if urgent else (self._ordinary, self._all)
        return shared_redis.ask(
            lambda client: self._take_each(_in_redis(client), items, wanted),
            lambda: self._take_each(_own(), items, wanted),
        )

    def _take_each(
        self, limiter: MovingWindowRateLimiter, items: Sequence[RateLimitItem], wanted: int
    ) -> tuple[int, float]:
        share, longest = wanted, 0.0
        for item in items:
            share, wait = self._take(limiter, item, share)
            longest = max(longest, wait)
            if not share:
                break
        return share, longest

    def _take(self, limiter: MovingWindowRateLimiter, item: RateLimitItem, wanted: int) -> tuple[int, float]:
        """Usually one round trip; another one to learn what is left, when it is not enough."""
        share, wait = min(wanted, item.amount), WINDOW
        for _ in range(TRIES):
            if limiter.hit(item, self._name, cost=share):
                return share, wait if share < wanted else 0.0
            reset, left = limiter.get_window_stats(item, self._name)
            wait = min(max(reset - time.time(), SHORTEST_WAIT), WINDOW)
            share = min(wanted, left)
            if share <= 0:
                break
        return 0, wait


@cache
def _in_redis(client: redis.Redis) -> MovingWindowRateLimiter:
    storage = RedisStorage("redis://", connection_pool=client.connection_pool, key_prefix="notifier:limit")
    return MovingWindowRateLimiter(storage)


@cache
def _own() -> MovingWindowRateLimiter:
    return MovingWindowRateLimiter(MemoryStorage())


os.register_at_fork(after_in_child=_in_redis.cache_clear)
os.register_at_fork(after_in_child=_own.cache_clear)
