"""Django's cache in Redis for who cannot wait: without Redis it knows nothing and forgets what it is told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django.core.cache.backends.redis import RedisCache

from channels.resting_redis import Resting

redis_of_people = Resting(without="people are read from the database alone")


SET_MANY = """
for i, key in ipairs(KEYS) do redis.call('SET', key, ARGV[i + 1], 'EX', ARGV[1]) end
"""


class Plain:
    """Text as it is. Django would pickle it, and what unpickles runs whatever somebody wrote into Redis."""

    def dumps(self, text: str) -> str:
        return text

    def loads(self, text: bytes) -> bytes:
        return text


class RestingCache(RedisCache):
    """Holds text, gives it back as bytes, and only many at once. Its OPTIONS name a short `socket_timeout`."""

    def get_many(self, keys: Iterable[Any], version: int | None = None) -> dict[Any, Any]:
        return redis_of_people.attempt(lambda: super(RestingCache, self).get_many(keys, version), dict)

    def set_many(self, data: dict[Any, Any], timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> list[Any]:
        return redis_of_people.attempt(lambda: self._set_many(data, timeout, version), list)

    def _set_many(self, data: dict[Any, Any], timeout: Any, version: int | None) -> list[Any]:
        """One command: Django's pipeline of one for each key costs three times as much."""
        keys = [self.make_key(key, version) for key in data]
        client = self._cache.get_client(write=True)
        client.eval(SET_MANY, len(keys), *keys, int(self.get_backend_timeout(timeout) or 0), *data.values())
        return []

    def validate_key(self, key: str) -> None:
        """Keys are made here, and Redis takes any: Django looks at each character, for another cache's sake."""
