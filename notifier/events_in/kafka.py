"""Kafka, by librdkafka: offsets are committed by hand, after the database's commit, each partition's next one.

What librdkafka promises of its consumer is in its INTRODUCTION.md and CONFIGURATION.md (2.16, read 2026-11-25): it
reconnects by itself, and sends its heartbeats from a thread of its own, while `poll` must come within
max.poll.interval.ms (5 minutes).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from django.core.exceptions import ImproperlyConfigured

from notifier.events_in.bus import Bus, BusError, Incoming, Refused
from notifier.events_in.copies import Copies, told
from notifier.events_in.kafka_lag import LagWatch
from notifier.events_in.seldom import SeldomLog

log = logging.getLogger(__name__)

#: what the promises rest on; nobody may set it otherwise
FIXED: Mapping[str, Any] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    # a consumer that comes or goes takes only some partitions from the others, which go on with the rest
    "partition.assignment.strategy": "cooperative-sticky",
}
DEFAULTS: Mapping[str, Any] = {"auto.offset.reset": "earliest", "client.id": "notifier"}
LAST_WORDS = 3.0  # seconds that it waits for the last commit when it ends
DEAD_LETTER_PATIENCE = 10.0  # seconds for the delivery reports of a batch
COMMIT_AGAIN = 5.0  # seconds after which a commit is tried again that the broker did not confirm

Place = tuple[str, int]


class KafkaBus(Bus):
    """One member of a consumer group.

    `options` are librdkafka's own, for the consumer and for the producer of dead letters. `dead_letters` names their
    topic; empty: there is none. Raises ImproperlyConfigured for what librdkafka refuses.
    """

    def __init__(
        self, *, servers: str, topic: str, group: str, dead_letters: str = "", options: Mapping[str, str] | None = None
    ) -> None:
        if taken := sorted({"group.id", "bootstrap.servers", *FIXED} & set(options or {})):
            raise ImproperlyConfigured(f"KAFKA_OPTIONS may not set {', '.join(taken)}: Notifier's promises rest on it.")
        self.on_confirmed = lambda _seconds: None
        self._topic, self._copies = topic, Copies(dead_letters, self._send_copies)
        self._servers = {"bootstrap.servers": servers, **(options or {})}
        self._told = {"error_cb": self._trouble, "logger": log}  # for clients that are polled
        self._producer: Producer | None = None
        self._owned: set[Place] = set()
        self._stored: dict[Place, int] = {}  # next offsets that the broker has not confirmed yet
        self._sent_at = 0.0  # when they were sent
        self._seldom = SeldomLog(log)
        self._consumer = self._join(group)
        self._lag = LagWatch({**self._servers, "group.id": group}, lambda: self._partitions(tuple(self._owned)))

    # --- messages ----------------------------------------------------------------------------------------------
    def fetch(self, limit: int, wait: float) -> Sequence[Incoming]:
        """What has come by now, without waiting for more: a whole batch under load; alone, a message goes at once."""
        if self._stored and time.monotonic() >= self._sent_at + COMMIT_AGAIN:
            self._commit()
        if self._producer:
            self._producer.poll(0)  # what it has to tell
        first = self._consumer.poll(wait)
        if first is None:
            return ()
        found = [first, *self._consumer.consume(limit - 1, 0)] if limit > 1 else [first]
        return [_incoming(message) for message in found if self._is_whole(message)]

    def commit(self, batch: Sequence[Incoming]) -> None:
        for message in batch:
            place, offset = _place(message), int(message.place["offset"])
            self._stored[place] = max(self._stored.get(place, 0), offset + 1)
        self._commit()

    def give_back(self, batch: Sequence[Incoming]) -> None:
        """Every partition goes back to its first offset of these. Others own what was taken from us meanwhile."""
        first: dict[Place, int] = {}
        for message in batch:
            place, offset = _place(message), int(message.place["offset"])
            first[place] = min(first.get(place, offset), offset)
        for (topic, partition), offset in first.items():
            if (topic, partition) in self._owned:
                self._consumer.seek(TopicPartition(topic, partition, offset))

    def dead_letter(self, refused: Sequence[Refused]) -> None:
        """With key, bytes and headers as they came, and headers that say where from and why."""
        self._copies.add(refused)

    # --- the group ---------------------------------------------------------------------------------------------
    def pause(self) -> None:
        super().pause()
        self._consumer.pause(self._partitions(self._owned))

    def resume(self) -> None:
        super().resume()
        self._consumer.resume(self._partitions(self._owned))

    def close(self) -> None:
        self.pause()
        ends = time.monotonic() + LAST_WORDS
        while self._stored and time.monotonic() < ends:
            self._consumer.poll(0.1)
        self._lag.close()
        self._consumer.close()

    def is_connected(self) -> bool:
        """It has partitions; one more consumer than there are partitions has none, and waits for one to leave."""
        return bool(self._owned)

    def lag(self) -> int | None:
        """Over its partitions, from the committed offsets to the ends."""
        return self._lag.messages

    def _join(self, group: str) -> Consumer:
        try:
            consumer = Consumer(
                {**DEFAULTS, **self._servers, **self._told, **FIXED, "group.id": group, "on_commit": self._on_commit}
            )
        except (KafkaException, TypeError, ValueError) as error:
            raise ImproperlyConfigured(f"Kafka's client refuses the settings: {_words(error)}.") from error
        consumer.subscribe([self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost)
        return consumer

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        consumer.incremental_assign(partitions)
        self._owned |= {(one.topic, one.partition) for one in partitions}
        if self.paused and partitions:
            consumer.pause(partitions)
        if partitions:
            log.info("got partitions %s", _numbers(partitions))

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Others take these over. What is stored is committed first, so that they do not begin with it again."""
        if self._stored:
            self._commit()
        self._forget(partitions)
        consumer.incremental_unassign(partitions)
        log.info("gave partitions %s away", _numbers(partitions))

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """The group took us for dead. Others may be further by now: a commit would throw them back."""
        self._forget(partitions)
        consumer.incremental_unassign(partitions)
        log.warning("lost partitions %s: the group did not hear of this process in time", _numbers(partitions))

    def _forget(self, partitions: Iterable[TopicPartition]) -> None:
        for one in partitions:
            self._owned.discard((one.topic, one.partition))
            self._stored.pop((one.topic, one.partition), None)

    # --- inside ------------------------------------------------------------------------------------------------
    def _commit(self) -> None:
        """Send the next offsets of what is ours. Waiting for the answer would hang with a broker that hangs."""
        self._stored = {place: offset for place, offset in self._stored.items() if place in self._owned}
        self._sent_at = time.monotonic()
        offsets = [TopicPartition(topic, number, offset) for (topic, number), offset in self._stored.items()]
        if not offsets:
            return
        try:
            self._consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            self._seldom.warning("commit not taken, trying again: %s", _words(error))

    def _on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        """The broker's answer. What it did not take is sent again, and what comes again is known by its key."""
        for one in partitions:
            if trouble := error or one.error:
                self._seldom.warning("commit not taken, trying again: %s", trouble.str())
            elif self._stored.get((one.topic, one.partition)) == one.offset:
                del self._stored[one.topic, one.partition]
        if not error and self.on_confirmed:
            self.on_confirmed(time.monotonic() - self._sent_at)

    def _is_whole(self, message: Message) -> bool:
        """An event of librdkafka's instead of a message is told, at most now and then; it reconnects by itself."""
        error = message.error()
        if error is None:
            return True
        if error.fatal():
            raise BusError(f"Kafka's client has ended: {error.str()}")
        self._trouble(error)
        return False

    def _trouble(self, error: KafkaError) -> None:
        self._seldom.warning("Kafka: %s", error.str())

    def _send_copies(self, refused: Sequence[Refused]) -> list[str]:
        """Waits for the reports."""
        failed: list[str] = []
        producer = self._its_producer()
        for one in refused:
            _copy(producer, self._copies.name, one, failed)
        if left := producer.flush(DEAD_LETTER_PATIENCE):
            producer.purge()
            failed.extend(["no answer in time"] * left)
        return failed

    def _its_producer(self) -> Producer:
        if self._producer is None:
            settings = {
                "enable.idempotence": True,
                "message.timeout.ms": int(DEAD_LETTER_PATIENCE * 1000),
                "log_level": 3,  # it would warn of every option that is a consumer's
            }
            self._producer = Producer({**self._servers, **self._told, **settings})
        return self._producer

    def _partitions(self, places: Iterable[Place]) -> list[TopicPartition]:
        return [TopicPartition(topic, partition) for topic, partition in places]


def _incoming(message: Message) -> Incoming:
    topic, partition, offset = str(message.topic()), cast("int", message.partition()), cast("int", message.offset())
    kind, milliseconds = message.timestamp()
    return Incoming(
        body=message.value() or b"",
        key=f"{topic}-{partition}-{offset}",
        place={"topic": topic, "partition": partition, "offset": offset},
        headers={name.lower(): _text(value) for name, value in _headers(message)},
        published_at=milliseconds / 1000 if kind else None,
        raw=message,
    )


def _copy(producer: Producer, topic: str, one: Refused, failed: list[str]) -> None:
    def reported(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            failed.append(error.str())

    raw: Message = one.message.raw
    headers = [*_headers(raw), *((name, text.encode()) for name, text in told(one).items())]
    try:
        producer.produce(topic, value=raw.value(), key=raw.key(), headers=headers, on_delivery=reported)
    except (BufferError, KafkaException) as error:
        failed.append(_words(error))
    producer.poll(0)


def _headers(message: Message) -> Sequence[tuple[str, Any]]:
    """By name; the same may come twice."""
    return cast("Sequence[tuple[str, Any]]", message.headers() or ())


def _place(message: Incoming) -> Place:
    return str(message.place["topic"]), int(message.place["partition"])


def _numbers(partitions: Iterable[TopicPartition]) -> str:
    return ", ".join(str(one.partition) for one in partitions) or "none"


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")


def _words(error: Exception) -> str:
    found = error.args[0] if error.args else error
    return found.str() if isinstance(found, KafkaError) else str(found)
