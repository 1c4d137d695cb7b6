"""What stops a start, each as one readable line."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from pytest_django.fixtures import Settings

from notifier import checks
from notifier.catalogue import event_types

SHIPPED = event_types()["ORDER_SHIPPED"]
UNKNOWN_CHANNEL = (replace(SHIPPED, channels=("EMAIL", "FAX")),)
NO_TEMPLATE = (replace(SHIPPED, name="ORDER_LOST"),)
BAD_SAMPLE = (replace(SHIPPED, sample={"orderId": "1"}),)
BROKEN_SCHEMA = (replace(SHIPPED, schema={"type": "nonsense"}),)


def test_the_shipped_catalogue_is_sound() -> None:
    assert checks.check_catalogue() == checks.check_channels() == checks.check_time_chain() == []


@pytest.mark.parametrize(
    ("catalogue", "said"),
    [
        ("UNKNOWN_CHANNEL", "Event type ORDER_SHIPPED names the unknown channel FAX."),
        ("NO_TEMPLATE", "Event type ORDER_LOST has no template"),
        ("BAD_SAMPLE", 'its sample metadata does not meet its schema: "trackingUrl" is a required property'),
        ("BROKEN_SCHEMA", "Event type ORDER_SHIPPED has a broken metadata schema"),
    ],
)
def test_a_broken_catalogue_is_said(settings: Settings, catalogue: str, said: str) -> None:
    settings.EVENT_CATALOGUE = f"{__name__}.{catalogue}"
    problems = [problem.msg for problem in checks.check_catalogue()]
    assert any(said in problem for problem in problems)
    assert not any("\n" in problem for problem in problems)


def test_a_channel_that_is_off_is_a_warning(settings: Settings) -> None:
    settings.CHANNELS = {name: entry for name, entry in settings.CHANNELS.items() if name != "SMS"}
    (warning,) = checks.check_channels()
    assert "SMS" in warning.msg
    assert not warning.is_serious()


def test_a_channel_that_cannot_be_built_is_an_error(settings: Settings) -> None:
    settings.CHANNELS = {**settings.CHANNELS, "SMS": {"CHANNEL": "channels.sms.Nothing", "PROVIDERS": []}}
    assert [problem.id for problem in checks.check_channels()] == ["notifier.E004"]


def test_the_time_chain_must_rise(settings: Settings) -> None:
    settings.DELIVERY_LEASE = timedelta(seconds=50)
    (problem,) = checks.check_time_chain()
    assert "DELIVERY_LEASE" in problem.msg
    assert "TASK_SOFT_TIME_LIMIT" in problem.msg


@pytest.mark.parametrize(("days", "problems"), [(29, 1), (30, 0)])
def test_idempotency_keys_live_a_month_at_least(settings: Settings, days: int, problems: int) -> None:
    settings.RETENTION = timedelta(days=days)
    assert len(checks.check_retention()) == problems


def test_a_source_is_limited_to_types_that_there_are(settings: Settings) -> None:
    settings.SOURCES = {"celery": ("ORDER_PLACED",), "order-events": ("ORDER_SHIPPED", "ORDER_LOST")}
    (problem,) = checks.check_sources()
    assert problem.msg == "NOTIFIER_SOURCES: order-events names the unknown event type ORDER_LOST."


@pytest.mark.parametrize(("days", "problems"), [(0, 0), (29, 1), (30, 0)])
def test_the_history_is_kept_a_month_at_least(settings: Settings, days: int, problems: int) -> None:
    settings.HISTORY_RETENTION = timedelta(days=days)
    assert len(checks.check_retention()) == problems
