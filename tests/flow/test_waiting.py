"""A provider without room: deliveries wait without losing a try, fall back in time, and come back together."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from django.db import OperationalError, connection
from django.utils import timezone
from pytest_django.fixtures import Settings

from channels.base import Permit
from channels.errors import MessageRejected, ProviderUnavailable, RateLimited
from channels.testing import RecordingProvider, recording
from notifier import deliver
from notifier.models import Attempt, DeadLetter, Delivery, NotificationEvent
from preferences.models import User
from tests import engine, toy

pytestmark = pytest.mark.django_db

Customer = Callable[..., User]
OPEN = Permit(0, wait=7, reason="breaker open")


@pytest.fixture
def provider(settings: Settings, tmp_path: Path) -> RecordingProvider:
    toy.configure(settings, tmp_path, channel=toy.NarrowChannel, catalogue="WITH_INBOX")
    return recording("TOY")


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Callable[[Permit], None]:
    return lambda permit: monkeypatch.setattr(toy.NarrowChannel, "room", permit)


def test_what_waits_loses_no_try(
    provider: RecordingProvider, room: Callable[[Permit], None], customer: Customer
) -> None:
    room(OPEN)
    event = engine.trigger("ORDER_PACKED", customer().id)
    for _ in range(5):
        engine.run()
        engine.pass_time(timedelta(seconds=30))
    delivery = Delivery.objects.get()
    assert (delivery.status, delivery.tries, delivery.attempt) == ("QUEUED", 0, 0)
    assert delivery.detail == "waits: breaker open"
    assert Attempt.objects.count() == 0
    room(Permit(1))
    engine.run()
    assert (engine.status(event), len(provider.messages)) == ("SENT", 1)


def test_it_is_due_again_when_the_provider_says_so(
    provider: RecordingProvider, room: Callable[[Permit], None], customer: Customer
) -> None:
    room(OPEN)
    engine.trigger("ORDER_PACKED", customer().id)
    engine.run()
    event = NotificationEvent.objects.get()
    assert event.due_at
    assert 5 < (event.due_at - timezone.now()).total_seconds() <= 7


def test_only_as_many_go_as_there_is_room_for(
    provider: RecordingProvider, room: Callable[[Permit], None], customer: Customer
) -> None:
    room(Permit(2, wait=1, reason="rate limit"))
    for _ in range(5):
        engine.trigger("ORDER_PACKED", customer().id)
    engine.run()
    assert len(provider.messages) == 2
    engine.pass_time(timedelta(seconds=2))
    engine.run()
    assert len(provider.messages) == 4
    assert set(Delivery.objects.values_list("tries", flat=True)) == {0, 1}


def test_it_falls_back_when_it_has_waited_long_enough(
    provider: RecordingProvider, room: Callable[[Permit], None], customer: Customer
) -> None:
    room(OPEN)
    event = engine.trigger("ORDER_PACKED", customer().id)
    engine.run()
    engine.pass_time(timedelta(minutes=5))
    engine.run()
    assert engine.states(event) == {"TOY": "FAILED", "IN_APP": "SENT"}
    assert engine.status(event) == "SENT"
    letter = DeadLetter.objects.get()
    assert (letter.cause, letter.last_error) == ("ProviderUnavailable", "breaker open, and its fallback is due")
    assert Delivery.objects.get(channel="IN_APP").detail == f"stands in for TOY: {letter.last_error}"


def test_an_answer_is_awaited_no_longer_than_until_the_fallback_is_due(
    provider: RecordingProvider, customer: Customer
) -> None:
    engine.trigger("ORDER_PACKED", customer().id)
    started = engine.round_of()
    engine.pass_time(toy.RETRY.fallback_after - timedelta(seconds=19))
    engine.send(started)
    assert 15 < provider.messages[0].patience <= 20


@pytest.mark.parametrize(("urgent", "longest"), [(True, 2), (False, 300)])
def test_urgent_messages_that_go_together_wait_as_long_as_the_most_urgent(
    provider: RecordingProvider, customer: Customer, urgent: bool, longest: float
) -> None:
    """Their outcomes are written down together: a fresh one would hold up the fallback of one that is nearly due."""
    late = engine.trigger("ORDER_PACKED", customer().id)
    started = engine.round_of()
    engine.pass_time(toy.RETRY.fallback_after - timedelta(seconds=2))
    engine.trigger("ORDER_PACKED", customer().id)
    deliveries = [*started.deliveries["TOY"], *engine.round_of().deliveries["TOY"]]
    deliver.deliver("TOY", [UUID(i) for i in deliveries], urgent=urgent)
    assert Delivery.objects.get(channel="TOY", event_id=late).status == "SENT"
    first, second = sorted(message.patience for message in provider.messages)
    assert 1.5 <= first <= 2.1
    assert longest - 0.5 <= second <= longest + 0.1


def test_a_provider_on_trial_is_not_waited_for_when_the_fallback_is_due(
    provider: RecordingProvider, room: Callable[[Permit], None], customer: Customer
) -> None:
    event = engine.trigger("ORDER_PACKED", customer().id)
    started = engine.round_of()
    engine.pass_time(toy.RETRY.fallback_after)
    room(Permit(1, trial=True))
    engine.send(started)
    engine.settle_round(started)
    engine.run()
    assert provider.messages == []
    assert engine.states(event) == {"TOY": "FAILED", "IN_APP": "SENT"}
    assert DeadLetter.objects.get().last_error.endswith("only on trial, and its fallback is due")


def test_without_a_stand_in_an_answer_is_awaited_as_long_as_the_provider_says(
    settings: Settings, tmp_path: Path, customer: Customer
) -> None:
    toy.configure(settings, tmp_path, channel=toy.NarrowChannel)
    engine.trigger("ORDER_PACKED", customer().id)
    engine.run()
    assert recording("TOY").messages[0].patience == math.inf


def test_without_a_stand_in_it_waits_until_its_time_to_live_ends(
    settings: Settings, provider: RecordingProvider, room: Callable[[Permit], None], customer: Customer
) -> None:
    settings.EVENT_CATALOGUE = "tests.toy.CATALOGUE"
    room(OPEN)
    event = engine.trigger("ORDER_PACKED", customer().id)
    engine.run()
    engine.pass_time(timedelta(hours=5))
    engine.run()
    assert engine.states(event) == {"TOY": "QUEUED"}
    engine.pass_time(timedelta(hours=2))
    engine.run()
    assert engine.states(event) == {"TOY": "SKIPPED EXPIRED"}


def test_a_failed_trial_costs_no_try(
    provider: RecordingProvider, room: Callable[[Permit], None], customer: Customer
) -> None:
    room(Permit(1, trial=True))
    provider.answers = [ProviderUnavailable() for _ in range(4)]
    engine.trigger("ORDER_PACKED", customer().id)
    for _ in range(4):
        engine.run()
        engine.pass_time(timedelta(seconds=61))
    assert (Delivery.objects.get().tries, Attempt.objects.count()) == (0, 4)


def test_a_recovered_provider_gets_its_messages_back_soon(
    provider: RecordingProvider, monkeypatch: pytest.MonkeyPatch, settings: Settings, customer: Customer
) -> None:
    provider.answers = [RateLimited(retry_after=200), RateLimited(retry_after=200)]
    for _ in range(2):
        engine.trigger("ORDER_PACKED", customer().id)
    engine.run()
    monkeypatch.setattr(toy.NarrowChannel, "has_recovered", True)
    engine.trigger("ORDER_PACKED", customer().id)
    engine.run()
    waiting = NotificationEvent.objects.filter(status="DISPATCHED")
    soon = timezone.now() + settings.WAKE_SPREAD
    assert [event.due_at <= soon for event in waiting if event.due_at] == [True, True]
    engine.pass_time(settings.WAKE_SPREAD)
    engine.run()
    assert set(Delivery.objects.values_list("status", flat=True)) == {"SENT"}


def test_a_channel_that_was_switched_off_carries_nothing(
    provider: RecordingProvider, settings: Settings, customer: Customer
) -> None:
    event = engine.trigger("ORDER_PACKED", customer().id)
    engine.round_of()
    settings.CHANNELS = {"IN_APP": settings.CHANNELS["IN_APP"]}
    engine.pass_time(timedelta(minutes=2))
    engine.repair()
    engine.run()
    assert engine.states(event) == {"TOY": "SKIPPED CHANNEL_DISABLED"}
    assert engine.status(event) == "SKIPPED"


def test_leave_is_given_back_whatever_stood_in_the_way(
    provider: RecordingProvider, monkeypatch: pytest.MonkeyPatch, customer: Customer
) -> None:
    given_back: list[str] = []
    monkeypatch.setattr(toy.NarrowChannel, "give_back", lambda channel: given_back.append(channel.name))
    engine.trigger("ORDER_PACKED", customer().id)
    started = engine.round_of()

    def fail(*_: object) -> None:
        raise OperationalError("the connection is lost")

    with connection.execute_wrapper(fail), pytest.raises(OperationalError):
        engine.send(started)
    assert given_back == ["TOY"]


def test_a_retry_asks_leave_only_for_what_is_left(
    provider: RecordingProvider, monkeypatch: pytest.MonkeyPatch, customer: Customer
) -> None:
    wanted: list[int] = []

    def permit(_: object, number: int, *, urgent: bool) -> Permit:
        wanted.append(number)
        assert not urgent
        return Permit(number)

    monkeypatch.setattr(toy.NarrowChannel, "permit", permit)
    for _ in range(3):
        engine.trigger("ORDER_PACKED", customer().id)
    started = engine.round_of()
    provider.answers = [ProviderUnavailable("away")]
    engine.send(started)
    engine.send(started, again=True)
    assert wanted == [3, 1]


def test_tries_run_out_per_channel_and_type(
    provider: RecordingProvider, settings: Settings, customer: Customer
) -> None:
    settings.EVENT_CATALOGUE = "tests.toy.CATALOGUE"
    provider.answers = [ProviderUnavailable("no connection") for _ in range(3)]
    event = engine.trigger("ORDER_PACKED", customer().id)
    for _ in range(3):
        engine.run()
        engine.pass_time(timedelta(seconds=61))
    engine.run()
    assert (engine.status(event), len(provider.messages)) == ("FAILED", toy.RETRY.max_tries)


def test_a_providers_words_cannot_break_its_slice(provider: RecordingProvider, customer: Customer) -> None:
    provider.answers = [MessageRejected("nul \x00 byte, half a pair \ud800", code="x" * 500)]
    events = [engine.trigger("ORDER_PACKED", customer().id) for _ in range(2)]
    engine.run()
    assert sorted(engine.states(event)["TOY"] for event in events) == ["FAILED", "SENT"]
