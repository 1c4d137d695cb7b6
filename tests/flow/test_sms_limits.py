"""Texts go to the countries that are named, and no more of them in a day than the budget allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import redis
from django.conf import settings as django_settings
from pytest_django.fixtures import Settings

from channels import registry
from channels.budget import Budget, Share
from channels.shared import shared_redis
from channels.testing import forget_gates
from notifier import checks
from notifier.models import Delivery
from notifier.timeline import timeline, whole_events
from preferences.models import User
from tests import engine
from tests.ports import free_port
from tests.sandbox_process import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)

Customer = Callable[..., User]
SHIPPED = {"orderId": "ORD1", "trackingUrl": "https://track.example/1"}


@pytest.fixture(autouse=True)
def _nothing_counted() -> Iterator[None]:
    forget_gates()
    yield
    forget_gates()


def budget(settings: Settings, amount: int) -> None:
    channels = deepcopy(settings.CHANNELS)
    channels["SMS"]["DAILY_BUDGET"] = amount
    settings.CHANNELS = channels


def shipped(users: Sequence[User]) -> list[UUID]:
    return [engine.trigger("ORDER_SHIPPED", user.id, metadata=SHIPPED) for user in users]


def texts(sandbox: Sandbox) -> int:
    return sum(message["provider"] == "twilio" for message in sandbox.messages())


@pytest.mark.parametrize(
    ("phone", "state"),
    [("+4915112345678", "SENT"), ("+436601234567", "SENT"), ("+12025550123", "SKIPPED COUNTRY")],
)
def test_a_number_elsewhere_gets_no_text(
    sandbox: Sandbox, settings: Settings, customer: Customer, phone: str, state: str
) -> None:
    settings.SMS_REGIONS = frozenset({"DE", "AT"})
    (event,) = shipped([customer(phone=phone)])
    engine.run()
    assert engine.states(event)["SMS"] == state
    assert engine.states(event)["EMAIL"] == "SENT"
    assert texts(sandbox) == (state == "SENT")


def test_past_the_budget_texts_wait_and_the_timeline_says_so(
    sandbox: Sandbox, settings: Settings, customer: Customer
) -> None:
    budget(settings, 3)
    users = [customer(email="", device=f"d{number}") for number in range(5)]
    shipped(users)
    engine.run()
    assert texts(sandbox) == 3
    waiting = Delivery.objects.filter(channel="SMS", status="QUEUED")
    assert {d.detail for d in waiting} == {"waits: daily SMS budget"}
    assert waiting.count() == 2
    event = whole_events().get(id=waiting[0].event_id)
    assert [d.detail[:23] for d in timeline(event) if d.decision == "WAITING"] == ["waits: daily SMS budget"]
    for due_at in waiting.values_list("due_at", flat=True):
        assert due_at - datetime.now(UTC) < timedelta(minutes=10)


def test_the_next_day_they_go(sandbox: Sandbox, settings: Settings, customer: Customer) -> None:
    budget(settings, 1)
    shipped([customer(email="", device=f"d{number}") for number in range(2)])
    engine.run()
    forget_gates()  # as midnight does: the count has the day in its name
    engine.pass_time(timedelta(minutes=10))
    engine.run()
    assert texts(sandbox) == 2


def test_past_the_budget_a_fallback_comes_when_it_is_due(
    sandbox: Sandbox, settings: Settings, customer: Customer
) -> None:
    budget(settings, 1)
    events = shipped([customer(phone="+4915112345678"), customer(device="d2", phone="+4915112345679")])
    engine.run()
    engine.pass_time(timedelta(minutes=10))
    engine.run()
    assert sorted(engine.states(event)["SMS"] for event in events) == ["FAILED", "SENT"]
    assert {engine.status(event) for event in events} == {"SENT"}


def test_a_tenth_is_kept_for_urgent_texts(sandbox: Sandbox, settings: Settings, customer: Customer) -> None:
    budget(settings, 10)
    users = [customer(email="", device=f"d{number}") for number in range(11)]
    shipped(users)
    engine.run()
    assert texts(sandbox) == 9
    engine.trigger("ORDER_CANCELLED", users[0].id)
    engine.run()
    assert texts(sandbox) == 10


@pytest.mark.parametrize(
    ("fault", "counted"),
    [({"mode": "status", "status": 400, "code": "21211"}, 0), ({"mode": "accept_then_drop"}, 2)],
)
def test_what_surely_did_not_go_out_costs_nothing(
    sandbox: Sandbox, settings: Settings, customer: Customer, fault: dict[str, Any], counted: int
) -> None:
    budget(settings, 10)
    sandbox.fault("twilio", **fault)
    shipped([customer(device=f"d{number}") for number in range(2)])
    started = engine.round_of()
    engine.send(started)
    assert Budget("SMS", 10).take(20, urgent=True).number == 10 - counted


def test_leave_that_is_not_used_comes_back(settings: Settings) -> None:
    budget(settings, 10)
    channel = registry.get("SMS")
    assert channel.permit(8).granted == 8
    assert channel.permit(8).granted == 8
    channel.give_back()
    assert channel.permit(20).granted == 10
    assert (channel.permit(20).granted, channel.permit(20).reason) == (10, "daily SMS budget")


def test_workers_share_it_and_a_higher_one_counts_on() -> None:
    assert Budget("SMS", 10).take(7, urgent=True).number == 7
    assert Budget("SMS", 10).take(7, urgent=True).number == 3
    assert Budget("SMS", 10).take(7, urgent=True).number == 0
    assert Budget("SMS", 12).take(7, urgent=True).number == 2
    assert Budget("FAX", 10).take(7, urgent=True).number == 7


def test_no_count_stays_for_ever() -> None:
    Budget("SMS", 10).take(7, urgent=True)
    client = redis.Redis.from_url(django_settings.REDIS_URL)
    assert [0 < client.ttl(key) <= 86_400 for key in client.keys("notifier:limit:budget*")] == [True]
    client.close()


def test_while_redis_is_away_all_may_go(settings: Settings) -> None:
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    shared_redis.forget()
    found = Budget("SMS", 10)
    assert found.take(50, urgent=False) == Share(50)
    found.give_back(Share(50), 50)
    found.give_back(Share(5, "2026-11-25"), 5)


def test_a_wait_ends_with_the_day_at_the_latest() -> None:
    assert 0 < Budget("SMS", 10).wait() <= 600


def test_texts_without_limits_are_worth_a_warning(settings: Settings) -> None:
    assert [problem.id for problem in checks.check_sms_limits()] == ["notifier.W003"] * 2
    budget(settings, 5)
    settings.SMS_REGIONS = frozenset({"DE"})
    assert checks.check_sms_limits() == []
    settings.CHANNELS = {name: entry for name, entry in settings.CHANNELS.items() if name != "SMS"}
    settings.SMS_REGIONS = frozenset()
    assert checks.check_sms_limits() == []
