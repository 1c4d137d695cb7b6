"""AMQP 0-9-1 (RabbitMQ), by kombu's connection: messages are acknowledged by hand, after the database's commit.

Kombu finds the broker, fails over to the next one and speaks TLS; its own decoding is left out, since it makes text or
objects of what are bytes to us. RabbitMQ gives unacknowledged messages to others as soon as the connection ends, those
that are rejected at their old place in the queue (rabbitmq.com: confirms, consumer-prefetch, read 2026-11-25).
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn, cast

from django.core.exceptions import ImproperlyConfigured
from kombu import Connection

from notifier.events_in.bus import Bus, BusError, Incoming, Refused
from notifier.events_in.copies import Copies, told
from notifier.events_in.seldom import SeldomLog
from notifier.trigger import KEY_LIMIT

log = logging.getLogger(__name__)

SOON = 0.001  # seconds within which a further message counts as being there
ANSWER = 20.0  # seconds for an answer of the broker, and for taking what we write
CONFIRM = 10.0  # seconds for the broker to take a dead letter
MOST_PREFETCHED = 65535  # what the protocol can say
#: headers that RabbitMQ itself writes, and changes when a message comes again (rabbitmq.com: quorum-queues, dlx)
BROKERS_OWN = ("x-delivery-count", "x-acquired-count", "x-death", "x-first-death-", "x-last-death-")
REFUSED = {403, 404, 405, 406, 530}  # codes of answers that waiting does not change: rights, no such queue or host


class AmqpBus(Bus):
    """One of a queue's consumers. `url`: one broker's address, or those of several with ; between them.

    The queue and that of the dead letters (empty: there is none) are there already: a consumer needs no right to make
    them. `heartbeat`: seconds; after two without a word each side takes the other for dead.
    """

    def __init__(self, *, url: str, queue: str, dead_letters: str = "", heartbeat: int = 30) -> None:
        self._queue = queue
        self._connection = _connection(url, heartbeat)
        known = self._connection.connection_errors + self._connection.channel_errors
        self._errors = cast("tuple[type[Exception], ...]", known)
        self._channel: Any = None
        self._wire: Any = None  # below kombu's connection, which would make another one unasked, without our consumer
        self._consuming = ""  # the broker's name for it
        self._arrived: deque[Any] = deque()  # pushed by the broker, not yet fetched
        self._letters: Any = None  # the channel of dead letters
        self._returned: list[str] = []
        self._copies = Copies(dead_letters, self._send_copies)
        self._seldom = SeldomLog(log)

    # --- messages ----------------------------------------------------------------------------------------------
    def fetch(self, limit: int, wait: float) -> Sequence[Incoming]:
        """What the broker has pushed by now. It pushes as many as the first `limit` ahead of their acknowledgement."""
        try:
            if self._channel is None:
                self._connect(limit)
            self._wire.heartbeat_tick()
            self._drain(limit, wait)
        except self._errors as error:
            self._lost(error)
            time.sleep(wait)
        found = [self._arrived.popleft() for _ in range(min(limit, len(self._arrived)))]
        return [_incoming(message, self._queue) for message in found]

    def commit(self, batch: Sequence[Incoming]) -> None:
        """All up to the last one, at once: what came before was acknowledged or rejected. No answer is due."""
        tags = self._tags(batch)
        if not tags:
            return
        try:
            self._channel.basic_ack(max(tags), multiple=True)
        except self._errors as error:
            self._lost(error)

    def give_back(self, batch: Sequence[Incoming]) -> None:
        self._reject(self._tags(batch))

    def dead_letter(self, refused: Sequence[Refused]) -> None:
        """With the bytes and properties as they came, and headers that say where from and why; waits until taken."""
        self._copies.add(refused)

    # --- the queue ---------------------------------------------------------------------------------------------
    def pause(self) -> None:
        """The broker pushes nothing more, and what it has pushed goes to others."""
        super().pause()
        if self._channel is None:
            return
        try:
            self._channel.basic_cancel(self._consuming)
        except self._errors as error:
            self._lost(error)
        tags = [message.delivery_tag for message in self._arrived]
        self._arrived.clear()
        self._reject(tags)

    def resume(self) -> None:
        super().resume()
        if self._channel is None:
            return
        try:
            self._consume()
        except self._errors as error:
            self._lost(error)

    def close(self) -> None:
        """What we acknowledged is taken before the connection ends; all else goes to others."""
        try:
            self._connection.release()
        except self._errors as error:
            self._seldom.warning("the connection did not end as it should: %s", _words(error))

    def is_connected(self) -> bool:
        return self._channel is not None

    def lag(self) -> int | None:
        """What waits in the queue, and what was pushed to this process."""
        if self._channel is None:
            return None
        try:
            waiting = self._channel.queue_declare(self._queue, passive=True).message_count
        except self._errors as error:
            self._lost(error)
            return None
        return int(waiting) + len(self._arrived)

    # --- inside ------------------------------------------------------------------------------------------------
    def _connect(self, limit: int) -> None:
        self._wire = self._connection.connect()
        channel: Any = self._connection.channel()
        channel.auto_decode = False  # bytes as they came
        channel.basic_qos(0, min(limit, MOST_PREFETCHED), a_global=False)
        self._channel = channel
        if not self.paused:
            self._consume()

    def _consume(self) -> None:
        self._consuming = self._channel.basic_consume(self._queue, callback=self._arrived.append)
        log.info("consumes %s", self._queue)

    def _drain(self, limit: int, wait: float) -> None:
        """The first is waited for; then as many as are there."""
        ends = time.monotonic() + wait
        try:
            while not self._arrived and (left := ends - time.monotonic()) > 0:
                self._read(left)
            while self._arrived and len(self._arrived) < limit:
                self._read(SOON)
        except TimeoutError:
            return

    def _read(self, wait: float) -> None:
        """One frame. Kombu's drain_events reads on past the broker's heartbeats, with its time anew after each."""
        self._wire.blocking_read(wait)

    def _tags(self, batch: Sequence[Incoming]) -> list[int]:
        """Of this connection: what came by an earlier one has gone to others, or comes again."""
        return [message.raw.delivery_tag for message in batch if message.raw.channel is self._channel]

    def _reject(self, tags: Sequence[int]) -> None:
        try:
            for tag in tags:
                self._channel.basic_reject(tag, requeue=True)
        except self._errors as error:
            self._lost(error)

    def _lost(self, error: Exception) -> None:
        """`fetch` connects again. Raises BusError where the broker refuses us."""
        self._channel = self._letters = None
        self._arrived.clear()
        self._connection.collect()
        if getattr(error, "reply_code", None) in REFUSED:
            self._refused(error)
        self._seldom.warning("connection lost, trying again: %s", _words(error))

    def _refused(self, error: Exception) -> NoReturn:
        raise BusError(f"The AMQP broker refuses the queue {self._queue}: {_words(error)}") from error

    def _send_copies(self, refused: Sequence[Refused]) -> list[str]:
        try:
            if self._letters is None:
                self._letters = self._connection.channel()
                self._letters.events["basic_return"].add(lambda error, *_: self._returned.append(_words(error)))
            self._returned = []
            for one in refused:
                self._publish(one.message.raw, told(one))
        except self._errors as error:
            self._letters = None
            return [_words(error)] * len(refused)
        return self._returned

    def _publish(self, raw: Any, told: Mapping[str, str]) -> None:
        """Mandatory: a queue that is not there is told by a return, which comes before the broker's confirmation."""
        headers = {**(raw.properties.get("application_headers") or {}), **told}
        properties = {**raw.properties, "application_headers": headers, "delivery_mode": 2}
        copy = type(raw)(bytes(raw.body), **properties)
        self._letters.basic_publish(copy, routing_key=self._copies.name, mandatory=True, confirm_timeout=CONFIRM)


def _connection(url: str, heartbeat: int) -> Connection:
    options = {"confirm_publish": True, "read_timeout": ANSWER, "write_timeout": ANSWER}
    try:
        return Connection(url, heartbeat=heartbeat, connect_timeout=5, transport_options=options)
    except (KeyError, ValueError) as error:
        raise ImproperlyConfigured(f"AMQP_URL is no broker's address: {type(error).__name__}.") from error


def _incoming(message: Any, queue: str) -> Incoming:
    properties: Mapping[str, Any] = message.properties
    headers = {str(name).lower(): _text(value) for name, value in (properties.get("application_headers") or {}).items()}
    if kind := properties.get("content_type"):
        headers["content-type"] = str(kind)
    name = str(properties.get("message_id") or _digest(message))
    key = f"{queue}-{name}"
    published: Any = properties.get("timestamp")
    return Incoming(
        body=bytes(message.body),
        key=key if len(key) <= KEY_LIMIT else hashlib.sha256(key.encode()).hexdigest(),
        place={"queue": queue, "messageId": name},
        headers=headers,
        published_at=published.timestamp() if isinstance(published, datetime) else published,
        raw=message,
    )


def _digest(message: Any) -> str:
    """AMQP gives a message no name, and not even a place: without one of the producer's, its bytes are its name."""
    headers: Mapping[str, Any] = message.properties.get("application_headers") or {}
    producers = {name: headers[name] for name in sorted(headers) if not name.startswith(BROKERS_OWN)}
    properties = {**message.properties, "application_headers": producers}
    parts = (message.body, sorted(properties.items(), key=lambda item: item[0]))
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _text(value: Any) -> str:
    return bytes(value).decode("utf-8", "replace") if isinstance(value, bytes | memoryview) else str(value)


def _words(error: Exception) -> str:
    return str(getattr(error, "reply_text", "") or error) or type(error).__name__
