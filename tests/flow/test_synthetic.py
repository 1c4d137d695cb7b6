"""The synthetic customer: what arrives in time is well, and all else is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import redis
from pytest_django.fixtures import Settings

from notifier import health, synthetic
from notifier.models import NotificationEvent, new_id
from notifier.quick_redis import quick_redis
from preferences.models import User
from tests import engine
from tests.sandbox_process import Sandbox
from tests.tallies import scrape

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("sandbox")]

Customer = Callable[..., User]
CUSTOMER_TYPES = 7


def _forget() -> None:
    quick_redis.client().delete(synthetic.RUN, synthetic.RESULTS)


@pytest.fixture(autouse=True)
def nobody_yet() -> Iterator[None]:
    _forget()
    yield
    _forget()


@pytest.fixture
def user(customer: Customer, settings: Settings) -> User:
    found = customer()
    settings.SYNTHETIC_USER = str(found.id)
    return found


def results() -> dict[str, synthetic.Result]:
    return dict(synthetic.results(quick_redis.client()))


def later(by: timedelta) -> None:
    """As if the run had begun so much earlier."""
    client: redis.Redis = quick_redis.client()
    began = float(client.get(synthetic.RUN) or 0)
    client.set(synthetic.RUN, began - by.total_seconds())
    for event in NotificationEvent.objects.filter(source=synthetic.SOURCE):
        _, _, name = str(event.idempotency_key).partition(":")
        event.idempotency_key = f"{began - by.total_seconds():.3f}:{name}"
        event.save(update_fields=["idempotency_key"])


def test_what_arrives_is_well_by_metric_and_health(user: User, client: Any, settings: Settings) -> None:
    settings.WHITENOISE_AUTOREFRESH = True  # no collectstatic in tests
    settings.DAILY_CAP = 1
    assert synthetic.look()
    assert NotificationEvent.objects.filter(source="synthetic", user=user).count() == CUSTOMER_TYPES
    engine.run()
    assert not synthetic.look()  # it is not time for the next
    found = results()
    assert len(found) == CUSTOMER_TYPES
    assert all(result.ok and result.seconds is not None for result in found.values())
    shown = scrape(client)
    assert set(shown["notifier_synthetic_ok"].values()) == {1}
    assert health.judge_synthetic(found).status == health.OK
    assert synthetic.look() is False
    later(settings.SYNTHETIC_EVERY)
    assert synthetic.look()
    assert NotificationEvent.objects.filter(source="synthetic").count() == 2 * CUSTOMER_TYPES


def test_what_does_not_arrive_is_told_once_its_time_is_over(user: User, sandbox: Sandbox, settings: Settings) -> None:
    sandbox.fault("sendgrid", mode="status", status=400)
    synthetic.look()
    engine.run()
    synthetic.look()
    assert results() == {}  # it may still come
    later(settings.SYNTHETIC_WITHIN)
    synthetic.look()
    found = results()
    assert found["ORDER_PACKED"].ok  # PUSH and IN_APP
    assert not found["ORDER_PLACED"].ok
    assert health.judge_synthetic(found).status == health.PROBLEM
    assert health.judge_synthetic({}).status == health.PROBLEM


def test_a_user_that_there_is_not_is_told(settings: Settings) -> None:
    settings.SYNTHETIC_USER = str(new_id())
    synthetic.look()
    later(settings.SYNTHETIC_WITHIN)
    synthetic.look()
    assert {result.reason for result in results().values()} == {"not recorded"}


def test_without_one_nothing_is_sent() -> None:
    assert not synthetic.look()
    assert not NotificationEvent.objects.exists()
