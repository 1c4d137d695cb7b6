"""What the workers cannot take yet waits in the database, and goes on as soon as there is room."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import redis
from django.conf import settings as django_settings
from pytest_django.fixtures import Settings

from notifier import pressure, tasks
from notifier.dispatch import Lane, dispatch
from notifier.models import Delivery, NotificationEvent
from notifier.quick_redis import quick_redis
from preferences.models import User
from tests import engine
from tests.sandbox_process import Sandbox

pytestmark = pytest.mark.django_db

Customer = Callable[..., User]
LANES = tasks._queues()


@pytest.fixture
def client() -> Iterator[redis.Redis]:
    found = redis.Redis.from_url(django_settings.REDIS_URL)
    found.flushdb()
    yield found
    found.flushdb()
    found.close()


def fill(client: redis.Redis, *queues: str) -> None:
    for queue in queues:
        client.rpush(queue, *["message"] * django_settings.QUEUE_BOUND)


def stuck(client: redis.Redis, *queues: str) -> None:
    """Full for longer than it takes a worker to make room."""
    fill(client, *queues)
    pressure.full(queues)
    for queue in queues:
        client.hset(pressure.FULL, queue, str(client.time()[0] - pressure.STUCK))


def test_nothing_is_claimed_while_a_queue_is_full(client: redis.Redis, customer: Customer) -> None:
    """Nobody overtakes those who wait, and the next batch is bigger."""
    engine.trigger("ORDER_PLACED", customer().id)
    fill(client, "email")
    tasks.dispatch()
    assert NotificationEvent.objects.get().status == "QUEUED"
    assert not pressure.relieved(LANES)  # still full: nobody rings in vain
    client.delete("email")
    assert pressure.relieved(LANES)
    assert not pressure.relieved(LANES)  # one rings, not all
    tasks.dispatch()
    assert NotificationEvent.objects.get().round == 1


def test_a_stuck_queue_is_not_waited_for(client: redis.Redis, customer: Customer) -> None:
    engine.trigger("ORDER_PLACED", customer().id)
    stuck(client, "email")
    tasks.dispatch()
    client.delete("push", "in_app")  # taken by workers
    assert pressure.relieved(LANES)


def test_each_lane_waits_for_its_own_room(client: redis.Redis) -> None:
    pressure.hold(Lane.STANDARD.name)
    fill(client, "urgent", "email")
    client.delete("urgent")
    assert not pressure.relieved(LANES)
    client.delete("email")
    fill(client, "urgent")
    assert pressure.relieved(LANES)


def test_a_stuck_channel_is_left_out_and_comes_later(client: redis.Redis, sandbox: Sandbox, customer: Customer) -> None:
    event = engine.trigger("ORDER_PLACED", customer().id)
    stuck(client, "email")
    tasks.dispatch()
    assert NotificationEvent.objects.get().round == 1
    assert (client.llen("push"), client.llen("in_app")) == (1, 1)
    assert client.llen("email") == django_settings.QUEUE_BOUND
    held = Delivery.objects.get(channel="EMAIL")
    assert (held.status, held.detail) == ("QUEUED", "waits: queue full")
    engine.pass_time(django_settings.EVENT_LEASE)
    engine.repair()
    engine.run()
    assert engine.status(event) == "SENT"


def test_nothing_is_claimed_while_all_are_stuck(client: redis.Redis, customer: Customer) -> None:
    engine.trigger("ORDER_PLACED", customer().id)
    stuck(client, *(name.lower() for name in django_settings.CHANNELS))
    tasks.dispatch()
    assert NotificationEvent.objects.get().status == "QUEUED"


def test_room_ends_it(client: redis.Redis) -> None:
    stuck(client, "email")
    assert pressure.full(["email"])["email"] >= pressure.STUCK
    client.delete("email")
    assert pressure.full(["email"]) == {}
    fill(client, "email")
    assert pressure.full(["email"])["email"] < 1


def test_urgent_ones_have_a_queue_of_their_own(client: redis.Redis, customer: Customer) -> None:
    engine.trigger("ORDER_DELAYED", customer().id)
    fill(client, *(name.lower() for name in django_settings.CHANNELS))
    tasks.dispatch()
    assert NotificationEvent.objects.get().round == 1
    assert client.llen("urgent") == 4


def test_redis_away_counts_as_full(settings: Settings, customer: Customer) -> None:
    engine.trigger("ORDER_PLACED", customer().id)
    quick_redis.forget()
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    try:
        assert pressure.full(["email"]) == {"email": 0.0}
        pressure.hold(Lane.STANDARD.name)
        assert not pressure.relieved(LANES)
    finally:
        quick_redis.forget()


def test_what_is_being_sent_is_not_held_back(customer: Customer) -> None:
    """An older message may have claimed the row meanwhile."""
    engine.trigger("ORDER_PACKED", customer().id)
    engine.round_of()
    Delivery.objects.filter(channel="PUSH").update(status="SENDING")
    NotificationEvent.objects.update(due_at=NotificationEvent.objects.get().recorded_at, lease_until=None)
    dispatch(Lane.STANDARD, {"EMAIL"})
    assert dict(Delivery.objects.values_list("channel", "detail")) == {"PUSH": "", "IN_APP": "waits: queue full"}
