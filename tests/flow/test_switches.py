"""What is paused waits and goes on or expires; a channel that is brought in reaches some first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import timedelta

import pytest
from django.db.models.functions import Now
from pytest_django.fixtures import Settings

from channels import registry
from channels.testing import forget_gates
from notifier import pauses, switches
from notifier.catalogue import event_types
from notifier.explain import explain
from notifier.models import Delivery, EndedPause, NotificationEvent, Pause, Rollout, new_id
from notifier.pauses import UnknownNameError, end_pauses, pause, resume
from notifier.plan import plan
from notifier.timeline import timeline, whole_events
from notifier.trigger import parse
from preferences.models import Change, User
from preferences.resolve import Recipient
from tests import engine
from tests.sandbox_process import Sandbox

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("sandbox")]

Customer = Callable[..., User]
SHIPPED = {"orderId": "ORD1", "trackingUrl": "https://track.example/1"}
LATER = timedelta(minutes=5)


@pytest.fixture(autouse=True)
def _nothing_learned() -> Iterator[None]:
    forget_gates()
    yield
    forget_gates()


def paused(kind: str, name: str) -> None:
    pause(kind, name, "a test")
    switches.refresh(age=0)


def resumed(kind: str, name: str) -> int:
    """How many deliveries go on."""
    assert resume(kind, name)
    EndedPause.objects.update(ended_at=Now() - pauses.KNOWN_BY_ALL - timedelta(seconds=1))
    switches.refresh(age=0)
    return end_pauses()


def held() -> set[str]:
    return set(Delivery.objects.filter(status="QUEUED", hold_reason="PAUSED").values_list("channel", flat=True))


def test_a_paused_channel_waits_alone_and_goes_on(sandbox: Sandbox, customer: Customer) -> None:
    paused("CHANNEL", "SMS")
    event = engine.trigger("ORDER_SHIPPED", customer().id, metadata=SHIPPED)
    engine.run()
    assert engine.states(event) == {"EMAIL": "SENT", "SMS": "QUEUED", "PUSH": "SENT", "IN_APP": "SENT"}
    assert held() == {"SMS"}
    assert engine.status(event) == "DISPATCHED"

    assert resumed("CHANNEL", "SMS") == 1
    assert not EndedPause.objects.exists()
    engine.pass_time(timedelta(seconds=20))  # over which what waits is spread
    engine.run()
    assert engine.states(event)["SMS"] == "SENT"
    assert engine.status(event) == "SENT"
    assert sum(message["provider"] == "twilio" for message in sandbox.messages()) == 1
    told = [(one.decision, one.reason) for one in timeline(whole_events().get(pk=event)) if one.channel == "SMS"]
    assert told.index(("HELD", "PAUSED")) < told.index(("ATTEMPTED", "ACCEPTED"))


def test_what_is_on_its_way_or_tried_again_waits_too(sandbox: Sandbox, customer: Customer) -> None:
    event = engine.trigger("ORDER_SHIPPED", customer().id, metadata=SHIPPED)
    sandbox.fault("twilio", mode="status", status=503)
    started = engine.round_of()
    paused("CHANNEL", "EMAIL")  # with a message in the queue
    engine.send(started)
    engine.settle_round(started)
    assert held() == {"EMAIL"}
    assert Delivery.objects.get(channel="SMS").status == "RETRYING"

    sandbox.heal()
    paused("CHANNEL", "SMS")
    engine.pass_time(timedelta(minutes=2))
    engine.run()
    assert held() == {"EMAIL", "SMS"}
    assert Delivery.objects.get(channel="SMS").tries == 1

    assert resumed("CHANNEL", "SMS") == resumed("CHANNEL", "EMAIL") == 1
    forget_gates()
    engine.pass_time(timedelta(minutes=1))
    engine.run()
    assert engine.states(event) == {"EMAIL": "SENT", "SMS": "SENT", "PUSH": "SENT", "IN_APP": "SENT"}


def test_what_waits_for_too_long_expires(customer: Customer) -> None:
    paused("CHANNEL", "SMS")
    event = engine.trigger("ORDER_CANCELLED", customer().id)
    engine.run()
    for _ in range(3):
        engine.pass_time(timedelta(hours=9))
        engine.run()
    assert engine.states(event)["SMS"] == "SKIPPED EXPIRED"
    assert engine.status(event) == "SENT"  # by the others


def test_a_paused_type_waits_with_all_its_channels(customer: Customer) -> None:
    paused("EVENT_TYPE", "ORDER_SHIPPED")
    user = customer()
    event = engine.trigger("ORDER_SHIPPED", user.id, metadata=SHIPPED)
    other = engine.trigger("ORDER_CONFIRMED", user.id, metadata={"orderId": "ORD2"})
    engine.run()
    assert engine.status(other) == "SENT"
    assert held() == {"EMAIL", "SMS", "PUSH", "IN_APP"}

    engine.pass_time(timedelta(seconds=switches.RECHECK + 1))
    engine.run()
    assert held() == {"EMAIL", "SMS", "PUSH", "IN_APP"}  # looked at, and held anew
    assert resumed("EVENT_TYPE", "ORDER_SHIPPED") == 4
    engine.pass_time(timedelta(seconds=20))
    engine.run()
    assert engine.status(event) == "SENT"


def test_a_type_that_is_paused_while_it_is_in_the_queue_waits(customer: Customer) -> None:
    event = engine.trigger("ORDER_SHIPPED", customer().id, metadata=SHIPPED)
    started = engine.round_of()
    paused("EVENT_TYPE", "ORDER_SHIPPED")
    engine.send(started)
    engine.settle_round(started)
    assert held() == {"EMAIL", "SMS", "PUSH", "IN_APP"}
    assert not Delivery.objects.filter(event_id=event).exclude(tries=0).exists()


def test_of_two_providers_the_other_one_serves(sandbox: Sandbox, customer: Customer, settings: Settings) -> None:
    channels = deepcopy(settings.CHANNELS)
    channels["SMS"]["PROVIDERS"] *= 2
    settings.CHANNELS = channels
    paused("PROVIDER", "SMS:twilio")
    event = engine.trigger("ORDER_SHIPPED", customer().id, metadata=SHIPPED)
    engine.run()
    assert engine.states(event)["SMS"] == "SENT"
    assert held() == set()
    assert [gate.paused for gate in registry.gates() if gate.channel == "SMS"] == [True, False]

    paused("PROVIDER", "SMS:twilio-2")
    engine.trigger("ORDER_SHIPPED", customer(email="b@mail.example").id, metadata={**SHIPPED, "orderId": "ORD2"})
    engine.run()
    assert held() == {"SMS"}
    assert resumed("PROVIDER", "SMS:twilio-2") == 1
    engine.pass_time(timedelta(seconds=20))
    engine.run()
    assert held() == set()


def test_two_pauses_hold_until_both_have_ended(customer: Customer) -> None:
    paused("CHANNEL", "SMS")
    paused("EVENT_TYPE", "ORDER_SHIPPED")
    event = engine.trigger("ORDER_SHIPPED", customer().id, metadata=SHIPPED)
    engine.run()
    assert resumed("EVENT_TYPE", "ORDER_SHIPPED") == 4
    engine.pass_time(timedelta(seconds=20))
    engine.run()
    assert engine.states(event) == {"EMAIL": "SENT", "SMS": "QUEUED", "PUSH": "SENT", "IN_APP": "SENT"}
    assert held() == {"SMS"}
    assert resumed("CHANNEL", "SMS") == 1


def test_many_are_let_go_in_parts(customer: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pauses, "BATCH", 2)
    paused("CHANNEL", "SMS")
    user = customer()
    for number in range(3):
        engine.trigger("ORDER_SHIPPED", user.id, metadata={**SHIPPED, "orderId": f"ORD{number}"})
    engine.run()
    assert resumed("CHANNEL", "SMS") == 2
    assert end_pauses() == 1
    assert end_pauses() == 0
    assert not EndedPause.objects.exists()


def test_a_pause_that_just_ended_is_still_believed_somewhere(customer: Customer) -> None:
    paused("CHANNEL", "SMS")
    engine.trigger("ORDER_SHIPPED", customer().id, metadata=SHIPPED)
    engine.run()
    resume("CHANNEL", "SMS")
    assert end_pauses() == 0
    assert EndedPause.objects.count() == 1


def test_pausing_twice_is_pausing_once_and_unknown_names_are_refused() -> None:
    first, new = pause("CHANNEL", "SMS", "twilio is slow")
    again, newer = pause("CHANNEL", "SMS", "twilio is down")
    assert (first.pk, new, newer, again.reason) == (again.pk, True, False, "twilio is down")
    assert first.paused_at == again.paused_at
    assert not resume("CHANNEL", "EMAIL")
    for kind, name, known in (
        ("CHANNEL", "FAX", "EMAIL, SMS"), ("PROVIDER", "twilio", "SMS:twilio"), ("EVENT_TYPE", "SMS", "ORDER_PLACED"),
    ):  # fmt: skip
        with pytest.raises(UnknownNameError, match=known):
            pause(kind, name)
    assert Pause.objects.count() == 1


def test_who_pauses_is_in_the_history() -> None:
    pause("CHANNEL", "SMS", "twilio is slow")
    resume("CHANNEL", "SMS")
    Rollout.objects.create(id="SMS", percent=10)
    changes = Change.objects.filter(kind__in=["PAUSE", "ROLLOUT"]).order_by("id")
    told = [(one.kind, one.action, (one.after or one.before or {}).get("name")) for one in changes]
    assert told == [("PAUSE", "INSERT", "SMS"), ("PAUSE", "DELETE", "SMS"), ("ROLLOUT", "INSERT", None)]


def test_explain_says_what_is_paused(customer: Customer) -> None:
    paused("CHANNEL", "SMS")
    trigger = parse({"eventType": "ORDER_SHIPPED", "userId": str(customer().id), "metadata": SHIPPED})
    (found,) = explain(trigger)
    assert {d.channel: d.hold_reason for d in found.deliveries if d.hold_reason} == {"SMS": "PAUSED"}


# --- bringing a channel in -----------------------------------------------------------------------------------------
def person(user_id: object = None) -> Recipient:
    return Recipient(user_id or new_id(), "en", "UTC", {})  # type: ignore[arg-type] # an id


def test_a_share_is_of_the_same_people_and_grows() -> None:
    people = [person() for _ in range(2000)]
    reached = {
        percent: {one.user_id for one in people if switches.Share("SMS", percent, frozenset()).includes(one)}
        for percent in (0, 10, 30, 100)
    }
    assert not reached[0]
    assert reached[10] < reached[30] < reached[100] == {one.user_id for one in people}
    assert 120 < len(reached[10]) < 280
    others = {one.user_id for one in people if switches.Share("PUSH", 10, frozenset()).includes(one)}
    assert len(others & reached[10]) < len(others) / 2
    assert switches.Share("SMS", 0, frozenset([people[0].user_id])).includes(people[0])  # type: ignore[list-item] # it has an id


def test_a_channel_reaches_those_who_are_named_and_others_by_its_fallback(customer: Customer) -> None:
    named, other = customer(), customer(email="b@mail.example")
    Rollout.objects.create(id="SMS", percent=0, users=[named.id])
    switches.refresh(age=0)
    first, second = (engine.trigger("ORDER_SHIPPED", user.id, metadata=SHIPPED) for user in (named, other))
    engine.run()
    assert engine.states(first)["SMS"] == "SENT"
    assert engine.states(second) == {"EMAIL": "SENT", "SMS": "SKIPPED ROLLOUT", "PUSH": "SENT", "IN_APP": "SENT"}


def test_staff_are_told_by_every_channel(customer: Customer) -> None:
    Rollout.objects.create(id="SMS", percent=0)
    switches.refresh(age=0)
    kinds = registry.address_kinds()
    reasons = {one.channel: one.skip_reason for one in plan(event_types()["FRAUD_ALERT"], person(), kinds)}
    assert reasons["SMS"] == "NO_ADDRESS"


def test_events_of_a_paused_channel_cost_nothing_until_they_are_looked_at(customer: Customer) -> None:
    paused("CHANNEL", "SMS")
    engine.trigger("ORDER_SHIPPED", customer().id, metadata=SHIPPED)
    engine.run()
    due = NotificationEvent.objects.get().due_at
    assert due
    assert timedelta(minutes=9) < due - Delivery.objects.get(channel="EMAIL").due_at < timedelta(minutes=11)
