"""How far a Kafka consumer is behind, asked by a client and a thread of its own.

On the consumer's own connection the question would wait behind a fetch that waits for messages, half a second for each
partition, and the loop with it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from threading import Event, Thread
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

log = logging.getLogger(__name__)

EVERY = 2.0  # seconds
ANSWER = 2.0  # seconds for an answer


class LagWatch:
    """`partitions` tells which are to be watched now; None: the last look got no answer, or there was none."""

    def __init__(self, settings: Mapping[str, Any], partitions: Callable[[], Sequence[TopicPartition]]) -> None:
        self.messages: int | None = None
        self._settings, self._partitions = settings, partitions
        self._over = Event()
        self._thread = Thread(target=self._watch, name="lag", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._thread.join(2 * ANSWER)

    def _watch(self) -> None:
        # it never subscribes, so it is no member of the group; what it would log the consumer logs, too
        consumer = Consumer({**self._settings, "log_level": 0})
        while not self._over.wait(EVERY):
            self.messages = self._look(consumer)
        consumer.close()

    def _look(self, consumer: Consumer) -> int | None:
        try:
            owned = self._partitions()
            committed = consumer.committed(list(owned), timeout=ANSWER) if owned else []
            return sum(_behind(consumer, partition) for partition in committed)
        except KafkaException as error:
            log.debug("the lag is not known: %s", error)
            return None


def _behind(consumer: Consumer, committed: TopicPartition) -> int:
    """Messages from the committed offset, or where there is none from the first, to the end."""
    ends: tuple[int, int] = consumer.get_watermark_offsets(committed, timeout=ANSWER)
    low, high = ends
    return max(0, high - max(low, committed.offset))
