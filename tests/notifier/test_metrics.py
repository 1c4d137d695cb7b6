"""GET /metrics: Prometheus's text, whatever is away."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from pytest_django.fixtures import Settings

from channels import registry
from channels.base import Permit
from channels.errors import OutcomeUnknown
from channels.testing import forget_gates
from notifier import liveness
from notifier.measures import CAUSES, MEASURES, TALLIED, Kind, Measure
from notifier.models import DeadLetter, NotificationEvent
from preferences.models import User
from tests import engine
from tests.ports import free_port
from tests.tallies import scrape, tally_of_nothing

pytestmark = pytest.mark.django_db
REMOTE = {"PROVIDER": "channels.testing.RemoteProvider"}
QUEUES, BACKLOG, LETTERS = "notifier_queue_messages", "notifier_backlog_events", "notifier_dead_letters_open"
PAUSED, ALERTS = "notifier_paused", "notifier_alerts_open"
STATE, CHANGES, LAG = "notifier_breaker_state", "notifier_breaker_changes_total", "notifier_lag_seconds"


@pytest.fixture(autouse=True)
def one_open_provider(settings: Settings) -> Iterator[None]:
    settings.WHITENOISE_AUTOREFRESH = True  # no collectstatic in tests
    settings.CHANNELS = {"TOY": {"CHANNEL": "channels.testing.ToyChannel", "PROVIDERS": [REMOTE, REMOTE]}}
    forget_gates()
    registry.gates()[0].record([OutcomeUnknown() for _ in range(6)], Permit(6))
    yield
    forget_gates()


def test_breakers(client: Client) -> None:
    found = scrape(client)
    assert found[STATE] == {("TOY", "remote"): 2, ("TOY", "remote-2"): 0}
    assert len(found[CHANGES]) == 6  # all from the start, so that increase() sees the first
    assert {labels: n for labels, n in found[CHANGES].items() if n} == {("TOY", "remote", "OPEN"): 1}


def test_redis_away_leaves_the_states_out(client: Client, settings: Settings) -> None:
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    assert list(scrape(client)) == [CHANGES, LAG, BACKLOG, LETTERS, PAUSED, ALERTS]


def test_lag_is_of_the_oldest_event_that_is_due(client: Client) -> None:
    assert scrape(client)[LAG] == {("urgent",): 0, ("normal",): 0, ("bulk",): 0}
    for metadata in ({"orderId": "ORD1"}, {"orderId": "ORD2"}):
        engine.pass_time(timedelta(seconds=30))
        engine.trigger("ORDER_PACKED", User.objects.create().id, metadata=metadata)
    engine.pass_time(timedelta(seconds=30))
    later = engine.trigger("ORDER_CANCELLED", User.objects.create().id)
    NotificationEvent.objects.filter(id=later).update(due_at=Now() + timedelta(hours=1))
    found = scrape(client)
    assert found[LAG]["urgent",] == 0
    assert 60 <= max(found[LAG].values()) < 90
    assert found[BACKLOG] == {("urgent",): 0, ("normal",): 0, ("bulk",): 2}


def test_database_away_leaves_out_what_it_knows(client: Client) -> None:
    with connection.cursor() as cursor:  # the first query fails, and with it the test's transaction
        cursor.execute("ALTER TABLE notifier_channels_breakerchange RENAME TO gone")
    found = scrape(client)
    assert STATE in found
    assert QUEUES in found
    assert not {CHANGES, LAG, BACKLOG, LETTERS, PAUSED, ALERTS} & found.keys()


def test_wrong_settings_leave_the_states_out(client: Client, settings: Settings) -> None:
    settings.CHANNELS = {"TOY": {"CHANNEL": "channels.testing.ToyChannel"}}
    found = scrape(client)
    assert STATE not in found
    assert {CHANGES, LAG, QUEUES} <= found.keys()


def test_every_metric_is_there_before_anything_happened(client: Client) -> None:
    tally_of_nothing()
    liveness.ticked()
    found = scrape(client)
    there = [measure for measure in MEASURES if list(measure.known())]
    missing = {measure.name for measure in set(MEASURES) - set(there)}
    # nothing stands in for the one channel, and there is no synthetic customer
    assert set(found) == {name for measure in there for name in sample_names(measure)}
    assert missing == {"notifier_fallbacks_total", "notifier_synthetic_ok", "notifier_synthetic_seconds"}
    for measure in set(TALLIED) & set(there):
        for name in sample_names(measure):
            shown = {labels[: len(measure.labels)] for labels in found[name]}
            assert shown == set(measure.known()), name
            assert not any(found[name].values()), name


def sample_names(measure: Measure) -> list[str]:
    ends = ("_bucket", "_count", "_sum") if measure.kind is Kind.HISTOGRAM else ("",)
    return [measure.name + end for end in ends]


def test_names_say_what_they_are() -> None:
    """They begin alike, and name their unit where they have one: rules and dashboards rely on them."""
    for measure in MEASURES:
        assert measure.name.startswith("notifier_")
        assert measure.name.endswith("_total") == (measure.kind is Kind.COUNTER)
        assert bool(measure.buckets) == (measure.kind is Kind.HISTOGRAM)
        assert not measure.buckets or measure.name.endswith("_seconds")


def test_queues_workers_and_beat(client: Client) -> None:
    with liveness.client_with(1) as redis:
        redis.delete(liveness.TICK, liveness.KNOWN, "control")
        redis.rpush("control", "a message", "another")
    before = scrape(client)
    assert before[QUEUES]["control",] == 2
    assert before["notifier_workers"] == {(): 0}
    assert before["notifier_queues_without_worker"] == {(): len(before[QUEUES])}
    assert "notifier_beat_age_seconds" not in before  # it never ticked

    liveness.ticked()
    liveness.alive("w1", [queue for (queue,) in before[QUEUES]])
    after = scrape(client)
    assert after["notifier_workers"] == {(): 1}
    assert after["notifier_queues_without_worker"] == {(): 0}
    assert after["notifier_beat_age_seconds"][()] < 5
    liveness.goodbye("w1")
    with liveness.client_with(1) as redis:
        redis.delete("control")


def test_open_dead_letters_by_cause(client: Client) -> None:
    for cause, status in (("CRASHED", "OPEN"), ("CRASHED", "OPEN"), ("PLANNING", "REPLAYED"), ("Of tomorrow", "OPEN")):
        DeadLetter.objects.create(cause=cause, status=status)
    found = scrape(client)[LETTERS]
    assert {cause: number for (cause,), number in found.items() if number} == {"CRASHED": 2, "OTHER": 1}
    assert {cause for (cause,) in found} == set(CAUSES)
