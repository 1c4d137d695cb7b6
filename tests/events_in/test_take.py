"""A batch becomes events and dead letters, whatever is in it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

import orjson
import pytest
from pytest_django.fixtures import Settings

from notifier.catalogue import EventType, Priority
from notifier.events_in.bus import Incoming
from notifier.events_in.take import take
from notifier.models import DeadLetter, NotificationEvent
from preferences.models import User
from tests import engine
from tests.events_in.brokers import placed

pytestmark = pytest.mark.django_db(transaction=True)

BROKEN_TYPES = (EventType("BROKEN", "", ("EMAIL",), Priority.NORMAL, timedelta(hours=1), {"type": 5}, {}),)


def incoming(offset: int, body: bytes) -> Incoming:
    return Incoming(body, f"t-0-{offset}", {"topic": "t", "partition": 0, "offset": offset})


def test_a_batch_with_all_kinds_is_stored_once() -> None:
    bodies = [placed("ORD1").body, b"rubbish", placed("ORD2", metadata={"orderId": "a\0b"}).body, placed("ORD3").body]
    batch = [incoming(offset, body) for offset, body in enumerate(bodies)]
    first, second = take(batch, "orders"), take(batch, "orders")
    assert (first.recorded, first.repeated, [one.cause for one in first.refused]) == (
        2, 0, ["UNDECODABLE", "INVALID_TRIGGER"],
    )  # fmt: skip
    assert (second.recorded, second.repeated, len(second.refused)) == (0, 2, 2)
    assert NotificationEvent.objects.count() == 2
    letters = DeadLetter.objects.order_by("idempotency_key")
    assert [bytes(letter.payload or b"") for letter in letters] == bodies[1:3]
    assert letters[0].origin == {"topic": "t", "partition": 0, "offset": 1}


def test_other_bytes_at_the_same_place_are_another_dead_letter() -> None:
    """A topic that was made anew counts from nought."""
    take([incoming(0, b"rubbish")], "orders")
    take([incoming(0, b"other rubbish")], "orders")
    assert DeadLetter.objects.count() == 2


def test_a_source_is_held_to_its_types(settings: Settings) -> None:
    settings.SOURCES = {"orders": ("ORDER_SHIPPED",)}
    taken = take([incoming(0, placed("ORD1").body)], "orders")
    assert [one.cause for one in taken.refused] == ["FORBIDDEN"]
    assert take([incoming(0, placed("ORD1").body)], "others").recorded == 1


def test_a_fault_of_ours_at_one_message_stops_no_other(settings: Settings) -> None:
    settings.EVENT_CATALOGUE = f"{__name__}.BROKEN_TYPES"
    body = orjson.dumps({"eventType": "BROKEN", "recipient": {"email": "a@shop.example"}})
    taken = take([incoming(0, body), incoming(1, b"rubbish")], "orders")
    assert [one.cause for one in taken.refused] == ["INVALID_TRIGGER", "UNDECODABLE"]
    assert DeadLetter.objects.filter(last_error__startswith="It cannot be read: ").count() == 1


def test_staff_events_of_a_batch_reach_each_member_once(customer: Callable[..., User]) -> None:
    body = orjson.dumps({"eventType": "FRAUD_ALERT", "metadata": {"orderId": "ORD1"}})
    assert take([incoming(0, body), incoming(1, body)], "orders").refused == []


def test_what_waited_on_the_bus_longer_than_its_news_is_not_sent(customer: Callable[..., User]) -> None:
    """A consumer that was away for days does not tell of parcels that have long arrived."""
    body = placed("ORD1", recipient=None, userId=str(customer().id)).body
    published = time.time() - timedelta(days=2).total_seconds()
    old = Incoming(body, "t-0-0", {"topic": "t", "partition": 0, "offset": 0}, published_at=published)
    assert take([old], "orders").recorded == 1
    engine.run()
    event = NotificationEvent.objects.get()
    assert event.status == "SKIPPED"
    assert set(engine.states(event.id).values()) == {"SKIPPED EXPIRED"}


def test_a_clock_that_is_ahead_lengthens_nothing() -> None:
    early = Incoming(placed("ORD1").body, "t-0-0", {}, published_at=time.time() + 3600)
    take([early], "orders")
    event = NotificationEvent.objects.get()
    assert event.expires_at - event.recorded_at == timedelta(hours=24)


def test_headers_that_no_column_holds_stop_nothing() -> None:
    headers = {"ce_specversion": "1.0", "ce_id": "1\0", "ce_source": "/o", "ce_type": "ORDER_PLACED"}
    taken = take([Incoming(placed("ORD1").body, "t-0-0", {"topic": "t"}, headers)], "orders")
    assert [one.cause for one in taken.refused] == ["INVALID_TRIGGER"]
    origin = DeadLetter.objects.get().origin
    assert origin is not None
    assert origin["headers"]["ce_id"] == "1"
