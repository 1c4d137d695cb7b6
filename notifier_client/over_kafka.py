"""Notifier over Kafka: JSON on `order-events`, keyed by order. What is not valid is kept there as a dead letter."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from notifier_client.errors import NotAuthorised, NotifierError, Refused, Unavailable
from notifier_client.sender import Accepted, Sender
from notifier_client.trigger import Trigger

log = logging.getLogger(__name__)

TOPIC = "order-events"
TICK = 0.05  # seconds
#: None: the broker has it, on as many replicas as the topic asks for
Report = Callable[[Trigger, NotifierError | None], None]

_TOO_LARGE = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG_SIZE, KafkaError.RECORD_LIST_TOO_LARGE)
_NOT_AUTHORISED = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError._AUTHENTICATION,
)


class KafkaNotifier(Sender):
    """By `bootstrap_servers`; `config` has further settings of librdkafka, such as `security.protocol`.

    Events of one order have one key and so one partition: they stay in their order. `timeout`: seconds within which
    the broker must have the event, tries included.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        topic: str = TOPIC,
        timeout: float = 10.0,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self._topic, self._timeout = topic, timeout
        self._config = {
            "bootstrap.servers": bootstrap_servers,
            "enable.idempotence": True,  # a try again neither doubles nor overtakes
            "acks": "all",
            "partitioner": "murmur2_random",  # as Java's producers: whoever writes of an order finds its partition
            "delivery.timeout.ms": round(timeout * 1000),
            "linger.ms": 5,
            **(config or {}),
        }
        self._lock = threading.Lock()
        self._made: Producer | None = None

    def send(self, trigger: Trigger) -> Accepted:
        result = self.send_many([trigger])[0]
        if isinstance(result, NotifierError):
            raise result
        return result

    def send_many(self, triggers: Sequence[Trigger]) -> list[Accepted | NotifierError]:
        """One result each, once the broker has reported of all; the results say what failed, and nothing is raised."""
        reports: dict[int, NotifierError | None] = {}

        def report_of(place: int) -> Report:
            return lambda _trigger, error: reports.update({place: error})

        for place, trigger in enumerate(triggers):
            self.publish(trigger, report_of(place))
        self._poll_until(lambda: len(reports) == len(triggers))
        late = Unavailable("Kafka did not report in time.")
        outcomes = (reports.get(place, late) for place in range(len(triggers)))
        return [error or Accepted(trigger.idempotency_key) for trigger, error in zip(triggers, outcomes, strict=True)]

    def publish(self, trigger: Trigger, on_report: Report) -> None:
        """Hand one over and return; `on_report` is called from `poll`, `flush` or another call, in any thread.

        Waits, for `timeout` at most, while librdkafka's queue is full.
        """

        def report(error: KafkaError | None, _message: Message) -> None:
            on_report(trigger, self._translated(error) if error else None)

        ends = time.monotonic() + self._timeout
        try:
            while not self._produced(trigger, report):
                if time.monotonic() > ends:
                    on_report(trigger, Unavailable("Kafka takes no more: the producer's queue is full."))
                    return
                self.poll(TICK)
        except KafkaException as error:
            on_report(trigger, self._translated(error.args[0]))

    def poll(self, timeout: float = 0.0) -> None:
        """Serve delivery reports. Who publishes with a callback calls it now and then."""
        self._producer().poll(timeout)

    def flush(self) -> None:
        """Wait, for `timeout` at most, until all is reported."""
        self._producer().flush(self._timeout)

    def close(self) -> None:
        if self._made is not None:
            self.flush()
            self._made = None

    def _produced(self, trigger: Trigger, report: Callable[[KafkaError | None, Message], None]) -> bool:
        """False where librdkafka's queue is full."""
        try:
            self._producer().produce(
                self._topic,
                json.dumps(trigger.as_json(), separators=(",", ":")).encode(),
                key=trigger.order_id.encode() or None,
                headers={"content-type": "application/json"},
                on_delivery=report,
            )
        except BufferError:
            return False
        return True

    def _poll_until(self, done: Callable[[], bool]) -> None:
        ends = time.monotonic() + self._timeout + 1  # librdkafka itself reports what is late
        while not done() and time.monotonic() < ends:
            self.poll(TICK)

    def _producer(self) -> Producer:
        """Made at the first use, so that a forked child has its own."""
        with self._lock:
            if self._made is None:
                self._made = Producer(self._config, logger=log)
            return self._made

    def _translated(self, error: KafkaError) -> NotifierError:
        if error.fatal():  # such a producer never sends again
            with self._lock:
                self._made = None
        if error.code() in _TOO_LARGE:
            return Refused(f"Kafka refuses the event: {error.str()}.", code="TOO_LARGE")
        if error.code() in _NOT_AUTHORISED:
            return NotAuthorised(f"Kafka refuses this client: {error.str()}.")
        return Unavailable(f"Kafka does not take the event: {error.str()}.")
