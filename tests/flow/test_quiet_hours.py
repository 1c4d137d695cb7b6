"""Who must not be disturbed now is told later: held, shown, and sent or too late when the quiet hours end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from notifier.models import ApiKey, Delivery, NotificationEvent, new_id
from notifier.timeline import timeline, whole_events
from preferences.models import User
from tests import engine
from tests.sandbox_process import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)

Customer = Callable[..., User]
HOUR = timedelta(hours=1)


def quiet(user: User, begins: timedelta = -HOUR, length: timedelta = 3 * HOUR) -> None:
    """Quiet hours that began `begins` from now."""
    start = timezone.now() + begins
    user.quiet_from, user.quiet_until = start.time(), (start + length).time()
    user.save()


@pytest.fixture
def sleeper(customer: Customer) -> User:
    user = customer()
    quiet(user)
    return user


def test_what_would_disturb_waits_and_the_inbox_does_not(sandbox: Sandbox, sleeper: User) -> None:
    event = engine.trigger(
        "ORDER_SHIPPED", sleeper.id, metadata={"orderId": "ORD1", "trackingUrl": "https://t.example"}
    )
    engine.run()

    assert engine.states(event) == {"EMAIL": "QUEUED", "SMS": "QUEUED", "PUSH": "QUEUED", "IN_APP": "SENT"}
    assert sandbox.messages() == []
    assert engine.status(event) == "DISPATCHED"
    ends = timezone.now() + 2 * HOUR
    for held in Delivery.objects.filter(status="QUEUED"):
        assert held.hold_reason == "QUIET_HOURS"
        assert abs(held.due_at - ends) < timedelta(minutes=1)
    due_at = NotificationEvent.objects.get().due_at
    assert due_at
    assert abs(due_at - ends) < timedelta(minutes=1)


def test_it_goes_out_when_they_end(sandbox: Sandbox, sleeper: User) -> None:
    event = engine.trigger("ORDER_CONFIRMED", sleeper.id)
    engine.run()
    quiet(sleeper, begins=5 * HOUR)
    engine.pass_time(3 * HOUR)
    engine.run()

    assert set(engine.states(event).values()) == {"SENT"}
    assert engine.status(event) == "SENT"
    assert len(sandbox.messages()) == 2
    told = [(one.decision, one.channel) for one in timeline(whole_events().get(pk=event))]
    assert told.index(("HELD", "EMAIL")) < told.index(("ATTEMPTED", "EMAIL"))
    assert told[-1] == ("SETTLED", "")


def test_who_sleeps_longer_meanwhile_is_let_sleep(sandbox: Sandbox, sleeper: User) -> None:
    event = engine.trigger("ORDER_CONFIRMED", sleeper.id)
    engine.run()
    engine.pass_time(3 * HOUR)  # due by now, but the quiet hours were moved: they hold again
    engine.run()

    assert engine.states(event) == {"EMAIL": "QUEUED", "PUSH": "QUEUED", "IN_APP": "SENT"}
    assert sandbox.messages() == []
    assert Delivery.objects.filter(hold_reason="QUIET_HOURS", due_at__gt=timezone.now(), tries=0).count() == 2


def test_urgent_messages_go_through(sandbox: Sandbox, sleeper: User) -> None:
    event = engine.trigger("ORDER_CANCELLED", sleeper.id)
    engine.run()
    assert set(engine.states(event).values()) == {"SENT"}


def test_a_retry_does_not_wake_anybody(sandbox: Sandbox, customer: Customer) -> None:
    user = customer(device="")
    sandbox.fault("sendgrid", mode="status", status=503)
    event = engine.trigger("ORDER_CONFIRMED", user.id)
    engine.send(engine.round_of())
    assert engine.states(event)["EMAIL"] == "RETRYING"
    sandbox.heal()
    quiet(user)
    engine.pass_time(timedelta(minutes=30))
    engine.repair()
    engine.run()

    assert engine.states(event)["EMAIL"] == "QUEUED"
    assert Delivery.objects.get(channel="EMAIL").hold_reason == "QUIET_HOURS"


def test_a_fallback_at_night_waits_until_the_morning(sandbox: Sandbox, customer: Customer) -> None:
    user = customer(device="")
    sandbox.fault("sendgrid", mode="status", status=400)
    event = engine.trigger("ORDER_CONFIRMED", user.id)
    started = engine.round_of()
    engine.send(started)
    quiet(user)
    engine.settle_round(started)
    engine.run()

    assert engine.states(event)["SMS"] == "QUEUED"
    assert Delivery.objects.get(channel="SMS").hold_reason == "QUIET_HOURS"


def test_what_would_come_too_late_expires(sandbox: Sandbox, customer: Customer) -> None:
    user = customer()
    quiet(user, length=12 * HOUR)
    event = engine.trigger("ORDER_PACKED", user.id)  # lives for 6 hours
    engine.run()
    held = Delivery.objects.get(channel="PUSH")
    assert held.due_at - NotificationEvent.objects.get().expires_at < timedelta(seconds=1)
    engine.pass_time(6 * HOUR + timedelta(seconds=1))
    engine.run()

    assert engine.states(event) == {"PUSH": "SKIPPED EXPIRED", "IN_APP": "SENT"}
    assert engine.status(event) == "SENT"


def test_an_opt_out_while_it_is_held_counts(sandbox: Sandbox, sleeper: User) -> None:
    event = engine.trigger("ORDER_CONFIRMED", sleeper.id)
    engine.run()
    sleeper.preferences.create(channel="EMAIL", enabled=False)
    quiet(sleeper, begins=5 * HOUR)
    engine.pass_time(3 * HOUR)
    engine.run()
    assert engine.states(event)["EMAIL"] == "SKIPPED OPTED_OUT"


def test_who_ends_their_quiet_hours_is_told_at_once(
    sandbox: Sandbox, sleeper: User, client: Client, customer: Customer, settings: Settings
) -> None:
    settings.WHITENOISE_AUTOREFRESH = True  # no collected files are looked for
    other = customer(email="other@shop.example")
    quiet(other)
    event, others = (engine.trigger("ORDER_CONFIRMED", user.id) for user in (sleeper, other))
    engine.run()
    key = ApiKey.issue("shop", ["preferences"])[1]

    answer = client.put(
        "/notifications/preferences/quiet-hours",
        {"userId": str(sleeper.id), "from": None, "until": None},
        "application/json",
        headers={"Authorization": f"Api-Key {key}"},
    )
    assert answer.status_code == 200
    engine.run()

    assert engine.status(event) == "SENT"
    assert engine.states(others)["EMAIL"] == "QUEUED"


def test_who_sleeps_at_other_hours_that_hold_now_too_is_let_sleep(sandbox: Sandbox, sleeper: User) -> None:
    event = engine.trigger("ORDER_CONFIRMED", sleeper.id)
    engine.run()
    quiet(sleeper, length=6 * HOUR)

    assert Delivery.objects.ask_again(sleeper.id)
    engine.run()

    held = Delivery.objects.get(event=event, channel="EMAIL")
    assert (held.status, held.hold_reason) == ("QUEUED", "QUIET_HOURS")
    assert abs(held.due_at - (timezone.now() + 5 * HOUR)) < timedelta(minutes=1)
    assert not Delivery.objects.ask_again(new_id())
