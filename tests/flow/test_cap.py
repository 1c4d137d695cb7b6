"""A caller that runs in circles: what is over an address's cap of a day is held, told of, and counted anew."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import Group
from pytest_django.fixtures import Settings

from notifier import cap
from notifier.models import Delivery, NotificationEvent
from notifier.quick_redis import quick_redis
from notifier.timeline import timeline, whole_events
from preferences.models import User
from tests import engine
from tests.ports import free_port
from tests.sandbox_process import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)

Customer = Callable[..., User]


@pytest.fixture
def user(customer: Customer, settings: Settings) -> User:
    settings.DAILY_CAP = 2
    return customer(email=f"{uuid4()}@mail.example", phone="", device="")


def trigger(user_id: UUID | None, number: int, **more: Any) -> UUID:
    return engine.trigger("ORDER_CONFIRMED", user_id, metadata={"orderId": f"ORD{number}"}, **more)


def of(event: UUID, channel: str = "EMAIL") -> Delivery:
    return Delivery.objects.get(event=event, channel=channel)


def test_what_is_over_the_cap_is_held_and_the_inbox_is_not(sandbox: Sandbox, user: User) -> None:
    events = [trigger(user.id, number) for number in range(4)]
    engine.run()

    assert sorted(of(event).status for event in events) == ["QUEUED", "QUEUED", "SENT", "SENT"]
    assert len(sandbox.messages()) == 2
    assert {of(event, "IN_APP").status for event in events} == {"SENT"}
    held = [of(event) for event in events if of(event).status == "QUEUED"]
    assert {delivery.hold_reason for delivery in held} == {"CAP"}
    told = timeline(whole_events().get(pk=held[0].event_id))
    assert [one.detail for one in told if (one.decision, one.channel) == ("HELD", "EMAIL")] != []


def test_it_goes_when_there_is_room_again(sandbox: Sandbox, user: User, settings: Settings) -> None:
    events = [trigger(user.id, number) for number in range(5)]
    engine.run()
    assert len(sandbox.messages()) == 2

    engine.pass_time(cap.LONGEST_WAIT + timedelta(minutes=1))
    engine.run()
    assert len(sandbox.messages()) == 2  # still the same day, as Redis counts

    settings.DAILY_CAP = 4
    engine.pass_time(cap.LONGEST_WAIT + timedelta(minutes=1))
    engine.run()
    assert len(sandbox.messages()) == 4
    assert sorted(of(event).status for event in events) == ["QUEUED", *["SENT"] * 4]


def test_what_there_is_no_room_for_in_time_expires(sandbox: Sandbox, user: User) -> None:
    events = [trigger(user.id, number) for number in range(3)]
    engine.run()
    engine.pass_time(timedelta(days=30))
    engine.run()

    assert sorted((of(event).status, of(event).skip_reason) for event in events) == [
        ("SENT", ""),
        ("SENT", ""),
        ("SKIPPED", "EXPIRED"),
    ]


def test_an_address_is_counted_whoever_names_it(sandbox: Sandbox, user: User) -> None:
    guest = {"email": user.email.upper()}
    events = [trigger(user.id, 1), *(trigger(None, number, recipient=guest) for number in (2, 3))]
    engine.run()

    assert sorted(of(event).status for event in events) == ["QUEUED", "SENT", "SENT"]


@pytest.fixture
def operator(db: None) -> User:
    staff = User.objects.create_user("op", is_staff=True, email=f"{uuid4()}@shop.example")
    staff.groups.add(Group.objects.get_or_create(name="operations")[0])
    return staff


def test_operations_are_told_once_and_are_not_counted(sandbox: Sandbox, user: User, operator: User) -> None:
    for number in range(3):
        for _ in range(3):
            trigger(user.id, number)
        engine.run()

    (told,) = NotificationEvent.objects.filter(event_type="DELIVERY_FAILED", user=operator)
    assert (told.metadata["channel"], told.metadata["cause"]) == ("EMAIL", "CAP")
    assert of(told.id).status == "SENT"
    (mail,) = [m for m in sandbox.messages() if operator.email in str(m)]
    assert "held" in str(mail)


def test_off_nobody_counts(sandbox: Sandbox, user: User, settings: Settings) -> None:
    settings.DAILY_CAP = 0
    events = [trigger(user.id, number) for number in range(4)]
    engine.run()
    assert {of(event).status for event in events} == {"SENT"}


def test_without_redis_all_may_go(settings: Settings) -> None:
    settings.DAILY_CAP = 1
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    quick_redis.forget()
    try:
        assert cap.over(["EMAIL a", "EMAIL a"]) == frozenset()
    finally:
        quick_redis.forget()


def test_what_does_not_go_does_not_count(settings: Settings) -> None:
    settings.DAILY_CAP = 2
    place = f"EMAIL {uuid4()}"
    assert cap.over([place] * 5) == {2, 3, 4}
    assert cap.over([place]) == {0}
    settings.DAILY_CAP = 3
    assert cap.over([place, place]) == {1}


@pytest.mark.parametrize(
    ("now", "seconds"),
    [
        (datetime(2026, 11, 25, 12, tzinfo=UTC), 3600),
        (datetime(2026, 11, 25, 23, 59, tzinfo=UTC), 60),
    ],
)
def test_it_is_asked_again_in_an_hour_or_the_next_day(now: datetime, seconds: int) -> None:
    assert cap.wait(now) == seconds
