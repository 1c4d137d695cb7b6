"""In staging nobody is written to who is not named, whichever way a message takes; and all messages say so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from channels.models import InboxMessage
from channels.testing import RecordingProvider, RemoteProvider, recording
from notifier import checks
from notifier.querysets.dead_letters import Filter
from notifier.replay import replay
from notifier.timeline import timeline, whole_events
from preferences.models import Device, User
from tests import engine, toy
from tests.sandbox_process import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)

Customer = Callable[..., User]
SHIPPED = {"orderId": "ORD1", "trackingUrl": "https://track.example/1"}
ALL_SKIPPED = {"EMAIL": "SKIPPED STAGING", "SMS": "SKIPPED STAGING", "PUSH": "SKIPPED STAGING", "IN_APP": "SENT"}
ALL_SENT = dict.fromkeys(("EMAIL", "SMS", "PUSH", "IN_APP"), "SENT")


def shipped(user: User) -> Any:
    event = engine.trigger("ORDER_SHIPPED", user.id, metadata=SHIPPED)
    engine.run()
    return event


def test_a_customer_gets_nothing_but_the_inbox_message(
    sandbox: Sandbox, settings: Settings, customer: Customer
) -> None:
    settings.STAGING_RECIPIENTS = ("qa@staging.example", "@test.example")
    event = shipped(customer())
    assert engine.states(event) == ALL_SKIPPED
    assert engine.status(event) == "SENT"
    assert sandbox.messages() == []
    assert InboxMessage.objects.get().title.startswith("[STAGING] ")
    decisions = timeline(whole_events().get())
    assert {d.reason for d in decisions if d.decision == "SKIPPED"} == {"STAGING"}


@pytest.mark.parametrize(
    ("named", "sent"),
    [
        ("ADA@shop.example", {"EMAIL", "PUSH"}),
        ("@shop.example", {"EMAIL", "PUSH"}),
        ("@example", set()),
        ("+4915112345678", {"SMS", "PUSH"}),
        ("device:device-1", {"PUSH"}),
        ("none", set()),
    ],
)
def test_who_is_named_is_reached(
    sandbox: Sandbox, settings: Settings, customer: Customer, named: str, sent: set[str]
) -> None:
    user = customer(device="")
    Device.objects.create(user=user, token="device-1")
    settings.STAGING_RECIPIENTS = (named,)
    found = engine.states(shipped(user))
    assert {channel for channel, state in found.items() if state == "SENT"} == {"IN_APP", *sent}
    for message in sandbox.messages():
        assert (message["subject"] or message["title"] or message["body"]).startswith("[STAGING] ")
    assert len(sandbox.messages()) == len(sent)


def test_a_stand_in_gets_what_is_for_everybody_else(sandbox: Sandbox, settings: Settings, customer: Customer) -> None:
    settings.STAGING_RECIPIENTS = ("*=qa@staging.example", "*=+4915199999999", "*=device:qa-phone", "bea@shop.example")
    user = customer()
    Device.objects.create(user=user, token="second")
    assert engine.states(shipped(user)) == ALL_SENT
    assert sorted(m["to"] for m in sandbox.messages()) == ["+4915199999999", "qa-phone", "qa@staging.example"]
    sandbox.clear()
    assert engine.states(shipped(customer(email="bea@shop.example", phone="+4915112345679", device="bea"))) == ALL_SENT
    assert "bea@shop.example" in {m["to"] for m in sandbox.messages()}


def test_a_guest_is_no_exception(sandbox: Sandbox, settings: Settings) -> None:
    settings.STAGING_RECIPIENTS = ("none",)
    event = engine.trigger(
        "ORDER_SHIPPED", metadata=SHIPPED, recipient={"email": "g@x.example", "phone": "+4915112345678"}
    )
    engine.run()
    assert set(engine.states(event).values()) == {"SKIPPED STAGING", "SKIPPED NO_ADDRESS"}
    assert engine.status(event) == "SKIPPED"


def test_what_was_planned_before_is_stopped_too(sandbox: Sandbox, settings: Settings, customer: Customer) -> None:
    """The claim looks again: retries, fallbacks, and what another process planned."""
    event = engine.trigger("ORDER_SHIPPED", customer().id, metadata=SHIPPED)
    started = engine.round_of()
    settings.STAGING_RECIPIENTS = ("none",)
    engine.send(started)
    engine.settle_round(started)
    assert engine.states(event) == ALL_SKIPPED
    assert sandbox.messages() == []


def test_no_fallback_gets_past_it(sandbox: Sandbox, settings: Settings, customer: Customer) -> None:
    settings.STAGING_RECIPIENTS = ("+4915112345678",)
    sandbox.fault("twilio", mode="status", status=400, code="21211")
    event = shipped(customer(device=""))
    assert engine.states(event)["SMS"] == "FAILED"
    assert engine.states(event)["EMAIL"] == "SKIPPED STAGING"
    assert sandbox.messages() == []


def test_no_forced_replay_gets_past_it(sandbox: Sandbox, settings: Settings, customer: Customer) -> None:
    sandbox.fault("sendgrid", mode="status", status=400)
    event = engine.trigger("ORDER_PLACED", customer(phone="", device="").id)
    engine.run()
    assert engine.states(event)["EMAIL"] == "FAILED"
    sandbox.heal()
    settings.STAGING_RECIPIENTS = ("none",)
    assert replay(Filter(), force=True, rate=1000).replayed == 1
    engine.run()
    assert engine.states(event)["EMAIL"].startswith("SKIPPED")
    assert sandbox.messages() == []


@pytest.mark.parametrize(("provider", "state"), [(RemoteProvider, "SKIPPED STAGING"), (RecordingProvider, "SENT")])
def test_a_channel_that_knows_ids_alone_may_not_leave_the_house(
    settings: Settings, tmp_path: Path, customer: Customer, provider: type[RecordingProvider], state: str
) -> None:
    toy.configure(settings, tmp_path, provider=provider)
    settings.STAGING_RECIPIENTS = ("ada@shop.example",)
    event = engine.trigger("ORDER_PACKED", customer().id)
    engine.run()
    assert engine.states(event) == {"TOY": state}
    assert [m.parts["text"] for m in recording("TOY").messages] == ["[STAGING] ORD1 packed"] * (state == "SENT")


def test_it_shows(settings: Settings, admin_client: Client) -> None:
    settings.WHITENOISE_AUTOREFRESH = True  # as development does without collectstatic
    assert checks.check_staging() == []
    assert b"Staging" not in admin_client.get("/admin/").content
    settings.STAGING_RECIPIENTS = ("none",)
    assert [problem.id for problem in checks.check_staging()] == ["notifier.W002"]
    assert b"Staging: nobody else is written to" in admin_client.get("/admin/").content
