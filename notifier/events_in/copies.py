"""A bus's own dead letters: copies of what was refused, which no batch waits for when their queue is not there."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from notifier.events_in.bus import DeadLetterQueueError, Refused

REST = 60.0  # seconds without a try after one that failed


class Copies:
    """`name` is the queue or topic; empty: there is none. `send` gives what went wrong, one text for each message."""

    def __init__(self, name: str, send: Callable[[Sequence[Refused]], Sequence[str]]) -> None:
        self.name, self._send = name, send
        self._rest_until = 0.0

    def add(self, refused: Sequence[Refused]) -> None:
        """Raises DeadLetterQueueError."""
        if not self.name:
            return
        if time.monotonic() < self._rest_until:
            raise DeadLetterQueueError(f"{self.name} is not tried again yet", len(refused))
        if failed := self._send(refused):
            self._rest_until = time.monotonic() + REST
            raise DeadLetterQueueError(f"not copied to {self.name}: {failed[0]}", len(failed))


def told(one: Refused) -> dict[str, str]:
    """The headers of a copy: why it was refused, and where it came from."""
    return {"notifier-cause": one.cause, "notifier-problem": one.problem, "notifier-from": one.message.key}
