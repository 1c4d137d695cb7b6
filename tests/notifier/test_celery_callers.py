"""Triggers by Celery: one a message, or many."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from pytest_django.fixtures import Settings

from notifier import tasks
from notifier.models import DeadLetter, NotificationEvent
from notifier.querysets.dead_letters import Filter
from notifier.replay import replay
from preferences.models import User

pytestmark = pytest.mark.django_db(transaction=True)

PLACED = {"event_type": "ORDER_PLACED", "metadata": {"orderId": "ORD1"}}
GUEST = {"recipient": {"email": "a@shop.example"}}


def many(events: list[Any]) -> None:
    tasks.trigger_many.apply(kwargs={"events": events}, task_id="t1", throw=True)


def test_many_in_one_message_are_events_with_keys(customer: Callable[..., User]) -> None:
    user = str(customer().id)
    events = [{**PLACED, "user_id": user}, {**PLACED, **GUEST, "idempotency_key": "mine"}, {**PLACED, **GUEST}]
    for _ in range(2):  # a message may come twice
        many(events)
    keys = NotificationEvent.objects.order_by("idempotency_key").values_list("idempotency_key", flat=True)
    assert list(keys) == ["mine", "t1:0", "t1:2"]
    assert not DeadLetter.objects.exists()


@pytest.mark.parametrize(
    "bad",
    [
        {**PLACED, "event_type": "NO_SUCH"},
        {**PLACED, "user_id": "01931f6e-7d3a-7000-8000-000000000001"},
        {**PLACED, **GUEST, "surprise": 1},
        {**PLACED, **GUEST, "metadata": {"orderId": "ORD1", "note": "a\0b"}},
        {**PLACED, **GUEST, "metadata": {"orderId": "ORD1", "note": 2**70}},
        {**PLACED, **GUEST, "metadata": {"orderId": "ORD1", "note": "\ud800"}},
        {**PLACED, **GUEST, "metadata": {"orderId": "ORD1", "eta": datetime(2026, 11, 25, tzinfo=UTC)}},
        {**PLACED, **GUEST, "metadata": {"orderId": "ORD1", 7: "seven"}},
        {**PLACED, "event_type": "NO_SUCH\0"},
        {**PLACED, **GUEST, "surprise\0\ud800": 1},
        "ORDER_PLACED",
    ],
    ids=[
        "unknown type",
        "unknown user",
        "unknown field",
        "NUL",
        "too large a number",
        "half a pair",
        "date",
        "number as a name",
        "NUL in the type",
        "NUL in a name",
        "no mapping",
    ],
)
def test_a_bad_one_is_kept_and_stops_no_other(bad: Any) -> None:
    many([{**PLACED, **GUEST}, bad, {**PLACED, **GUEST}])
    assert NotificationEvent.objects.count() == 2
    letter = DeadLetter.objects.get()
    assert letter.cause in {"INVALID_TRIGGER", "UNKNOWN_USER"}
    assert letter.payload
    assert b"ORDER_PLACED" in letter.payload or b"NO_SUCH" in letter.payload


def nested(depth: int) -> list[Any]:
    deep: list[Any] = []
    for _ in range(depth):
        deep = [deep]
    return deep


@pytest.mark.parametrize(
    ("note", "cause", "kept"),
    [
        (["x" * 9000] * 8, "TOO_LARGE", 64 * 1024),
        ("x" * 10_001, "TEXT_TOO_LONG", 10_000),
        (nested(10), "TOO_DEEP", 100),
        (nested(5000), "INVALID_TRIGGER", 0),
    ],
    ids=["size", "text", "depth", "great depth"],
)
def test_one_beyond_the_bounds_is_kept_with_its_cause(note: Any, cause: str, kept: int) -> None:
    many([{**PLACED, **GUEST}, {**PLACED, **GUEST, "metadata": {"orderId": "ORD1", "note": note}}])
    letter = DeadLetter.objects.get()
    assert letter.cause == cause
    assert kept <= len(letter.payload or b"") <= 64 * 1024
    assert NotificationEvent.objects.count() == 1


@pytest.mark.parametrize("events", [None, "ORDER_PLACED", {}])
def test_what_is_no_list_is_kept(events: Any) -> None:
    many(events)
    assert DeadLetter.objects.get().cause == "INVALID_TRIGGER"


def test_one_with_what_cannot_be_stored_is_kept() -> None:
    metadata = {"orderId": "ORD1", "note": "a\0b"}
    tasks.trigger.apply(kwargs={**PLACED, **GUEST, "metadata": metadata}, task_id="t1", throw=True)
    payload = DeadLetter.objects.get().payload
    assert orjson.loads(payload or b"") == {
        "eventType": "ORDER_PLACED",
        "userId": None,
        **GUEST,
        "metadata": metadata,
        "idempotencyKey": "t1",
    }


def test_a_type_that_celery_callers_may_not_trigger_is_kept_with_its_cause(settings: Settings) -> None:
    settings.SOURCES = {"celery": ("ORDER_PLACED", "ORDER_SHIPPED"), "other": ("FRAUD_ALERT",)}
    many([{**PLACED, **GUEST}, {"event_type": "FRAUD_ALERT", "metadata": {}}])
    assert [event.event_type for event in NotificationEvent.objects.all()] == ["ORDER_PLACED"]
    letter = DeadLetter.objects.get()
    assert (letter.cause, letter.event_type, letter.source) == ("FORBIDDEN", "FRAUD_ALERT", "celery")
    assert "may trigger ORDER_PLACED, ORDER_SHIPPED only" in letter.last_error


def test_a_replay_asks_again_whether_the_source_may(settings: Settings) -> None:
    settings.SOURCES = {"celery": ("ORDER_SHIPPED",)}
    many([{**PLACED, **GUEST}])
    assert replay(Filter()).left_out == {"INVALID": 1}
    settings.SOURCES = {}
    assert replay(Filter()).replayed == 1
    assert NotificationEvent.objects.get().source == "celery"
