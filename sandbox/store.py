"""What the sandbox received, kept in memory within bounds and, when asked, logged in a file without any."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

CAPACITY = 300_000  # accepted messages kept; a benchmark counts them all
BODIES = 50_000  # of these, the newest ones that are kept whole
REFUSED_CAPACITY = 10_000
RATES_KEPT = 7_200  # seconds with messages that are remembered
LISTENER_CAPACITY = 1_000  # messages a slow page may lag behind before it misses some
random_bytes = random.Random().randbytes  # noqa: S311 - ids are no secrets, and the system's bytes cost five times as much
CAMEL = {
    "from_": "from",
    "delivery_id": "deliveryId",
    "event_type": "eventType",
    "order_id": "orderId",
    "received_at": "receivedAt",
    "provider_message_id": "providerMessageId",
    "idempotency_key": "idempotencyKey",
}


@dataclass(slots=True)  # not frozen: that makes one in four times the time, and a Store fills in what it adds
class Message:
    """One message to one address, as a provider received it. Fields that its channel lacks stay empty.

    `received_at` is in milliseconds since the epoch; `status` is the HTTP status that was, or would have
    been, answered, and `accepted` whether the provider took the message on; `headers` are the few that
    matter; `attempt` is None where the caller passed none. `text` and `html` are as they came, still with their
    `tags` in place of what these stand for: see `filled`.
    """

    provider: str
    channel: str
    to: str
    from_: str = ""
    delivery_id: str = ""
    attempt: int | None = None
    event_type: str = ""
    order_id: str = ""
    subject: str = ""
    text: str = ""
    html: str = ""
    title: str = ""
    body: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
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
        found = {CAMEL.get(name, name): value for name, value in asdict(self).items() if name != "tags"}
        return {**found, "text": self.filled("text"), "html": self.filled("html")}

    def filled(self, name: str) -> str:
        """One of the contents with its tags replaced: only now, since few of many mails are ever looked at."""
        return fill(getattr(self, name), self.tags)


def fill(content: str, tags: Mapping[str, str]) -> str:
    """The content with each tag replaced by what it stands for."""
    return _any_of(tuple(tags)).sub(lambda found: tags[found[0]], content) if tags else content


@lru_cache
def _any_of(tags: tuple[str, ...]) -> re.Pattern[str]:
    """All in one pass: a replacement for each tag would copy a mail as often as it has tags."""
    return re.compile("|".join(re.escape(tag) for tag in sorted(tags, key=len, reverse=True)))


class Store:
    """Messages in the order in which they came, the oldest forgotten first; and who listens to them.

    `capacity` accepted messages are kept, the newest `bodies` of them whole; of the others, what is heavy (a mail's
    contents, headers, data) is dropped. The texts of SMS stay, since Twilio's list shows them.
    """

    def __init__(self, log: Path | None = None, capacity: int = CAPACITY, bodies: int = BODIES) -> None:
        self._accepted: OrderedDict[str, Message] = OrderedDict()
        self._whole: deque[Message] = deque()  # those with their bodies
        self._by_address: defaultdict[tuple[str, str], deque[Message]] = defaultdict(deque)  # by provider and address
        self._refused: deque[Message] = deque(maxlen=REFUSED_CAPACITY)
        self._capacity, self._bodies = capacity, bodies
        self._listeners: set[asyncio.Queue[Message | None]] = set()
        self._log = log.open("ab", buffering=0) if log else None
        self.rates = Rates()
        self.closing = asyncio.Event()  # the server stops: whatever waits must end

    def add(self, messages: list[Message], *, accepted: bool, status: int, provider_message_id: str = "") -> None:
        """Keep the messages, from now on the store's own; only accepted ones are logged, counted and told to listeners.

        The log is written when this returns, thus before the provider's answer goes out.
        """
        now = time.time_ns() // 1_000_000
        for message in messages:
            message.id = random_bytes(16).hex()
            message.accepted, message.status, message.received_at = accepted, status, now
            message.provider_message_id = provider_message_id
        if accepted:
            self._write(messages)
            for message in messages:
                self._keep(message)
                self.rates.count(message.provider, now // 1_000)
            self._tell(messages)
        else:
            self._refused.extend(messages)

    def newest(self, accepted: bool | None = True) -> Iterator[Message]:
        """Messages, the newest first; refused ones with False, both kinds with None (accepted ones first)."""
        if accepted is not False:
            yield from reversed(self._accepted.values())
        if accepted is not True:
            yield from reversed(self._refused)

    def newest_to(self, provider: str, address: str) -> Iterator[Message]:
        """A provider's accepted messages to one address, the newest first."""
        return reversed(self._by_address.get((provider, address), deque()))

    def get(self, message_id: str) -> Message | None:
        found = self._accepted.get(message_id)
        return found or next((message for message in self._refused if message.id == message_id), None)

    def clear(self) -> None:
        """Forget all messages; the log and the rates keep theirs."""
        for collection in (self._accepted, self._whole, self._by_address, self._refused):
            collection.clear()

    def _keep(self, message: Message) -> None:
        self._accepted[message.id] = message
        self._by_address[message.provider, message.to].append(message)
        self._whole.append(message)
        if len(self._whole) > self._bodies:
            _thin(self._whole.popleft())
        if len(self._accepted) > self._capacity:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        _, message = self._accepted.popitem(last=False)
        key = message.provider, message.to
        self._by_address[key].popleft()  # an address's oldest is the first to go
        if not self._by_address[key]:
            del self._by_address[key]

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
                    queue.put_nowait(replace(message))  # stays whole, however long the queue

    def _write(self, messages: list[Message]) -> None:
        if self._log:
            lines = [orjson.dumps(_entry(message), option=orjson.OPT_APPEND_NEWLINE) for message in messages]
            self._log.write(b"".join(lines))
            self._log.flush()


def _thin(message: Message) -> None:
    message.text = message.html = ""
    message.tags, message.data, message.headers = {}, {}, {}


def _entry(message: Message) -> dict[str, Any]:
    """The log's line: what a check counts. No bodies: an hour of load would fill the disk."""
    return {
        "provider": message.provider,
        "channel": message.channel,
        "deliveryId": message.delivery_id,
        "attempt": message.attempt,
        "eventType": message.event_type,
        "to": message.to,
        "at": message.received_at,
        "providerMessageId": message.provider_message_id,
    }


class Rates:
    """Accepted messages in each whole second, by provider, over the last RATES_KEPT seconds that had any."""

    def __init__(self) -> None:
        self._seconds: OrderedDict[int, Counter[str]] = OrderedDict()

    def count(self, provider: str, second: int) -> None:
        """`second` since 1970."""
        if second not in self._seconds:
            self._seconds[second] = Counter()
            if len(self._seconds) > RATES_KEPT:
                self._seconds.popitem(last=False)
        self._seconds[second][provider] += 1

    def since(self, second: int) -> list[tuple[int, Mapping[str, int]]]:
        """(second, messages by provider) from `second` on, oldest first; a second without any is left out."""
        return [(moment, counts) for moment, counts in self._seconds.items() if moment >= second]
