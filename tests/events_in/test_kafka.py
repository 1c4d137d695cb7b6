"""What is Kafka's alone: dead letters without a topic, and a broker that stands still."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.events_in.brokers import tansu, tansu_topic
from tests.events_in.conftest import Start
from tests.events_in.test_buses import assert_all_is_stored_once, mixed, wait_until_stored
from tests.processes import wait_for

pytestmark = pytest.mark.processes


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
