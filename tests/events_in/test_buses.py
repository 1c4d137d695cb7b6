"""What every bus must keep: each good event recorded exactly once, each poison one a dead letter, and nothing stuck.

A further bus is a stage in tests/events_in/brokers.py and a line in conftest.py.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from functools import partial
from itertools import cycle
from pathlib import Path
from threading import Event, Thread
from uuid import uuid4

import orjson
import pytest

from notifier.models import DeadLetter, NotificationEvent
from notifier.querysets.dead_letters import Filter
from notifier.replay import replay
from preferences.models import User
from tests.chaos.servers import Postgres
from tests.events_in.brokers import Broker, Message, placed
from tests.events_in.conftest import Start
from tests.processes import wait_for

pytestmark = pytest.mark.processes

EVERY = 20  # of which one is poison
AWAY = 20.0  # seconds without the database
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
    messages, orders, poison = mixed(broker.messages)
    with start(broker) as consumer:
        broker.publish(messages)
        wait_until_stored(broker.messages)
        assert sorted(set(broker.dead_letters(len(poison)))) == sorted(poison)
        wait_for(lambda: consumer.metric("notifier_bus_events_total") >= broker.messages, "all counted", 20)
        assert consumer.metric("notifier_bus_events_total", outcome="recorded") == len(orders)
        assert consumer.metric("notifier_bus_refused_total") >= len(poison)  # SQS may give a message twice
        assert consumer.metric("notifier_bus_uncopied_total") == 0
        if broker.tells_lag:
            wait_for(lambda: consumer.metric("notifier_bus_lag_messages") == 0, "no lag", 20)
        consumer.send(signal.SIGTERM)
        assert consumer.wait_until_it_ends() == 0
    assert_all_is_stored_once(orders, poison)
    with start(broker, "next"):  # everything was committed: nothing comes again
        broker.publish([placed("AFTER")])
        wait_until_stored(broker.messages + 1)
    assert_all_is_stored_once(orders | {"AFTER"}, poison)


@pytest.mark.parametrize("point", ["bus.read", "bus.stored"])
def test_a_kill_loses_and_doubles_nothing(broker: Broker, start: Start, tmp_path: Path, point: str) -> None:
    """Before both commits, and between the database's and the bus's."""
    messages, orders, poison = mixed(broker.messages)
    with start(broker, NOTIFIER_BUS_BATCH=str(broker.messages // 8)) as consumer:
        first = broker.messages // 4
        broker.publish(messages[:first])
        wait_until_stored(first)
        (tmp_path / "failpoints" / point).write_text("kill")
        broker.publish(messages[first:])
        assert consumer.wait_until_it_ends() == -signal.SIGKILL
    assert NotificationEvent.objects.count() + DeadLetter.objects.count() < broker.messages
    with start(broker, "next") as following:
        wait_until_stored(broker.messages)
        broker.publish([placed("AFTER")])
        wait_until_stored(broker.messages + 1)
        if point == "bus.stored":  # where a broker hides what is in hand, these come last
            repeated = partial(following.metric, "notifier_bus_events_total", outcome="repeated")
            wait_for(repeated, "what was stored and not committed comes again", 60)
    assert_all_is_stored_once(orders | {"AFTER"}, poison)


def test_consumers_come_and_go_in_the_middle(broker: Broker, start: Start) -> None:
    messages, orders, poison = mixed(3 * broker.messages)
    enough = Event()

    def publish() -> None:
        """A little at a time, over all that happens."""
        few = broker.messages // 40
        for place in range(0, len(messages), few):
            broker.publish(messages[place : place + few])
            enough.wait(0.1)

    producer = Thread(target=publish)
    with start(broker, "first") as first:
        first.wait_until_ready()
        producer.start()
        wait_until_stored(broker.messages // 8)
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


def test_a_key_makes_the_same_message_again_no_event(quick_broker: Broker, start: Start) -> None:
    first, again = placed("ORD1", idempotencyKey="mine"), placed("ORD1", idempotencyKey="mine")
    event = {"specversion": "1.0", "id": "1", "source": "/orders", "type": "shop.order.ORDER_PLACED"}
    data = {name: value for name, value in orjson.loads(placed("ORD2").body).items() if name != "eventType"}
    structured = Message(orjson.dumps({**event, "data": data}), "ORD2")
    other = placed("ORD1", idempotencyKey="mine", metadata={"orderId": "ORD1", "note": "another body"})
    with start(quick_broker):
        quick_broker.publish([first, structured, again, structured, other, placed("LAST")])
        wait_until_stored(4)
    assert sorted(recorded()) == ["LAST", "ORD1", "ORD2"]
    assert DeadLetter.objects.get().cause == "IDEMPOTENCY_CONFLICT"
    keys = set(NotificationEvent.objects.values_list("idempotency_key", flat=True))
    assert {"mine", "/orders 1"} < keys


def test_a_flood_of_rubbish_is_counted_and_told_in_a_few_lines(quick_broker: Broker, start: Start) -> None:
    flood = [Message(b"rubbish %d" % number, str(number)) for number in range(5 * quick_broker.messages)]
    with start(quick_broker) as consumer:
        quick_broker.publish([*flood, placed("ORD1")])
        wait_until_stored(len(flood) + 1)
        refused = partial(consumer.metric, "notifier_bus_refused_total", cause="UNDECODABLE")
        wait_for(lambda: refused() >= len(flood), "all counted", 20)  # after the commit
        consumer.send(signal.SIGTERM)
        assert consumer.wait_until_it_ends() == 0
    assert recorded() == ["ORD1"]
    lines = consumer.log.read_text().splitlines()
    assert sum("UNDECODABLE" in line for line in lines) <= 3
    assert len(lines) < 40


def test_the_backlog_holds_it_back_within_the_group(quick_broker: Broker, start: Start) -> None:
    """Nobody dispatches here, so what is recorded waits."""
    with start(quick_broker, NOTIFIER_BUS_BACKLOG="100", NOTIFIER_BUS_BATCH="100") as consumer:
        quick_broker.publish(placed(f"ORD{number}") for number in range(100))
        wait_for(lambda: consumer.metric("notifier_bus_paused", reason="backlog") == 1, "paused", 60)
        assert consumer.get("/health/ready") == (503, '{"status": "unavailable", "detail": "waits for the backlog"}')
        assert consumer.get("/health/live")[0] == 200
        held = NotificationEvent.objects.count()
        quick_broker.publish(placed(f"LATER{number}") for number in range(50))
        if quick_broker.tells_lag:
            wait_for(lambda: consumer.metric("notifier_bus_lag_messages") == 50, "lag", 20)
        assert NotificationEvent.objects.count() == held == 100
        NotificationEvent.objects.update(due_at=None)  # as if all were dispatched
        wait_until_stored(150)
        assert consumer.metric("notifier_bus_paused") == 0
        assert consumer.log.read_text().count("got partitions") <= 1


def test_a_database_that_goes_away_is_waited_for_within_the_group(
    broker: Broker, start: Start, postgres: Postgres
) -> None:
    """Longer than the group waits for a member that says nothing."""
    messages, orders, poison = mixed(broker.messages)

    def stored() -> int:
        tables = ("notifier_notificationevent", "notifier_deadletter")
        return sum(postgres.query(f"SELECT count(*) FROM {table}")[0]["count"] for table in tables)

    postgres.query("TRUNCATE notifier_notificationevent, notifier_deadletter CASCADE")
    with start(broker, DATABASE_URL=postgres.url, NOTIFIER_BUS_BATCH=str(broker.messages // 8)) as consumer:
        first = broker.messages // 4
        broker.publish(messages[:first])
        wait_for(lambda: stored() == first, "the first", 60)
        postgres.child.send(signal.SIGINT)
        postgres.child.wait(30)
        back_at = time.monotonic() + AWAY
        broker.publish(messages[first:])
        consumer.wait_until_it_says(b"trying again in 15 s")  # after 0.5, 1, 2, 4 and 8 s: no wait is longer
        assert consumer.metric("notifier_bus_paused", reason="database") == 1
        assert consumer.get("/health/ready")[0] == 503
        assert consumer.get("/health/live")[0] == 200
        assert consumer.metric("notifier_bus_oldest_seconds") > 0
        wait_for(lambda: time.monotonic() > back_at, "the end of the outage", AWAY)
        postgres.start_again()
        wait_for(lambda: stored() == broker.messages, "all the others", 60)
        assert consumer.log.read_text().count("got partitions") <= 1
        assert consumer.metric("notifier_bus_paused") == 0
    rows = postgres.query("SELECT order_id FROM notifier_notificationevent")
    assert sorted(row["order_id"] for row in rows) == sorted(orders)
    letters = postgres.query("SELECT payload, cause FROM notifier_deadletter")
    assert sorted((bytes(row["payload"]), row["cause"]) for row in letters) == sorted(poison.items())


def test_the_events_of_an_order_keep_their_sequence(ordered_broker: Broker, start: Start) -> None:
    orders, steps = [f"ORD{number}" for number in range(10)], range(ordered_broker.messages // 10)
    with start(ordered_broker, NOTIFIER_BUS_BATCH=str(ordered_broker.messages // 7)):
        ordered_broker.publish(
            placed(order, metadata={"orderId": order, "step": step}, idempotencyKey=f"{-step}:{order}")
            for step in steps
            for order in orders
        )
        wait_until_stored(len(orders) * len(steps))
    for ordering in ("recorded_at", "due_at"):
        rows = NotificationEvent.objects.order_by(ordering).values_list("order_id", "metadata__step")
        assert {order: [step for of, step in rows if of == order] for order in orders} == {
            order: list(steps) for order in orders
        }
    assert NotificationEvent.objects.values("recorded_at").distinct().count() > len(steps)


def test_an_event_of_a_user_who_comes_later_is_replayed(
    quick_broker: Broker, start: Start, customer: Callable[..., User]
) -> None:
    """A binary CloudEvent: what it is read by is kept with its bytes."""
    user_id = str(uuid4())
    body = {"userId": user_id, "metadata": {"orderId": "ORD1"}}
    headers = {"ce_specversion": "1.0", "ce_id": "17", "ce_source": "/orders", "ce_type": "ORDER_PLACED"}
    message = Message(orjson.dumps(body), "ORD1", {**headers, "content-type": "application/json", "trace": "secret"})
    with start(quick_broker):
        quick_broker.publish([message])
        wait_until_stored(1)
        letter = DeadLetter.objects.get()
        assert (letter.cause, letter.source) == ("UNKNOWN_USER", quick_broker.source)
        assert letter.origin is not None
        assert "secret" not in str(letter.origin)
        customer(id=user_id)
        assert replay(Filter()).replayed == 1
        quick_broker.publish([message, placed("LAST")])  # should it come once more, it is known
        wait_until_stored(3)
    event = NotificationEvent.objects.get(order_id="ORD1")
    assert (event.idempotency_key, str(event.user_id)) == ("/orders 17", user_id)
    assert sorted(recorded()) == ["LAST", "ORD1"]


def test_an_event_says_where_it_came_from(quick_broker: Broker, start: Start) -> None:
    with start(quick_broker):
        quick_broker.publish([placed("ORD1"), placed("ORD2")])
        wait_until_stored(2)
    first, second = NotificationEvent.objects.order_by("order_id")
    assert first.origin
    assert first.origin != second.origin
    assert {first.source, second.source} == {quick_broker.source}
    assert first.idempotency_key != second.idempotency_key


def test_one_that_stood_still_and_comes_back_throws_nobody_back(broker: Broker, start: Start, tmp_path: Path) -> None:
    """It stops between the database's commit and the bus's; meanwhile another has taken its part, and gone on."""
    messages, orders, poison = mixed(broker.messages)
    with start(broker, "first", NOTIFIER_BUS_BATCH=str(broker.messages // 8)) as first:
        first.wait_until_ready()
        (tmp_path / "failpoints" / "bus.stored").write_text("stop")
        half = broker.messages // 2
        broker.publish(messages[:half])
        wait_for(lambda: not (tmp_path / "failpoints" / "bus.stored").exists(), "stopped", 60)
        with start(broker, "second") as second:
            broker.publish(messages[half:])
            wait_until_stored(broker.messages)
            if broker.left:  # what the first one had in hand comes again, once it is taken for dead
                repeated = partial(second.metric, "notifier_bus_events_total", outcome="repeated")
                wait_for(repeated, "the first is given up", 60)
            seen = first.said()
            first.send(signal.SIGCONT)
            for told in filter(None, (broker.left, broker.came_back)):
                first.wait_until_it_says(told, seen)
            second.send(signal.SIGTERM)
            assert second.wait_until_it_ends() == 0
            broker.publish([placed("AFTER")])
            wait_until_stored(broker.messages + 1)
    assert_all_is_stored_once(orders | {"AFTER"}, poison)
