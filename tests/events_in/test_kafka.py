"""What is Kafka's alone: our own client, dead letters without a topic, and a broker that stands still."""

from __future__ import annotations

import os
import signal
from decimal import Decimal
from pathlib import Path

import pytest

from notifier.models import DeadLetter, NotificationEvent
from notifier_client import Accepted, Trigger
from notifier_client.events import OrderPlaced
from notifier_client.over_kafka import KafkaNotifier
from preferences.models import User
from tests.events_in.brokers import tansu, tansu_topic
from tests.events_in.conftest import Start
from tests.events_in.test_buses import assert_all_is_stored_once, mixed, wait_until_stored
from tests.processes import wait_for

pytestmark = pytest.mark.processes


@pytest.mark.django_db(transaction=True)
def test_what_our_client_publishes_is_recorded_under_its_keys(tansu_address: str, start: Start) -> None:
    broker = tansu_topic(tansu_address)
    user = User.objects.create()
    events = [OrderPlaced(order_id=f"ORD{number}", total=Decimal("12.50"), currency="EUR") for number in range(20)]
    triggers = [Trigger.of(event, user_id=user.id) for event in events]
    with start(broker) as consumer, KafkaNotifier(tansu_address, topic=broker.topic) as client:
        assert client.send_many(triggers) == [Accepted(trigger.idempotency_key) for trigger in triggers]
        client.send_many(triggers)  # a caller that did not see its answer
        wait_for(lambda: consumer.metric("notifier_bus_events_total") == 40, "all counted", 60)
    found = NotificationEvent.objects.values_list("idempotency_key", "order_id", "user_id", "metadata__total")
    assert sorted(found) == sorted(
        (one.idempotency_key, event.order_id, user.id, "12.50") for one, event in zip(triggers, events, strict=True)
    )
    assert not DeadLetter.objects.exists()


def test_what_the_dead_letters_topic_does_not_take_stops_nothing(tansu_address: str, start: Start) -> None:
    """One of them is too large for it; then it rests, and the next go without."""
    broker = tansu_topic(tansu_address)
    messages, orders, poison = mixed(200)
    options = f"{broker.environment['KAFKA_OPTIONS']};message.max.bytes=1000"
    with start(broker, KAFKA_OPTIONS=options) as consumer:
        broker.publish(messages[:100])
        wait_for(lambda: consumer.metric("notifier_bus_events_total") == 100, "all counted", 60)
        missed = consumer.metric("notifier_bus_uncopied_total")
        assert missed >= 1
        broker.publish(messages[100:])
        wait_for(lambda: consumer.metric("notifier_bus_events_total") == 200, "all counted", 60)
        assert consumer.metric("notifier_bus_uncopied_total") == missed + len(poison) / 2
        consumer.send(signal.SIGTERM)
        assert consumer.wait_until_it_ends() == 0
        consumer.wait_until_it_says(b"is not tried again yet")
    assert_all_is_stored_once(orders, poison)


def test_no_dead_letters_topic_is_asked_for_where_it_is_off(tansu_address: str, start: Start) -> None:
    broker = tansu_topic(tansu_address)
    messages, orders, poison = mixed(40)
    with start(broker, KAFKA_DEAD_LETTER_TOPIC="off") as consumer:
        broker.publish(messages)
        wait_until_stored(len(messages))
        wait_for(lambda: consumer.metric("notifier_bus_events_total") == len(messages), "all counted", 20)
        assert consumer.metric("notifier_bus_uncopied_total") == 0
    assert_all_is_stored_once(orders, poison)


@pytest.mark.slow
def test_a_broker_that_stands_still_is_waited_for(start: Start, tmp_path: Path) -> None:
    """From between the two commits on, until it has missed the consumer; meanwhile that one turns."""
    messages, orders, poison = mixed(100)
    point = tmp_path / "failpoints" / "bus.stored"
    with tansu(tmp_path / "tansu.log") as server:
        broker = tansu_topic(server.address)
        with start(broker, KAFKA_DEAD_LETTER_TOPIC="off") as consumer:
            consumer.wait_until_ready()
            point.write_text("stop")
            broker.publish(messages[:50])
            wait_for(lambda: not point.exists(), "stopped between the commits", 60)
            os.kill(server.pid, signal.SIGSTOP)
            seen = consumer.said()
            consumer.send(signal.SIGCONT)
            consumer.wait_until_it_says(b"lost partitions", seen)
            wait_for(lambda: consumer.get("/health/ready")[0] == 503, "no longer ready", 20)
            os.kill(server.pid, signal.SIGCONT)
            broker.publish(messages[50:])
            wait_until_stored(len(messages))
            assert consumer.get("/health/live")[0] == 200
    assert_all_is_stored_once(orders, poison)
