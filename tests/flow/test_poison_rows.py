"""Rows that break whatever touches them: bounded, alone, and nobody else's trouble."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from channels.testing import RecordingProvider, recording
from notifier.dispatch import MAX_PLAN_FAILURES
from notifier.models import Attempt, DeadLetter, Delivery, NotificationEvent
from preferences.models import User
from tests import engine, toy

pytestmark = pytest.mark.django_db

Customer = Callable[..., User]


@pytest.fixture
def provider(settings: Settings, tmp_path: Path) -> RecordingProvider:
    toy.configure(settings, tmp_path)
    return recording("TOY")


def test_an_event_whose_type_is_unknown_stops_no_other(provider: RecordingProvider, customer: Customer) -> None:
    user = customer()
    good, poison = engine.trigger("ORDER_PACKED", user.id), engine.trigger("ORDER_PACKED", user.id)
    NotificationEvent.objects.filter(pk=poison).update(event_type="OF_A_NEWER_VERSION")
    engine.run()
    assert (engine.status(good), engine.status(poison)) == ("SENT", "DISPATCHED")
    assert Delivery.objects.filter(event_id=poison).count() == 0


def test_it_is_planned_by_a_worker_that_knows_the_type(provider: RecordingProvider, customer: Customer) -> None:
    event = engine.trigger("ORDER_PACKED", customer().id)
    NotificationEvent.objects.update(event_type="OF_A_NEWER_VERSION")
    engine.run()
    NotificationEvent.objects.update(event_type="ORDER_PACKED")
    engine.pass_time(timedelta(minutes=1))
    engine.run()
    assert engine.status(event) == "SENT"


def test_after_enough_tries_it_is_a_dead_letter(provider: RecordingProvider, customer: Customer) -> None:
    event = engine.trigger("ORDER_PACKED", customer().id)
    NotificationEvent.objects.update(event_type="GONE")
    engine.run_out(event)
    row = NotificationEvent.objects.get()
    assert (row.status, row.plan_failures) == ("FAILED", MAX_PLAN_FAILURES - 1)
    letter = DeadLetter.objects.get()
    assert (letter.cause, letter.event_type, letter.source) == ("PLANNING", "GONE", "shop")
    assert b"ORD1" in bytes(letter.payload or b"")


def test_a_type_that_leaves_while_its_messages_are_under_way(provider: RecordingProvider, customer: Customer) -> None:
    user = customer()
    good, poison = engine.trigger("ORDER_PACKED", user.id), engine.trigger("ORDER_PACKED", user.id)
    started = engine.round_of()
    NotificationEvent.objects.filter(pk=poison).update(event_type="GONE")
    engine.send(started)
    engine.settle_round(started)
    assert (engine.status(good), engine.states(poison)) == ("SENT", {"TOY": "RETRYING"})
    engine.run_out(poison)
    assert engine.status(poison) == "FAILED"
    assert DeadLetter.objects.get().cause == "ProviderUnavailable"


def test_a_message_that_cannot_be_rendered_is_alone(provider: RecordingProvider, customer: Customer) -> None:
    user = customer()
    good, poison = engine.trigger("ORDER_PACKED", user.id), engine.trigger("ORDER_PACKED", user.id)
    NotificationEvent.objects.filter(pk=poison).update(metadata=["not", "an", "object"])
    engine.run()
    assert (engine.status(good), engine.status(poison)) == ("SENT", "FAILED")
    assert Attempt.objects.get(delivery__event_id=poison).code == "RENDER"


def test_crashes_are_bounded(provider: RecordingProvider, settings: Settings, customer: Customer) -> None:
    event = engine.trigger("ORDER_PACKED", customer().id)
    for crash in range(1, settings.MAX_CRASHES + 1):
        engine.round_of()
        engine.die_while_sending()
        engine.repair()
        assert Delivery.objects.get().crashes == crash
    engine.run()
    assert (engine.status(event), provider.messages) == ("FAILED", [])
    assert DeadLetter.objects.get().cause == "CRASHED"
    assert set(Attempt.objects.values_list("outcome", "maybe_duplicate")) == {("UNKNOWN", True)}


def test_hundreds_of_crashed_rows_starve_no_healthy_one(provider: RecordingProvider, customer: Customer) -> None:
    """More than a sweep takes in: the sweeper goes on, and what is healthy goes first."""
    user = customer()
    for _ in range(600):
        engine.trigger("ORDER_PACKED", user.id)
    while engine.round_of().events:
        pass
    engine.die_while_sending()
    healthy = engine.trigger("ORDER_PACKED", user.id)
    while engine.repair().more:
        pass
    assert Delivery.objects.filter(status="SENDING").count() == 0
    engine.run(rounds=20)
    assert engine.status(healthy) == "SENT"
    assert set(NotificationEvent.objects.values_list("status", flat=True)) == {"SENT"}


def test_an_event_that_cannot_be_settled_is_put_off(
    provider: RecordingProvider,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    customer: Customer,
) -> None:
    user = customer()
    good, poison = engine.trigger("ORDER_PACKED", user.id), engine.trigger("ORDER_PACKED", user.id)
    started = engine.round_of()
    engine.send(started)
    Delivery.objects.filter(event_id=poison).update(status="NO_STATE")
    with caplog.at_level(logging.ERROR):
        engine.settle_round(started)
    assert (engine.status(good), engine.status(poison)) == ("SENT", "DISPATCHED")
    assert str(poison) in caplog.text
    engine.pass_time(timedelta(minutes=2))
    assert engine.repair().lost_rounds == []  # it does not come first every time
