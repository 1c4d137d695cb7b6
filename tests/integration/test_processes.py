"""The same story by real processes: a Celery worker, Beat, Redis, Postgres and the sandbox."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from celery import chord, current_app
from django.conf import settings

from notifier import liveness, tally, tasks
from notifier.models import Attempt, DeadLetter, Delivery, NotificationEvent
from preferences.models import User
from tests import engine, processes
from tests.sandbox_process import Sandbox
from tests.tallies import tally_of_nothing

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]

Customer = Callable[..., User]
SHIPPED = {"orderId": "ORD1", "trackingUrl": "https://track.example/1"}


def settled(*events: uuid.UUID) -> Callable[[], bool]:
    return lambda: not NotificationEvent.objects.filter(id__in=events, settled_at=None).exists()


def test_a_celery_caller_reaches_four_channels(workers: dict[str, Path], sandbox: Sandbox, customer: Customer) -> None:
    tally_of_nothing()
    ada = customer()
    arguments = {"event_type": "ORDER_SHIPPED", "user_id": str(ada.id), "metadata": SHIPPED, "idempotency_key": "k1"}
    for _ in range(2):
        current_app.send_task("notifier.trigger", kwargs=arguments, queue="events")
    processes.wait_for(lambda: NotificationEvent.objects.exclude(settled_at=None).count(), "one event settled")
    event = NotificationEvent.objects.get()
    assert (event.status, event.source) == ("SENT", settings.CELERY_SOURCE)
    assert sorted(m["channel"] for m in sandbox.messages()) == ["EMAIL", "PUSH", "SMS"]
    assert event.settled_at
    assert (event.settled_at - event.recorded_at).total_seconds() < 10
    once = {
        ("notifier_events_recorded_total", "ORDER_SHIPPED"),
        ("notifier_events_settled_total", "ORDER_SHIPPED", "SENT"),
        *(("notifier_deliveries_total", channel, "SENT") for channel in ("EMAIL", "SMS", "PUSH", "IN_APP")),
    }
    processes.wait_for(lambda: once <= tallied().keys(), "the counts of every process")
    assert {tallied()[key] for key in once} == {1}


def tallied() -> dict[tuple[str, ...], int]:
    with liveness.client_with(1) as client:
        return tally.totals(client)


def test_an_invalid_celery_call_is_kept(workers: dict[str, Path], db: None) -> None:
    current_app.send_task("notifier.trigger", kwargs={"event_type": "NO_SUCH"}, queue="events", task_id="t1")
    processes.wait_for(DeadLetter.objects.exists, "a dead letter")
    letter = DeadLetter.objects.get()
    assert (letter.cause, letter.status) == ("INVALID_TRIGGER", "OPEN")
    assert b"NO_SUCH" in bytes(letter.payload or b"")


def test_autoretry_in_the_chord_recovers(workers: dict[str, Path], sandbox: Sandbox, customer: Customer) -> None:
    sandbox.fault("twilio", mode="status", status=503, times=2)
    event = engine.trigger("ORDER_SHIPPED", customer().id, metadata=SHIPPED)
    tasks.ring()
    processes.wait_for(settled(event), "event settled")
    assert engine.status(event) == "SENT"
    row = NotificationEvent.objects.get()
    assert row.round == 1  # recovered inside its chord
    outcomes = Attempt.objects.filter(delivery__channel="SMS").order_by("number").values_list("outcome", flat=True)
    assert list(outcomes) == ["UNAVAILABLE", "UNAVAILABLE", "ACCEPTED"]


def test_beat_finds_what_no_doorbell_rang_for(workers: dict[str, Path], sandbox: Sandbox, customer: Customer) -> None:
    user = customer()
    events = [engine.trigger("ORDER_PLACED", user.id, metadata={"orderId": f"ORD{n}"}) for n in range(30)]
    processes.wait_for(settled(*events), "all settled by the due scan")
    assert set(NotificationEvent.objects.values_list("status", flat=True)) == {"SENT"}
    ids = [m["deliveryId"] for m in sandbox.messages()]
    assert len(ids) == len(set(ids)) == 60  # mail and push; the inbox is a table
    assert Delivery.objects.filter(status="SENT").count() == 90


def test_an_urgent_message_falls_back_within_seconds(
    workers: dict[str, Path], sandbox: Sandbox, customer: Customer
) -> None:
    sandbox.fault("sendgrid", mode="status", status=503)
    alone = engine.trigger("ORDER_CANCELLED", recipient={"email": "ada@shop.example"})
    reachable = engine.trigger("ORDER_DELAYED", customer(device="").id)
    tasks.ring()
    processes.wait_for(settled(reachable), "settled")
    assert engine.states(alone) == {"EMAIL": "RETRYING"} | dict.fromkeys(
        ("SMS", "PUSH", "IN_APP"), "SKIPPED NO_ADDRESS"
    )
    assert engine.states(reachable)["EMAIL"] == "FAILED"
    assert engine.states(reachable)["SMS"] == "SENT"
    assert engine.status(reachable) == "SENT"


def test_an_error_in_a_header_still_settles(workers: dict[str, Path], sandbox: Sandbox, customer: Customer) -> None:
    """A channel that breaks with a bug: the errback settles, and the event goes on by itself."""
    event = engine.trigger("ORDER_PACKED", customer().id)
    started = engine.round_of()
    broken = {**started.deliveries, "NO_SUCH_CHANNEL": [str(uuid.uuid4())]}
    header = [tasks.deliver.si(channel, ids).set(queue="email") for channel, ids in broken.items()]
    chord(header, tasks.settle.si(started.events).on_error(tasks.settle.si(started.events))).apply_async()
    processes.wait_for(settled(event), "event settled")
    assert engine.status(event) == "SENT"
