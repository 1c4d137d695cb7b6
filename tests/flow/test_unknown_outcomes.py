"""A message that may have gone out is never sent again before its provider was asked."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from channels.base import Receipt
from channels.errors import OutcomeUnknown, ProviderUnavailable
from channels.testing import recording
from notifier.models import Attempt, DeadLetter, Delivery
from preferences.models import User
from tests import engine, toy
from tests.sandbox_process import Sandbox

pytestmark = pytest.mark.django_db

Customer = Callable[..., User]


@pytest.fixture
def provider(settings: Settings, tmp_path: Path) -> toy.AskableProvider:
    toy.configure(settings, tmp_path, channel=toy.NarrowChannel, provider=toy.AskableProvider)
    found = recording("TOY")
    assert isinstance(found, toy.AskableProvider)
    return found


def later(by: timedelta = timedelta(minutes=2)) -> None:
    engine.pass_time(by)
    engine.run()


def test_what_was_taken_is_not_sent_again(provider: toy.AskableProvider, customer: Customer) -> None:
    provider.answers = [OutcomeUnknown("no answer")]
    event = engine.trigger("ORDER_PACKED", customer().id)
    engine.run()
    attempt = Attempt.objects.get()
    assert (attempt.outcome, attempt.maybe_duplicate, engine.states(event)) == ("UNKNOWN", True, {"TOY": "RETRYING"})
    provider.findings = [[Receipt("recording", "found-1")]]
    later()
    assert (len(provider.messages), engine.status(event)) == (1, "SENT")
    assert provider.inquiries[0].message.parts["text"] == "ORD1 packed"
    attempt.refresh_from_db()
    assert (attempt.outcome, attempt.provider_message_id, attempt.maybe_duplicate) == ("ACCEPTED", "found-1", True)
    delivery = Delivery.objects.get()
    assert (delivery.provider_message_id, delivery.unknown_since) == ("found-1", None)


def test_what_was_surely_not_taken_goes_out(provider: toy.AskableProvider, customer: Customer) -> None:
    provider.answers = [OutcomeUnknown("no answer")]
    event = engine.trigger("ORDER_PACKED", customer().id)
    engine.run()
    later()
    assert (len(provider.messages), len(provider.inquiries), engine.status(event)) == (2, 1, "SENT")
    assert list(Attempt.objects.order_by("number").values_list("outcome", flat=True)) == ["UNKNOWN", "ACCEPTED"]


def test_no_answer_is_asked_again_and_costs_no_try(provider: toy.AskableProvider, customer: Customer) -> None:
    provider.answers = [OutcomeUnknown("no answer")]
    event = engine.trigger("ORDER_PACKED", customer().id)
    engine.run()
    provider.findings = [ProviderUnavailable("away", retry_after=40) for _ in range(5)]
    for _ in range(5):
        later()
        assert engine.states(event) == {"TOY": "RETRYING"}
    delivery = Delivery.objects.get()
    assert (delivery.tries, len(provider.messages), Attempt.objects.count()) == (1, 1, 1)
    assert delivery.unknown_since is not None
    later()
    assert engine.status(event) == "SENT"


def test_one_that_cannot_be_asked_about_follows_the_policy(provider: toy.AskableProvider, customer: Customer) -> None:
    provider.answers = [OutcomeUnknown("no answer")]
    event = engine.trigger("ORDER_PACKED", customer().id)
    engine.run()
    provider.findings = [None]
    later()
    assert (len(provider.messages), engine.status(event)) == (1, "FAILED")
    assert DeadLetter.objects.get().cause == "OutcomeUnknown"
    assert Attempt.objects.get().maybe_duplicate


def test_the_last_try_is_asked_about_and_not_repeated(provider: toy.AskableProvider, customer: Customer) -> None:
    provider.answers = [ProviderUnavailable(), ProviderUnavailable(), OutcomeUnknown("no answer")]
    event = engine.trigger("ORDER_PACKED", customer().id)
    engine.run()
    for _ in range(3):
        later()
    assert (len(provider.messages), len(provider.inquiries), engine.status(event)) == (3, 1, "FAILED")


def test_another_deliverys_message_is_not_taken_for_this_one(provider: toy.AskableProvider, customer: Customer) -> None:
    """The same text was rightly sent twice: each message stands for one delivery."""
    user = customer()
    first = engine.trigger("ORDER_PACKED", user.id)
    engine.run()
    known = Delivery.objects.get(event_id=first).provider_message_id
    provider.answers = [OutcomeUnknown("no answer")]
    second = engine.trigger("ORDER_PACKED", user.id)
    engine.run()
    provider.findings = [[Receipt("recording", known)]]
    later()
    assert (len(provider.messages), engine.status(second)) == (3, "SENT")


def test_a_dead_process_is_asked_about_too(provider: toy.AskableProvider, customer: Customer) -> None:
    event = engine.trigger("ORDER_PACKED", customer().id)
    engine.round_of()
    engine.die_while_sending()
    provider.findings = [[Receipt("recording", "found-1")]]
    engine.repair()
    engine.run()
    assert (len(provider.messages), engine.status(event)) == (0, "SENT")
    attempt = Attempt.objects.get()
    assert (attempt.number, attempt.outcome, attempt.provider_message_id) == (1, "ACCEPTED", "found-1")


def test_mail_cannot_be_asked_about_and_is_sent_again(sandbox: Sandbox, customer: Customer) -> None:
    event = engine.trigger("ORDER_PLACED", customer().id)
    sandbox.fault("sendgrid", mode="accept_then_drop", times=1)
    engine.run()
    assert engine.states(event)["EMAIL"] == "RETRYING"
    later()
    assert engine.status(event) == "SENT"
    assert [m["channel"] for m in sandbox.messages()].count("EMAIL") == 2
    marks = (
        Attempt.objects.filter(delivery__channel="EMAIL").order_by("number").values_list("maybe_duplicate", flat=True)
    )
    assert list(marks) == [True, False]
