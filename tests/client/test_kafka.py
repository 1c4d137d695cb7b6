"""The Kafka way, against a real broker: what a consumer finds is a trigger as docs/api.md has it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

from notifier.trigger import parse
from notifier_client import Accepted, NotifierError, Refused, Trigger, Unavailable
from notifier_client.events import FraudAlert, OrderPacked, OrderPlaced, OrderShipped
from notifier_client.over_kafka import KafkaNotifier
from tests import processes
from tests.client import broker
from tests.ports import free_port

pytestmark = pytest.mark.processes

ADA = "01920000-0000-7000-8000-00000000000a"


@pytest.fixture(scope="module")
def kafka() -> Iterator[str]:
    with broker.kafka() as address:
        yield address


@pytest.fixture
def topic(kafka: str) -> str:
    return broker.make_topic(kafka)


def consumed(address: str, topic: str, number: int) -> list[Message]:
    """So many messages of the topic, from its beginning, those of a partition in their order."""
    consumer = Consumer({"bootstrap.servers": address, "group.id": "test", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(broker.PARTITIONS)])
    found: list[Message] = []

    def enough() -> bool:
        found.extend(message for message in consumer.consume(100, 0.5) if not message.error())
        return len(found) >= number

    try:
        processes.wait_for(enough, f"{number} messages", 60)
    finally:
        consumer.close()
    return found


def test_an_orders_events_keep_their_order_in_one_partition(kafka: str, topic: str) -> None:
    orders = [f"ORD{number}" for number in range(20)]
    triggers = [
        Trigger.of(event, user_id=ADA)
        for make in (lambda order: OrderPlaced(order_id=order), lambda order: OrderPacked(order_id=order))
        for event in map(make, orders)
    ]
    reports: list[tuple[Trigger, NotifierError | None]] = []
    with KafkaNotifier(kafka, topic=topic) as sender:
        alone = sender.trigger(OrderShipped(order_id="ORD0", tracking_url="https://t.example/1"), user_id=ADA)
        assert sender.send_many(triggers) == [Accepted(trigger.idempotency_key) for trigger in triggers]
        staff = Trigger.of(FraudAlert(reason="odd"))
        sender.publish(staff, lambda *report: reports.append(report))
        sender.flush()
    assert reports == [(staff, None)]
    messages = consumed(kafka, topic, 42)
    bodies = [json.loads(message.value() or b"") for message in messages]
    keys = {one.idempotency_key for one in (*triggers, staff)} | {alone.idempotency_key}
    assert {parse(body).idempotency_key for body in bodies} == keys
    assert len(bodies) == len(keys)
    places: dict[object, set[int | None]] = {}
    for message, body in zip(messages, bodies, strict=True):
        places.setdefault(body["metadata"].get("orderId"), set()).add(message.partition())
        assert (message.key() or b"").decode() == body["metadata"].get("orderId", "")
    assert all(len(partitions) == 1 for partitions in places.values())
    assert len(set.union(*places.values())) > 1
    for order in orders[1:]:
        told = [body["eventType"] for body in bodies if body["metadata"].get("orderId") == order]
        assert told == ["ORDER_PLACED", "ORDER_PACKED"]


def test_what_is_too_large_is_refused_and_the_others_go(kafka: str, topic: str) -> None:
    large = Trigger.of(OrderPlaced(order_id="L", extra={"note": "x" * 3_000}), user_id=ADA)
    with KafkaNotifier(kafka, topic=topic, config={"message.max.bytes": 2_000}) as sender:
        small = Trigger.of(OrderPlaced(order_id="S"), user_id=ADA)
        refused, accepted = sender.send_many([large, small])
        assert isinstance(refused, Refused)
        assert refused.code == "TOO_LARGE"
        assert accepted == Accepted(small.idempotency_key)
        with pytest.raises(Refused):
            sender.send(large)


def test_a_full_queue_makes_room(kafka: str, topic: str) -> None:
    triggers = [Trigger.of(OrderPlaced(order_id=f"F{number}"), user_id=ADA) for number in range(50)]
    with KafkaNotifier(kafka, topic=topic, config={"queue.buffering.max.messages": 5}) as sender:
        assert all(isinstance(result, Accepted) for result in sender.send_many(triggers))


def test_no_broker_is_unavailable_in_time() -> None:
    quiet = {"log_level": 0}
    sender = KafkaNotifier(f"127.0.0.1:{free_port()}", timeout=0.5, config=quiet)
    with pytest.raises(Unavailable, match="Kafka"):
        sender.trigger(OrderPlaced(order_id="O"), user_id=ADA)
    full = KafkaNotifier(f"127.0.0.1:{free_port()}", timeout=0.5, config=quiet | {"queue.buffering.max.messages": 1})
    results = full.send_many([Trigger.of(OrderPlaced(order_id="O"), user_id=ADA) for _ in range(2)])
    assert [type(result) for result in results] == [Unavailable, Unavailable]
