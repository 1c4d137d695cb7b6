"""An event's way from record to settle, with a real database, real templates and real HTTP to the sandbox."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.conf import settings
from django.contrib.auth.models import Group
from django.db import connection
from pytest_django.fixtures import Settings

from channels.models import InboxMessage
from notifier import settle, sweep
from notifier.dispatch import Lane
from notifier.models import Attempt, DeadLetter, Delivery, NotificationEvent
from notifier.querysets.dead_letters import Filter
from notifier.replay import replay
from notifier.timeline import timeline, whole_events
from preferences.models import Preference, SuppressedAddress, User
from tests import engine
from tests.sandbox_process import Sandbox

pytestmark = pytest.mark.django_db

Customer = Callable[..., User]
TRACKED = {"metadata": {"orderId": "ORD1", "trackingUrl": "https://track.example/1"}}


def arrived(sandbox: Sandbox) -> list[str]:
    return sorted(message["channel"] for message in sandbox.messages())


def test_one_event_reaches_four_channels_once(sandbox: Sandbox, customer: Customer) -> None:
    ada = customer()
    event = engine.trigger("ORDER_SHIPPED", ada.id, **TRACKED)
    engine.run()
    assert engine.status(event) == "SENT"
    assert engine.states(event) == {"EMAIL": "SENT", "IN_APP": "SENT", "PUSH": "SENT", "SMS": "SENT"}
    assert arrived(sandbox) == ["EMAIL", "PUSH", "SMS"]
    inbox = InboxMessage.objects.get()
    assert (inbox.user_id, inbox.url) == (ada.id, "https://track.example/1")
    by_id = {str(d.id): d.channel for d in Delivery.objects.all()}
    assert {by_id[m["deliveryId"]] for m in sandbox.messages()} == {"EMAIL", "PUSH", "SMS"}
    assert all(d.provider and d.sent_at for d in Delivery.objects.all())


def test_a_second_run_sends_nothing_more(sandbox: Sandbox, customer: Customer) -> None:
    engine.trigger("ORDER_SHIPPED", customer().id, **TRACKED)
    started = engine.round_of()
    engine.send(started)
    engine.send(started)
    engine.settle_round(started)
    engine.settle_round(started)
    assert len(sandbox.messages()) == 3
    assert Attempt.objects.count() == 4


def test_choices_and_missing_addresses_skip_with_their_reason(sandbox: Sandbox, customer: Customer) -> None:
    user = customer(phone="", device="")
    Preference.objects.create(user=user, event_type="ORDER_SHIPPED", channel="EMAIL", enabled=False)
    event = engine.trigger("ORDER_SHIPPED", user.id, **TRACKED)
    engine.run()
    assert engine.states(event) == {
        "EMAIL": "SKIPPED OPTED_OUT",
        "IN_APP": "SENT",
        "PUSH": "SKIPPED NO_ADDRESS",
        "SMS": "SKIPPED NO_ADDRESS",
    }
    assert engine.status(event) == "SENT"


def test_a_mandatory_channel_ignores_the_switch(sandbox: Sandbox, customer: Customer) -> None:
    user = customer()
    Preference.objects.create(user=user, event_type="", channel="EMAIL", enabled=False)
    event = engine.trigger("ORDER_PLACED", user.id)
    engine.run()
    assert engine.states(event)["EMAIL"] == "SENT"


def test_an_opt_out_between_plan_and_send_is_obeyed(sandbox: Sandbox, customer: Customer) -> None:
    user = customer()
    event = engine.trigger("ORDER_SHIPPED", user.id, **TRACKED)
    started = engine.round_of()
    Preference.objects.create(user=user, event_type="", channel="SMS", enabled=False)
    engine.send(started)
    engine.settle_round(started)
    assert engine.states(event)["SMS"] == "SKIPPED OPTED_OUT"
    assert engine.status(event) == "SENT"


def test_a_german_customer_reads_german(sandbox: Sandbox, customer: Customer) -> None:
    engine.trigger("ORDER_SHIPPED", customer(locale="de").id, **TRACKED)
    engine.run()
    mail = next(m for m in sandbox.messages() if m["channel"] == "EMAIL")
    assert "Bestellung" in mail["text"]


def test_a_guest_by_phone_gets_the_receipt_as_sms(sandbox: Sandbox, db: None) -> None:
    event = engine.trigger("ORDER_PLACED", recipient={"phone": "+4915112345678"})
    engine.run()
    assert engine.states(event) == {
        "EMAIL": "SKIPPED NO_ADDRESS",
        "IN_APP": "SKIPPED NO_ADDRESS",
        "PUSH": "SKIPPED NO_ADDRESS",
        "SMS": "SENT",
    }
    assert Delivery.objects.get(channel="SMS").fallback_of == "EMAIL"
    assert engine.status(event) == "SENT"


def test_an_outage_is_retried_in_the_chord_before_it_is_due(sandbox: Sandbox, customer: Customer) -> None:
    event = engine.trigger("ORDER_SHIPPED", customer().id, **TRACKED)
    sandbox.fault("twilio", mode="status", status=503, times=2)
    started = engine.round_of()
    reports = engine.send(started, last_run=False)
    assert [report.unreachable for report in reports].count(True) == 1
    assert Delivery.objects.get(channel="SMS").status == "RETRYING"
    engine.send(started, again=True, last_run=False)
    engine.send(started, again=True, last_run=True)
    engine.settle_round(started)
    assert engine.status(event) == "SENT"
    outcomes = Attempt.objects.filter(delivery__channel="SMS").order_by("number").values_list("outcome", flat=True)
    assert list(outcomes) == ["UNAVAILABLE", "UNAVAILABLE", "ACCEPTED"]


def test_a_retry_waits_in_the_database_until_it_is_due(sandbox: Sandbox, customer: Customer) -> None:
    event = engine.trigger("ORDER_SHIPPED", customer().id, **TRACKED)
    sandbox.fault("twilio", mode="status", status=503)
    engine.run()
    assert engine.states(event)["SMS"] == "RETRYING"
    assert NotificationEvent.objects.get().due_at is not None
    sandbox.heal()
    engine.run()
    assert engine.states(event)["SMS"] == "RETRYING"
    engine.pass_time(timedelta(minutes=1))
    engine.run()
    assert engine.states(event)["SMS"] == "SENT"
    assert engine.status(event) == "SENT"


def test_an_urgent_sms_that_stays_down_is_content_with_its_mail(sandbox: Sandbox, customer: Customer) -> None:
    event = engine.trigger("ORDER_DELAYED", customer().id)
    sandbox.fault("twilio", mode="status", status=503)
    engine.run()
    engine.pass_time(timedelta(seconds=4))
    engine.run()
    assert engine.states(event) == {"EMAIL": "SENT", "IN_APP": "SENT", "PUSH": "SENT", "SMS": "FAILED"}
    assert engine.status(event) == "SENT"  # the mail is the SMS's fallback, and it arrived
    letter = DeadLetter.objects.get()
    assert (letter.channel, letter.cause, letter.status) == ("SMS", "ProviderUnavailable", "OPEN")


def test_a_failed_push_falls_back_to_sms_when_there_is_no_mail(sandbox: Sandbox, customer: Customer) -> None:
    event = engine.trigger("ORDER_PACKED", customer(email="", device="unregistered").id)
    engine.run()
    assert engine.states(event) == {"IN_APP": "SENT", "PUSH": "FAILED", "SMS": "SENT"}
    assert Delivery.objects.get(channel="SMS").fallback_of == "PUSH"
    assert engine.status(event) == "SENT"


def test_nobody_reached_is_told_to_operations_once(sandbox: Sandbox, db: None) -> None:
    operator = User.objects.create_user("operator", "x", email="ops@shop.example", is_staff=True)
    operator.groups.add(Group.objects.get_or_create(name="operations")[0])
    sandbox.fault("twilio", mode="status", status=503)
    events = [engine.trigger("ORDER_CANCELLED", recipient={"phone": f"+491511234567{n}"}) for n in range(2)]
    for event in events:
        engine.run_out(event)
    assert [engine.status(event) for event in events] == ["FAILED", "FAILED"]
    told = NotificationEvent.objects.get(event_type="DELIVERY_FAILED")
    assert (told.user_id, told.status, told.metadata["channel"]) == (operator.id, "SENT", "SMS")
    assert arrived(sandbox) == ["EMAIL"]


def test_an_address_that_the_provider_rejects_is_not_used_again(sandbox: Sandbox, customer: Customer) -> None:
    user = customer()
    sandbox.fault("twilio", mode="status", status=400, code="21211")
    event = engine.trigger("ORDER_SHIPPED", user.id, **TRACKED)
    engine.run()
    assert engine.states(event)["SMS"] == "FAILED"
    assert SuppressedAddress.objects.get().kind == "phone"
    sandbox.heal()
    second = engine.trigger("ORDER_DELIVERED", user.id)
    engine.run()
    assert engine.states(second)["SMS"] == "SKIPPED SUPPRESSED"


def test_a_later_stage_supersedes_what_was_not_sent_yet(sandbox: Sandbox, customer: Customer) -> None:
    user = customer()
    shipped = engine.trigger("ORDER_SHIPPED", user.id, **TRACKED)
    started = engine.round_of()
    delivered = engine.trigger("ORDER_DELIVERED", user.id)
    engine.send(started)
    engine.settle_round(started)
    assert engine.status(shipped) == "SKIPPED"
    assert set(engine.states(shipped).values()) == {"SKIPPED SUPERSEDED"}
    assert Delivery.objects.filter(event_id=shipped, detail__contains=str(delivered)).count() == 4


def test_what_is_past_its_time_to_live_expires(sandbox: Sandbox, customer: Customer) -> None:
    event = engine.trigger("ORDER_DELAYED", customer().id)
    engine.pass_time(timedelta(hours=13))
    engine.run()
    assert engine.status(event) == "SKIPPED"
    assert set(engine.states(event).values()) == {"SKIPPED EXPIRED"}
    assert sandbox.messages() == []


def test_a_dead_process_is_found_by_its_lease(sandbox: Sandbox, customer: Customer) -> None:
    event = engine.trigger("ORDER_PACKED", customer().id)
    started = engine.round_of()
    Delivery.objects.filter(channel="PUSH").update(status="SENDING", attempt=1)
    Delivery.objects.filter(channel="PUSH").update(lease_until=NotificationEvent.objects.get().lease_until)
    engine.send(started)
    engine.settle_round(started)
    assert engine.repair().freed == 0  # a live lease is left alone
    engine.pass_time(timedelta(minutes=2))
    assert engine.repair().freed == 1
    assert Attempt.objects.get(delivery__channel="PUSH").maybe_duplicate
    engine.run()
    assert engine.states(event) == {"IN_APP": "SENT", "PUSH": "SENT"}
    assert engine.status(event) == "SENT"


def test_a_lost_chord_is_found_by_the_event_lease(sandbox: Sandbox, customer: Customer) -> None:
    event = engine.trigger("ORDER_SHIPPED", customer().id, **TRACKED)
    engine.round_of()  # claimed, planned, and never published
    assert engine.repair().lost_rounds == []
    engine.pass_time(timedelta(minutes=2))
    assert engine.repair().lost_rounds == [(event, 1)]
    engine.run()
    assert engine.status(event) == "SENT"
    assert len(sandbox.messages()) == 3


def test_a_late_settle_of_an_old_round_leaves_the_new_one_alone(sandbox: Sandbox, customer: Customer) -> None:
    engine.trigger("ORDER_SHIPPED", customer().id, **TRACKED)
    old = engine.round_of()
    engine.pass_time(timedelta(minutes=2))
    engine.repair()
    new = engine.round_of()
    engine.settle_round(old)
    row = NotificationEvent.objects.get()
    assert (row.status, row.round, row.due_at) == ("DISPATCHED", 2, None)
    assert row.lease_until is not None
    engine.send(new)
    engine.settle_round(new)
    assert NotificationEvent.objects.get().status == "SENT"


def test_a_replayed_dead_letter_goes_out_once(sandbox: Sandbox, customer: Customer) -> None:
    event = engine.trigger("ORDER_DELAYED", customer(email="").id)
    sandbox.fault("twilio", mode="status", status=503)
    engine.run_out(event)
    assert engine.status(event) == "PARTIAL"
    sandbox.heal()
    letter = DeadLetter.objects.get()
    assert replay(Filter(ids=[letter.id])).replayed == 1
    assert replay(Filter(ids=[letter.id])).replayed == 0
    engine.run()
    assert engine.status(event) == "SENT"
    assert arrived(sandbox).count("SMS") == 1
    told = timeline(whole_events().get(pk=event))
    assert [d.decision for d in told if d.channel == "SMS"][-4:] == ["FAILED", "REPLAYED", "ATTEMPTED", "SENT"]


def test_urgent_goes_before_normal_before_bulk(sandbox: Sandbox, customer: Customer, settings: Settings) -> None:
    user = customer()
    bulk, normal = engine.trigger("ORDER_PACKED", user.id), engine.trigger("ORDER_PLACED", user.id)
    urgent = engine.trigger("ORDER_DELAYED", user.id)
    settings.DISPATCH_BATCH = 1
    first, second = engine.round_of(), engine.round_of()
    assert engine.round_of(Lane.URGENT).events == [(str(urgent), 1)]
    assert (first.events, second.events) == ([(str(normal), 1)], [(str(bulk), 1)])
    assert first.full


def test_a_round_from_before_the_databases_start_is_not_waited_for(sandbox: Sandbox, customer: Customer) -> None:
    event = engine.trigger("ORDER_SHIPPED", customer().id, **TRACKED)
    engine.round_of()
    assert engine.repair().lost_rounds == []
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE notifier_notificationevent SET lease_until = pg_postmaster_start_time() + %s * interval '1 second'",
            [settings.EVENT_LEASE.total_seconds() - 1],
        )
    assert engine.repair().lost_rounds == [(event, 1)]


def test_when_messages_were_lost_no_round_is_waited_for(sandbox: Sandbox, customer: Customer) -> None:
    event = engine.trigger("ORDER_SHIPPED", customer().id, **TRACKED)
    engine.round_of()
    settle.settle(sweep.sweep(messages_lost=True).lost_rounds)
    engine.run()
    assert engine.status(event) == "SENT"
    assert len(sandbox.messages()) == 3


def test_the_runs_of_a_chord_count_as_one_try(sandbox: Sandbox, customer: Customer) -> None:
    """Three tries within seconds must not cost the wait that follows three failures."""
    engine.trigger("ORDER_SHIPPED", customer().id, **TRACKED)
    sandbox.fault("twilio", mode="status", status=503)
    started = engine.round_of()
    for again, last_run in ((False, False), (True, False), (True, True)):
        engine.send(started, again=again, last_run=last_run)
    assert Attempt.objects.filter(delivery__channel="SMS").count() == 3
    assert Delivery.objects.get(channel="SMS").tries == 1
