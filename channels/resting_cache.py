"""Django's cache in Redis for who cannot wait: without Redis it knows nothing and forgets what it is told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

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
        return redis_of_people.attempt(lambda: self._get_many(list(keys), version), dict)

    def set_many(self, data: dict[Any, Any], timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> list[Any]:
        return redis_of_people.attempt(lambda: self._set_many(data, timeout, version), list)

    def _get_many(self, keys: Sequence[str], version: int | None) -> dict[str, bytes]:
        """Django makes each key by four calls, which take longer than Redis does."""
        before = self.make_key("", version)
        found = cast("list[bytes | None]", self._cache.get_client(None).mget([before + key for key in keys]))
        return {key: text for key, text in zip(keys, found, strict=True) if text is not None}

    def _set_many(self, data: dict[Any, Any], timeout: Any, version: int | None) -> list[Any]:
        """One command: Django's pipeline of one for each key costs three times as much."""
        before = self.make_key("", version)
        keys = [before + key for key in data]
        client = self._cache.get_client(write=True)
        client.eval(SET_MANY, len(keys), *keys, int(self.get_backend_timeout(timeout) or 0), *data.values())
        return []
