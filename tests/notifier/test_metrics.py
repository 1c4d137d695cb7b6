"""GET /metrics: Prometheus's text, whatever is away."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families
from pytest_django.fixtures import Settings

from channels import registry
from channels.base import Permit
from channels.errors import OutcomeUnknown
from channels.testing import forget_gates
from notifier.models import NotificationEvent
from preferences.models import User
from tests import engine
from tests.ports import free_port

pytestmark = pytest.mark.django_db
REMOTE = {"PROVIDER": "channels.testing.RemoteProvider"}
STATE, CHANGES, LAG = "notifier_breaker_state", "notifier_breaker_changes_total", "notifier_lag_seconds"


@pytest.fixture(autouse=True)
def one_open_provider(settings: Settings) -> Iterator[None]:
    settings.WHITENOISE_AUTOREFRESH = True  # no collectstatic in tests
    settings.CHANNELS = {"TOY": {"CHANNEL": "channels.testing.ToyChannel", "PROVIDERS": [REMOTE, REMOTE]}}
    forget_gates()
    registry.gates()[0].record([OutcomeUnknown() for _ in range(6)], Permit(6))
    yield
    forget_gates()


def scrape(client: Client) -> dict[str, dict[tuple[str, ...], float]]:
    """Values by metric, and by the labels' values."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(answer.content.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def test_breakers(client: Client) -> None:
    found = scrape(client)
    assert found[STATE] == {("TOY", "remote"): 2, ("TOY", "remote-2"): 0}
    assert len(found[CHANGES]) == 6  # all from the start, so that increase() sees the first
    assert {labels: n for labels, n in found[CHANGES].items() if n} == {("TOY", "remote", "OPEN"): 1}


def test_redis_away_leaves_the_states_out(client: Client, settings: Settings) -> None:
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    assert list(scrape(client)) == [CHANGES, LAG]


def test_lag_is_of_the_oldest_event_that_is_due(client: Client) -> None:
    assert scrape(client)[LAG] == {("urgent",): 0, ("normal",): 0, ("bulk",): 0}
    for metadata in ({"orderId": "ORD1"}, {"orderId": "ORD2"}):
        engine.pass_time(timedelta(seconds=30))
        engine.trigger("ORDER_PACKED", User.objects.create().id, metadata=metadata)
    engine.pass_time(timedelta(seconds=30))
    later = engine.trigger("ORDER_CANCELLED", User.objects.create().id)
    NotificationEvent.objects.filter(id=later).update(due_at=Now() + timedelta(hours=1))
    found = scrape(client)[LAG]
    assert found["urgent",] == 0
    assert 60 <= max(found.values()) < 90


def test_database_away_leaves_out_what_it_knows(client: Client) -> None:
    with connection.cursor() as cursor:  # the first query fails, and with it the test's transaction
        cursor.execute("ALTER TABLE notifier_channels_breakerchange RENAME TO gone")
    assert list(scrape(client)) == [STATE]


def test_wrong_settings_leave_the_states_out(client: Client, settings: Settings) -> None:
    settings.CHANNELS = {"TOY": {"CHANNEL": "channels.testing.ToyChannel"}}
    assert list(scrape(client)) == [CHANGES, LAG]
