"""Redis for who cannot wait: an answer comes within its patience, or Redis is left alone for a while."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import ClassVar, TypeVar

import redis
from django.conf import settings

log = logging.getLogger(__name__)

REST = 5.0  # seconds without a try after a failure

_T = TypeVar("_T")


class Resting:
    """`without`: what the absence of Redis means, for the log. `failures`: how often this process had to do without."""

    failures: ClassVar[int] = 0

    def __init__(self, without: str) -> None:
        self._without = without
        self.rests_until = 0.0  # by time.monotonic()

    def attempt(self, question: Callable[[], _T], otherwise: Callable[[], _T]) -> _T:
        """The question's answer; while Redis is away or being left alone, what `otherwise` says."""
        if not self.rests():
            try:
                return question()
            except redis.RedisError as error:
                self.rest(error)
        return otherwise()

    def rests(self) -> bool:
        """Whether Redis is being left alone."""
        return time.monotonic() < self.rests_until

    def rest(self, error: Exception) -> None:
        """After a failure leave Redis alone for a while."""
        Resting.failures += 1
        self.rests_until = time.monotonic() + REST
        log.warning("Redis is away, %s for %.0f s: %s", self._without, REST, type(error).__name__)


class RestingRedis(Resting):
    """`patience`: seconds for a connection, and again for an answer."""

    def __init__(self, patience: float, without: str) -> None:
        super().__init__(without)
        self._patience = patience
        self._client: redis.Redis | None = None
        os.register_at_fork(after_in_child=self._disconnect)

    def ask(self, question: Callable[[redis.Redis], _T], otherwise: Callable[[], _T]) -> _T:
        """What `question` gets from Redis; while Redis is away or being left alone, what `otherwise` says."""
        return self.attempt(lambda: question(self.client()), otherwise)

    def client(self) -> redis.Redis:
        if self._client is None:
            self._client = redis.Redis.from_url(
                settings.REDIS_URL,
                socket_timeout=self._patience,
                socket_connect_timeout=self._patience,
                retry=None,
            )
        return self._client

    def forget(self) -> None:
        """Connect anew, to whatever the settings name now."""
        self.rests_until = 0.0
        self._disconnect()

    def _disconnect(self) -> None:
        self._client = None
