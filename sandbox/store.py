"""What the sandbox received, kept in memory and, when asked, appended to a file."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

CAPACITY = 300_000  # accepted messages kept; a benchmark counts them all
REFUSED_CAPACITY = 10_000
LISTENER_CAPACITY = 1_000  # messages a slow page may lag behind before it misses some
CAMEL = {
    "from_": "from",
    "delivery_id": "deliveryId",
    "event_type": "eventType",
    "order_id": "orderId",
    "received_at": "receivedAt",
    "provider_message_id": "providerMessageId",
    "idempotency_key": "idempotencyKey",
}


@dataclass(frozen=True, slots=True)
class Message:
    """One message to one address, as a provider received it. Fields that its channel lacks stay empty.

    `received_at` is in milliseconds since the epoch; `status` is the HTTP status that was, or would have
    been, answered, and `accepted` whether the provider took the message on; `headers` are the few that
    matter.
    """

    provider: str
    channel: str
    to: str
    from_: str = ""
    delivery_id: str = ""
    event_type: str = ""
    order_id: str = ""
    subject: str = ""
    text: str = ""
    html: str = ""
    title: str = ""
    body: str = ""
    data: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    idempotency_key: str = ""
    provider_message_id: str = ""
    accepted: bool = False
    status: int = 0
    received_at: int = 0
    id: str = ""

    def as_json(self) -> dict[str, Any]:
        """The message in the API's own words (camelCase)."""
        return {CAMEL.get(name, name): value for name, value in asdict(self).items()}


class Store:
    """Messages in the order in which they came, the oldest forgotten first; and who listens to them."""

    def __init__(self, log: Path | None = None, capacity: int = CAPACITY) -> None:
        self._accepted: deque[Message] = deque(maxlen=capacity)
        self._refused: deque[Message] = deque(maxlen=REFUSED_CAPACITY)
        self._listeners: set[asyncio.Queue[Message | None]] = set()
        self._log = log.open("ab") if log else None
        self.closing = asyncio.Event()  # the server stops: whatever waits must end

    def add(self, messages: Iterable[Message], *, accepted: bool, status: int) -> list[Message]:
        """Keep messages and return them as kept; only accepted ones are told to the listeners."""
        now = time.time_ns() // 1_000_000
        kept = [
            replace(message, id=uuid.uuid4().hex, accepted=accepted, status=status, received_at=now)
            for message in messages
        ]
        (self._accepted if accepted else self._refused).extend(kept)
        self._write(kept)
        if accepted:
            self._tell(kept)
        return kept

    def newest(self, accepted: bool | None = True) -> Iterator[Message]:
        """Messages, the newest first; refused ones with False, both kinds with None (accepted ones first)."""
        if accepted is not False:
            yield from reversed(self._accepted)
        if accepted is not True:
            yield from reversed(self._refused)

    def get(self, message_id: str) -> Message | None:
        return next((message for message in self.newest(None) if message.id == message_id), None)

    def clear(self) -> None:
        self._accepted.clear()
        self._refused.clear()

    async def listen(self, patience: float) -> AsyncGenerator[Message | None, None]:
        """Messages as they come, None after each `patience` seconds of silence; ends with the server."""
        queue: asyncio.Queue[Message | None] = asyncio.Queue(LISTENER_CAPACITY)
        self._listeners.add(queue)
        try:
            while not self.closing.is_set():
                try:
                    yield await asyncio.wait_for(queue.get(), patience)
                except TimeoutError:
                    yield None
        finally:
            self._listeners.discard(queue)

    def stop(self) -> None:
        """End every stream and every wait, so that the server can stop at once."""
        self.closing.set()
        for queue in self._listeners:
            with suppress(asyncio.QueueFull):  # a full queue wakes its reader anyway
                queue.put_nowait(None)

    def close(self) -> None:
        """Stop, and let go of the log. Nothing may be added afterwards."""
        self.stop()
        if self._log:
            self._log.close()

    async def pause(self, seconds: float | None) -> None:
        """Wait that long, or (None) until the server stops; never longer than that."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.closing.wait(), seconds)

    def _tell(self, messages: list[Message]) -> None:
        for queue in self._listeners:
            with suppress(asyncio.QueueFull):
                for message in messages:
                    queue.put_nowait(message)

    def _write(self, messages: list[Message]) -> None:
        if self._log:
            lines = [orjson.dumps(message.as_json(), option=orjson.OPT_APPEND_NEWLINE) for message in messages]
            self._log.write(b"".join(lines))
            self._log.flush()
