"""What is older than the retention goes, and nothing else does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.utils import timezone
from pytest_django.fixtures import Settings

from channels.models import InboxMessage
from notifier import retention, tasks
from notifier.models import Alert, Attempt, DeadLetter, Delivery, NotificationEvent, new_id
from notifier.record import record
from notifier.retention import Deleted, delete_old
from notifier.trigger import parse
from preferences.models import Change
from tests import letters

pytestmark = pytest.mark.django_db

OLD = timedelta(days=91)
HOUR = timedelta(hours=1)


def id_of(age: timedelta) -> UUID:
    """A UUIDv7 as it was made then: milliseconds, then chance."""
    made = int((timezone.now() - age).timestamp() * 1000)
    return UUID(int=made << 80 | new_id().int & (1 << 80) - 1)


def settled(age: timedelta, **fields: Any) -> NotificationEvent:
    """An event that was recorded then, and failed at once, with a delivery, an attempt and an open dead letter."""
    then = timezone.now() - age
    given: dict[str, Any] = {"id": id_of(age), "recorded_at": then, "settled_at": then}
    event = letters.make_event(**(given | fields))
    letters.make_letter(event)
    Attempt.objects.create(delivery=event.deliveries.get(), number=1, started_at=then, outcome="REJECTED")
    return event


def rows() -> list[int]:
    return [model.objects.count() for model in (NotificationEvent, Delivery, Attempt, DeadLetter)]


def test_an_old_event_goes_with_all_that_hangs_on_it() -> None:
    settled(OLD)
    kept = settled(timedelta(days=89))
    assert delete_old() == Deleted(events=1)
    assert NotificationEvent.objects.get() == kept
    assert rows() == [1, 1, 1, 1]
    assert delete_old() == Deleted()


def test_it_goes_by_the_time_of_its_settlement_to_the_second() -> None:
    ninety = timedelta(days=90)
    settled(ninety + timedelta(seconds=2))
    kept = [settled(ninety - timedelta(minutes=1)), settled(OLD, settled_at=timezone.now() - ninety + HOUR)]
    delete_old()
    assert set(NotificationEvent.objects.all()) == set(kept)


def test_alerts_that_are_over_go_and_open_ones_stay() -> None:
    now, then = timezone.now(), timezone.now() - OLD
    for subject, ends in (("open", {}), ("healed", {"healed_at": now}), ("taken on", {"acknowledged_at": now})):
        Alert.objects.create(kind="CHANNEL_DEGRADED", subject=subject, opened_at=then, **ends)
    Alert.objects.create(kind="CHANNEL_DEGRADED", subject="new", healed_at=now)
    delete_old()
    assert set(Alert.objects.values_list("subject", flat=True)) == {"open", "new"}


def test_what_is_not_settled_stays_whatever_its_age() -> None:
    settled(timedelta(days=400), status="DISPATCHED", settled_at=None)
    assert delete_old() == Deleted()
    assert rows() == [1, 1, 1, 1]


def test_its_idempotency_key_is_free_afterwards() -> None:
    trigger = parse(
        {"eventType": "ORDER_PLACED", "recipient": {"email": "a@shop.example"}, "metadata": {"orderId": "ORD1"}},
        idempotency_key="key",
    )
    settled(OLD, idempotency_key="key")
    delete_old()
    assert record(trigger, "shop")[0].created


def test_a_refused_trigger_goes_by_its_own_age() -> None:
    then = timezone.now() - OLD
    letters.make_refused(b"{}", id=id_of(OLD), created_at=then)
    letters.make_refused(b"{}", id=id_of(OLD), created_at=then, status="REPLAYED")
    kept = letters.make_refused(b"{}")
    assert delete_old() == Deleted(letters=2)
    assert DeadLetter.objects.get() == kept


def test_inbox_messages_go_read_or_not() -> None:
    for age in (OLD, OLD, timedelta(days=89)):
        then = timezone.now() - age
        InboxMessage.objects.create(
            id=id_of(age), user_id=uuid4(), delivery_id=uuid4(), title="packed", created_at=then, read_at=then
        )
    assert delete_old() == Deleted(messages=2)
    assert InboxMessage.objects.count() == 1


def test_batch_after_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    for _ in range(5):
        settled(OLD)
    settled(OLD, status="DISPATCHED", settled_at=None)
    assert delete_old() == Deleted(events=5)


def test_a_run_is_short_and_the_next_one_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BUDGET", 0.0)
    published: list[bool] = []
    monkeypatch.setattr(tasks.delete_old, "delay", lambda: published.append(True))
    settled(OLD)
    tasks.delete_old()
    assert (published, NotificationEvent.objects.count()) == ([True], 1)
    monkeypatch.setattr(retention, "BUDGET", 60.0)
    tasks.delete_old()
    assert (published, NotificationEvent.objects.count()) == ([True], 0)


def test_what_ends_half_way_leaves_whole_events(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, tmp_path: Path
) -> None:
    monkeypatch.setattr(retention, "BATCH", 1)
    for _ in range(3):
        settled(OLD)
    settings.FAILPOINTS = str(tmp_path)
    (tmp_path / "retention.deleting").write_text("raise")
    with pytest.raises(RuntimeError):
        delete_old()
    assert rows() == [3, 3, 3, 3]
    assert delete_old() == Deleted(events=3)
    assert rows() == [0, 0, 0, 0]


@contextmanager
def another(sql: str, params: list[Any]) -> Iterator[None]:
    """Another process that is in the middle of a transaction."""
    other = connection.copy()
    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute(sql, params)
        yield
    finally:
        other.rollback()
        other.close()


@pytest.mark.django_db(transaction=True)
def test_two_at_once_do_not_wait_for_each_other() -> None:
    settled(OLD)
    with another("SELECT pg_advisory_xact_lock(%s)", [retention.RETENTION_LOCK]):
        assert delete_old() == Deleted()
    assert delete_old() == Deleted(events=1)


@pytest.mark.django_db(transaction=True)
def test_what_somebody_has_locked_stays() -> None:
    busy = settled(OLD)
    settled(OLD)
    with another("SELECT FROM notifier_notificationevent WHERE id = %s FOR UPDATE", [busy.id]):
        assert delete_old() == Deleted(events=1)
    assert NotificationEvent.objects.get() == busy


def test_the_history_is_kept_unless_a_setting_says_otherwise(settings: Settings) -> None:
    Change.objects.bulk_create(
        Change(at=timezone.now() - timedelta(days=days), action="INSERT", kind="PERSON", actor_kind="ENGINE")
        for days in (400, 380, 300)
    )
    assert delete_old() == Deleted()

    settings.HISTORY_RETENTION = timedelta(days=365)
    assert delete_old() == Deleted(changes=2)
    assert Change.objects.filter(action="INSERT", object_id="").count() == 1


def test_much_history_goes_in_batches(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.HISTORY_RETENTION = timedelta(days=31)
    monkeypatch.setattr(retention, "BATCH", 2)
    Change.objects.bulk_create(
        Change(at=timezone.now() - timedelta(days=40), action="INSERT", kind="PERSON", actor_kind="ENGINE")
        for _ in range(5)
    )
    assert delete_old() == Deleted(changes=5)
    assert Change.objects.filter(action="FORGET").count() == 3
