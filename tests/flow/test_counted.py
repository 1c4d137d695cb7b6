"""What happens on the path is what GET /metrics tells."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from pytest_django import DjangoCaptureOnCommitCallbacks
from pytest_django.fixtures import Settings

from channels.errors import MessageRejected, ProviderUnavailable
from channels.testing import forget_gates, recording
from notifier import counts, erasure, tally
from notifier.models import Delivery, NotificationEvent
from notifier.querysets.events import Person
from notifier.refusal import Refusal, bury
from notifier.trigger import InvalidTrigger
from preferences.models import Preference, User
from tests import engine
from tests.tallies import scrape, tally_of_nothing

pytestmark = pytest.mark.django_db

RECORDING = {"PROVIDER": "channels.testing.RecordingProvider"}
SHIPPED = {"orderId": "ORD7", "trackingUrl": "https://track.example/7"}


@pytest.fixture(autouse=True)
def counting(settings: Settings, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks) -> Iterator[None]:
    """Every transaction's end counts, though the test's own never comes."""
    settings.WHITENOISE_AUTOREFRESH = True  # no collectstatic in tests
    settings.CHANNELS = {
        "EMAIL": {"CHANNEL": "channels.email.EmailChannel", "PROVIDERS": [RECORDING]},
        "SMS": {"CHANNEL": "channels.sms.SmsChannel", "PROVIDERS": [RECORDING]},
        "IN_APP": {
            "CHANNEL": "channels.in_app.InAppChannel",
            "PROVIDERS": [{"PROVIDER": "channels.in_app.InboxProvider"}],
        },
    }
    forget_gates()
    tally_of_nothing()
    yield
    tally.forget()


@pytest.fixture
def told(client: Client, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks) -> Callable[..., Any]:
    """Does something, and gives what is not nought after it, by metric without "notifier_", and by its labels."""

    def ask(act: Callable[[], Any]) -> dict[str, dict[tuple[str, ...], float]]:
        with django_capture_on_commit_callbacks(execute=True):
            act()
        tally.flush()
        found = {name.removeprefix("notifier_"): values for name, values in scrape(client).items()}
        return {name: {k: v for k, v in values.items() if v} for name, values in found.items()}

    return ask


def test_events_that_arrive_fall_back_and_wait(told: Callable[..., Any], customer: Callable[..., User]) -> None:
    ada = customer()
    recording("EMAIL").answers = [MessageRejected(provider="recording")]

    def act() -> None:
        engine.trigger("ORDER_PLACED", ada.id)
        engine.run()
        recording("EMAIL").answers = [ProviderUnavailable("away", provider="recording")]
        engine.trigger("ORDER_SHIPPED", ada.id, metadata=SHIPPED)
        engine.run()

    found = told(act)
    assert found["events_recorded_total"] == {("ORDER_PLACED",): 1, ("ORDER_SHIPPED",): 1}
    assert found["events_settled_total"] == {("ORDER_PLACED", "SENT"): 1}
    assert found["deliveries_total"] == {
        ("EMAIL", "FAILED"): 1,
        ("SMS", "SENT"): 2,
        ("IN_APP", "SENT"): 2,
        ("PUSH", "SKIPPED"): 2,
    }
    assert found["skips_total"] == {("PUSH", "CHANNEL_DISABLED"): 2}
    assert found["attempts_total"] == {
        ("EMAIL", "recording", "REJECTED"): 1,
        ("EMAIL", "recording", "UNAVAILABLE"): 1,
        ("SMS", "recording", "ACCEPTED"): 2,
        ("IN_APP", "inbox", "ACCEPTED"): 2,
    }
    assert found["retries_total"] == {("EMAIL",): 1}
    assert found["fallbacks_total"] == {("SMS", "EMAIL"): 1}
    assert found["dead_letters_total"] == found["dead_letters_open"] == {("MessageRejected",): 1}
    assert found["time_to_provider_seconds_count"] == {
        ("SMS", "recording", "normal"): 2,
        ("IN_APP", "inbox", "normal"): 2,
    }
    assert found["settle_lag_seconds_count"] == {(): 1}


def test_how_long_it_took_counts_from_the_record(told: Callable[..., Any], customer: Callable[..., User]) -> None:
    ada = customer(phone="")

    def act() -> None:
        engine.trigger("ORDER_CANCELLED", ada.id)
        engine.pass_time(timedelta(seconds=7))
        engine.run()

    found = told(act)
    labels = ("EMAIL", "recording", "urgent")
    buckets = {bound: n for (*of, bound), n in found["time_to_provider_seconds_bucket"].items() if tuple(of) == labels}
    assert buckets == dict.fromkeys(("10", "30", "60", "300", "900", "3600", "+Inf"), 1)
    assert 7 <= found["time_to_provider_seconds_sum"][labels] < 10


def test_what_is_skipped_is_told_by_its_reason(told: Callable[..., Any], customer: Callable[..., User]) -> None:
    ada = customer(phone="")
    Preference.objects.create(user=ada, channel="EMAIL", enabled=False)

    def act() -> None:
        engine.trigger("ORDER_CONFIRMED", ada.id)  # EMAIL PUSH IN_APP
        started = engine.round_of()
        NotificationEvent.objects.update(expires_at=NotificationEvent.objects.get().recorded_at - timedelta(days=1))
        engine.send(started)
        engine.settle_round(started)

    found = told(act)
    assert found["skips_total"] == {
        ("EMAIL", "OPTED_OUT"): 1,
        ("PUSH", "CHANNEL_DISABLED"): 1,
        ("IN_APP", "EXPIRED"): 1,
    }
    assert found["events_settled_total"] == {("ORDER_CONFIRMED", "SKIPPED"): 1}
    assert sum(found["deliveries_total"].values()) == 3


def test_a_process_that_died_and_a_person_who_was_forgotten(
    told: Callable[..., Any], customer: Callable[..., User]
) -> None:
    ada = customer(phone="")

    def act() -> None:
        engine.trigger("ORDER_CONFIRMED", ada.id)
        engine.round_of()
        Delivery.objects.filter(channel="IN_APP").update(crashes=2)
        engine.die_while_sending()
        engine.repair()
        erasure.erase(Person(ada.id))

    found = told(act)
    assert found["attempts_total"] == {("EMAIL", "none", "UNKNOWN"): 1, ("IN_APP", "none", "UNKNOWN"): 1}
    assert found["retries_total"] == {("EMAIL",): 1}
    assert found["dead_letters_total"] == {("CRASHED",): 1}
    assert found["skips_total"]["EMAIL", "ERASED"] == 1


def test_what_nobody_foresaw_is_other(told: Callable[..., Any]) -> None:
    def act() -> None:
        counts.recorded(["ORDER_EATEN"])
        bury("celery", [Refusal(b"{}", "", InvalidTrigger("no")), Refusal(b"{}", "", Strange("no"))])

    found = told(act)
    assert found["events_recorded_total"] == {("OTHER",): 1}
    assert found["dead_letters_total"] == {("INVALID_TRIGGER",): 1, ("OTHER",): 1}


class Strange(InvalidTrigger):
    code = "STRANGE"
