"""What the buses with a lease on each message owe to one another's consumers, and how they take a broker's absence."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import replace

import pytest
from pytest_django.fixtures import Settings

from config.buses import buses_from_environment
from notifier.events_in import bus as buses
from notifier.events_in.bus import Bus, DeadLetterQueueError, Incoming, Refused
from tests.events_in.brokers import Broker, Message, placed
from tests.events_in.moto_sqs import ACCOUNT
from tests.events_in.test_command import refused
from tests.processes import wait_for

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]

QUEUES = pytest.mark.parametrize("broker", ["sqs", "pubsub", "amqp"], indirect=True)
WHERE = {"sqs": "SQS_QUEUE_URL", "pubsub": "PUBSUB_SUBSCRIPTION", "amqp": "AMQP_QUEUE"}
WATCHED = {"sqs": 9.0, "pubsub": 15.0, "amqp": 1.0}  # seconds: half as long again as a message is hidden
AWAY: dict[str, Mapping[str, str]] = {
    "sqs": {**ACCOUNT, "SQS_QUEUE_URL": "http://127.0.0.1:1/123456789012/order-events"},
    "pubsub": {
        "PUBSUB_EMULATOR_HOST": "127.0.0.1:1",
        "PUBSUB_SUBSCRIPTION": "projects/shop/subscriptions/order-events",
    },
    "amqp": {"AMQP_URL": "amqp://guest:guest@127.0.0.1:1"},
}
Connect = Callable[[str, Mapping[str, str]], Bus]


@pytest.fixture
def connect(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    """A bus in this process, from the environment; closed at the end."""
    with ExitStack() as opened:

        def of(name: str, environment: Mapping[str, str]) -> Bus:
            for variable, value in environment.items():
                monkeypatch.setenv(variable, value)
            settings.BUSES = buses_from_environment()
            return opened.enter_context(closing(buses.connect(name)))

        yield of


def fetched(bus: Bus, number: int) -> list[Incoming]:
    found: list[Incoming] = []

    def fetch() -> bool:
        found.extend(bus.fetch(100, 0.5))
        return len(found) >= number

    wait_for(fetch, f"{number} messages", 30)
    return found


@QUEUES
def test_what_is_in_hand_comes_to_nobody_else_until_it_is_given_back(broker: Broker, connect: Connect) -> None:
    first, second = (connect(broker.bus, broker.environment) for _ in range(2))
    broker.publish([Message(placed("ORD1").body, "ORD1", {"ce_id": "17"})])
    (message,) = fetched(first, 1)
    assert first.is_connected()
    ends = time.monotonic() + WATCHED[broker.bus]
    while time.monotonic() < ends:
        assert not second.fetch(100, 1.0)
    first.give_back([message])
    first.pause()
    assert not first.fetch(100, 0.5)
    (again,) = fetched(second, 1)
    assert (again.key, again.body, again.headers["ce_id"]) == (message.key, message.body, "17")
    assert again.published_at is not None
    assert abs(time.time() - again.published_at) < 60
    second.commit([again])
    first.resume()
    assert not first.fetch(100, 0.5)
    broker.publish([placed("ORD2")])
    (other,) = fetched(first, 1)
    assert other.key != message.key


@QUEUES
def test_no_more_than_asked_for(broker: Broker, connect: Connect) -> None:
    bus = connect(broker.bus, broker.environment)
    broker.publish(placed(f"ORD{number}") for number in range(25))
    keys: set[str] = set()

    def fetch() -> bool:
        batch = bus.fetch(12, 0.5)
        assert len(batch) <= 12
        keys.update(message.key for message in batch)
        bus.commit(batch)
        return len(keys) == 25

    wait_for(fetch, "all of them", 30)


@QUEUES
def test_a_queue_that_is_not_there_ends_it_with_one_line(broker: Broker) -> None:
    missing = {**broker.environment, WHERE[broker.bus]: f"{broker.environment[WHERE[broker.bus]]}-none"}
    line = refused("--bus", broker.bus, **missing)
    assert line.startswith("CommandError: ")
    assert " refuses " in line


@QUEUES
def test_dead_letters_that_are_not_there_are_told_and_not_tried_again_at_once(broker: Broker, connect: Connect) -> None:
    nowhere = {
        "SQS_DEAD_LETTER_QUEUE_URL": f"{broker.environment.get('SQS_QUEUE_URL', '')}-none",
        "PUBSUB_DEAD_LETTER_TOPIC": "projects/shop/topics/nowhere",
        "AMQP_DEAD_LETTER_QUEUE": "nowhere",
    }
    bus = connect(broker.bus, {**broker.environment, **nowhere})
    broker.publish([Message(b"rubbish"), Message(b"more rubbish")])
    poison = [Refused(message, "UNDECODABLE", "The message is not JSON.") for message in fetched(bus, 2)]
    with pytest.raises(DeadLetterQueueError, match="not copied to") as told:
        bus.dead_letter(poison)
    assert told.value.missed == 2
    with pytest.raises(DeadLetterQueueError, match="is not tried again yet"):
        bus.dead_letter(poison)
    bus.commit([one.message for one in poison])
    broker.publish([placed("ORD1")])
    (good,) = fetched(bus, 1)
    bus.commit([good])


@pytest.mark.parametrize("name", AWAY)
def test_a_broker_that_is_away_is_waited_for(name: str, connect: Connect) -> None:
    bus = connect(name, AWAY[name])
    assert not bus.fetch(10, 0.1)
    assert not bus.is_connected()
    assert bus.lag() is None
    bus.pause()
    bus.resume()
    assert not bus.fetch(10, 0.1)


@pytest.mark.parametrize("broker", ["sqs"], indirect=True)
def test_what_sqs_does_not_delete_comes_again(broker: Broker, connect: Connect) -> None:
    bus = connect(broker.bus, broker.environment)
    broker.publish([placed("ORD1")])
    (message,) = fetched(bus, 1)
    bus.commit([replace(message, raw={**message.raw, "ReceiptHandle": "of another message"})])
    (again,) = fetched(bus, 1)
    assert again.key == message.key
    bus.commit([again])


@pytest.mark.parametrize("broker", ["amqp-quorum"], indirect=True)
def test_a_quorum_queue_that_counts_returns_in_the_message_makes_no_other_of_it(
    broker: Broker, connect: Connect
) -> None:
    bus = connect(broker.bus, broker.environment)
    broker.publish([placed("ORD1")])
    (message,) = fetched(bus, 1)
    bus.give_back([message])
    (again,) = fetched(bus, 1)
    assert "x-delivery-count" in again.headers
    assert again.key == message.key
    bus.commit([again])


@pytest.mark.parametrize("broker", ["amqp"], indirect=True)
def test_the_brokers_heartbeats_do_not_lengthen_a_wait(broker: Broker, connect: Connect) -> None:
    bus = connect(broker.bus, broker.environment)
    bus.fetch(1, 0.1)
    for _ in range(3):  # RabbitMQ tells that it lives each second here
        began = time.monotonic()
        assert not bus.fetch(1, 1.2)
        assert time.monotonic() - began < 2
