"""How many messages a channel may send in a day (UTC, by the workers' clocks), over all workers.

So whoever finds a way to have texts sent cannot run up any bill.

Leave is taken before a send, and given back for what surely did not go out. A process that is killed keeps its leave
until the day ends. While Redis is away nobody counts and all may go.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

import redis
from limits.storage import RedisStorage

from channels.shared import shared_redis

DAY = timedelta(days=1)
RESERVE = 0.1  # of the budget, for urgent messages
LONGEST_WAIT = 600.0  # seconds: leave that comes back, or a higher budget, is found before the day ends


@dataclass(frozen=True, slots=True)
class Share:
    """Leave for `number` messages of a day; without a day nobody counted it."""

    number: int
    day: str = ""


class Budget:
    """`amount` messages of a channel in a day."""

    def __init__(self, channel: str, amount: int) -> None:
        self.amount = amount
        self.reason = f"daily {channel} budget"
        self._name = channel

    def take(self, wanted: int, *, urgent: bool) -> Share:
        """Leave for up to `wanted`; urgent messages may use up the reserve, too."""
        day = datetime.now(UTC).date().isoformat()
        return shared_redis.ask(
            lambda client: Share(self._take(_in_redis(client), day, wanted, urgent=urgent), day), lambda: Share(wanted)
        )

    def _take(self, storage: RedisStorage, day: str, wanted: int, *, urgent: bool) -> int:
        limit = self.amount if urgent else self.amount - int(self.amount * RESERVE)
        before = self._count(storage, day, wanted) - wanted
        granted = max(0, min(wanted, limit - before))
        if granted < wanted:
            self._count(storage, day, granted - wanted)
        return granted

    def give_back(self, share: Share, number: int) -> None:
        """So many of a share were not used. Lost where Redis is away now."""
        if share.day and number > 0:
            shared_redis.ask(lambda client: self._count(_in_redis(client), share.day, -number), lambda: 0)

    def _count(self, storage: RedisStorage, day: str, number: int) -> int:
        return storage.incr(f"budget/{self._name}/{day}", int(DAY.total_seconds()), number)

    def wait(self) -> float:
        """Seconds after which asking again pays."""
        now = datetime.now(UTC)
        tomorrow = now.replace(hour=0, minute=0, second=0, microsecond=0) + DAY
        return min((tomorrow - now).total_seconds(), LONGEST_WAIT)


@cache
def _in_redis(client: redis.Redis) -> RedisStorage:
    return RedisStorage("redis://", connection_pool=client.connection_pool, key_prefix="notifier:limit")


os.register_at_fork(after_in_child=_in_redis.cache_clear)
