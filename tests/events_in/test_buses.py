"""What every bus must keep: each good event recorded exactly once, each poison one a dead letter, and nothing stuck.

A further bus is a stage in tests/events_in/brokers.py and a line in conftest.py.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial
from itertools import cycle
from pathlib import Path
from threading import Event, Thread
from uuid import uuid4

import orjson
import pytest

from notifier.models import DeadLetter, NotificationEvent
from tests.events_in.brokers import Broker, Message, placed
from tests.events_in.conftest import Start
from tests.processes import wait_for

pytestmark = pytest.mark.processes

MESSAGES, EVERY = 400, 20  # of which every twentieth is poison
POISON: tuple[tuple[str, Callable[[str], bytes]], ...] = (
    ("UNDECODABLE", lambda order: b'{"eventType": "ORDER_PLACED", "' + order.encode()),
    ("INVALID_TRIGGER", lambda order: placed(order, eventType="NO_SUCH").body),
    ("UNKNOWN_USER", lambda order: placed(order, recipient=None, userId=str(uuid4())).body),
    ("INVALID_TRIGGER", lambda order: placed(order, metadata={"orderId": order, "note": "a\0b"}).body),
    ("TEXT_TOO_LONG", lambda order: placed(order, metadata={"orderId": order, "note": "x" * 10_001}).body),
)


def mixed(number: int) -> tuple[list[Message], set[str], dict[bytes, str]]:
    """Messages, the orders of the good ones, and the causes of the others by their bytes."""
    messages: list[Message] = []
    orders: set[str] = set()
    poison: dict[bytes, str] = {}
    kinds = cycle(POISON)
    for place in range(number):
        order = f"ORD{place}"
        if place % EVERY:
            orders.add(order)
            messages.append(placed(order))
        else:
            cause, make = next(kinds)
            body = make(order)
            poison[body] = cause
            messages.append(Message(body, order))
    return messages, orders, poison


def recorded() -> list[str]:
    return list(NotificationEvent.objects.values_list("order_id", flat=True))


def wait_until_stored(number: int) -> None:
    """So many events and dead letters."""
    wait_for(lambda: NotificationEvent.objects.count() + DeadLetter.objects.count() >= number, f"{number} stored", 60)


def assert_all_is_stored_once(orders: set[str], poison: dict[bytes, str]) -> None:
    assert sorted(recorded()) == sorted(orders)
    letters = DeadLetter.objects.values_list("payload", "cause")
    assert sorted((bytes(payload or b""), cause) for payload, cause in letters) == sorted(poison.items())


def test_poison_stops_nothing(broker: Broker, start: Start) -> None:
    messages, orders, poison = mixed(MESSAGES)
    with start(broker) as consumer:
        broker.publish(messages)
        wait_until_stored(MESSAGES)
        assert sorted(set(broker.dead_letters(len(poison)))) == sorted(poison)
        wait_for(lambda: consumer.metric("notifier_bus_events_total") == MESSAGES, "all counted", 20)
        assert consumer.metric("notifier_bus_events_total", outcome="recorded") == len(orders)
        assert consumer.metric("notifier_bus_refused_total") == len(poison)
        assert consumer.metric("notifier_bus_uncopied_total") == 0
        if broker.tells_lag:
            wait_for(lambda: consumer.metric("notifier_bus_lag_messages") == 0, "no lag", 20)
        consumer.send(signal.SIGTERM)
        assert consumer.wait_until_it_ends() == 0
    assert_all_is_stored_once(orders, poison)
    with start(broker, "next"):  # everything was committed: nothing comes again
        broker.publish([placed("AFTER")])
        wait_until_stored(MESSAGES + 1)
    assert_all_is_stored_once(orders | {"AFTER"}, poison)


@pytest.mark.parametrize("point", ["bus.read", "bus.stored"])
def test_a_kill_loses_and_doubles_nothing(broker: Broker, start: Start, tmp_path: Path, point: str) -> None:
    """Before both commits, and between the database's and the bus's."""
    messages, orders, poison = mixed(MESSAGES)
    with start(broker, NOTIFIER_BUS_BATCH="50") as consumer:
        broker.publish(messages[:100])
        wait_until_stored(100)
        (tmp_path / "failpoints" / point).write_text("kill")
        broker.publish(messages[100:])
        assert consumer.wait_until_it_ends() == -signal.SIGKILL
    assert NotificationEvent.objects.count() + DeadLetter.objects.count() < MESSAGES
    with start(broker, "next") as following:
        wait_until_stored(MESSAGES)
        broker.publish([placed("AFTER")])
        wait_until_stored(MESSAGES + 1)
        repeated = following.metric("notifier_bus_events_total", outcome="repeated")
        assert (repeated > 0) == (point == "bus.stored")
    assert_all_is_stored_once(orders | {"AFTER"}, poison)


def test_consumers_come_and_go_in_the_middle(broker: Broker, start: Start) -> None:
    messages, orders, poison = mixed(3 * MESSAGES)
    enough = Event()

    def publish() -> None:
        """A little at a time, over all that happens."""
        for place in range(0, len(messages), 10):
            broker.publish(messages[place : place + 10])
            enough.wait(0.1)

    producer = Thread(target=publish)
    with start(broker, "first") as first:
        first.wait_until_ready()
        producer.start()
        wait_until_stored(50)
        with start(broker, "second") as second:
            wait_for(lambda: second.metric("notifier_bus_events_total"), "the second takes its part", 60)
            first.send(signal.SIGTERM)
            assert first.wait_until_it_ends() == 0
            enough.set()
            producer.join()
            wait_until_stored(len(messages))
            broker.publish([placed("AFTER")])
            wait_until_stored(len(messages) + 1)
    assert_all_is_stored_once(orders | {"AFTER"}, poison)


def test_a_key_makes_the_same_message_again_no_event(broker: Broker, start: Start) -> None:
    first, again = placed("ORD1", idempotencyKey="mine"), placed("ORD1", idempotencyKey="mine")
    event = {"specversion": "1.0", "id": "1", "source": "/orders", "type": "shop.order.ORDER_PLACED"}
    data = {name: value for name, value in orjson.loads(placed("ORD2").body).items() if name != "eventType"}
    structured = Message(orjson.dumps({**event, "data": data}), "ORD2")
    other = placed("ORD1", idempotencyKey="mine", metadata={"orderId": "ORD1", "note": "another body"})
    with start(broker):
        broker.publish([first, structured, again, structured, other, placed("LAST")])
        wait_until_stored(4)
    assert sorted(recorded()) == ["LAST", "ORD1", "ORD2"]
    assert DeadLetter.objects.get().cause == "IDEMPOTENCY_CONFLICT"
    keys = set(NotificationEvent.objects.values_list("idempotency_key", flat=True))
    assert {"mine", "/orders 1"} < keys


def test_a_flood_of_rubbish_is_counted_and_told_in_a_few_lines(broker: Broker, start: Start) -> None:
    flood = [Message(b"rubbish %d" % number, str(number)) for number in range(2_000)]
    with start(broker) as consumer:
        broker.publish([*flood, placed("ORD1")])
        wait_until_stored(len(flood) + 1)
        refused = partial(consumer.metric, "notifier_bus_refused_total", cause="UNDECODABLE")
        wait_for(lambda: refused() == len(flood), "all counted", 20)  # after the commit
        consumer.send(signal.SIGTERM)
        assert consumer.wait_until_it_ends() == 0
    assert recorded() == ["ORD1"]
    lines = consumer.log.read_text().splitlines()
    assert sum("UNDECODABLE" in line for line in lines) <= 3
    assert len(lines) < 40


def test_the_backlog_holds_it_back_within_the_group(broker: Broker, start: Start) -> None:
    """Nobody dispatches here, so what is recorded waits."""
    with start(broker, NOTIFIER_BUS_BACKLOG="100", NOTIFIER_BUS_BATCH="100") as consumer:
        broker.publish(placed(f"ORD{number}") for number in range(100))
        wait_for(lambda: consumer.metric("notifier_bus_paused", reason="backlog") == 1, "paused", 60)
        assert consumer.get("/health/ready") == (503, '{"status": "unavailable", "detail": "waits for the backlog"}')
        assert consumer.get("/health/live")[0] == 200
        held = NotificationEvent.objects.count()
        broker.publish(placed(f"LATER{number}") for number in range(50))
        if broker.tells_lag:
            wait_for(lambda: consumer.metric("notifier_bus_lag_messages") == 50, "lag", 20)
        assert NotificationEvent.objects.count() == held == 100
        NotificationEvent.objects.update(due_at=None)  # as if all were dispatched
        wait_until_stored(150)
        assert consumer.metric("notifier_bus_paused") == 0
        assert consumer.log.read_text().count("got partitions") <= 1
