from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from notifier.models import NotificationEvent
from notifier.record import record
from notifier.trigger import parse
from preferences.models import User
from tests.api.conftest import Caller

LOOK, RECORD = "/notifications/reconcile", "/notifications/reconcile/record"

pytestmark = pytest.mark.django_db


def order(order_id: str, state: str, user: User | None = None, **more: Any) -> dict[str, Any]:
    at = datetime.now(UTC) - timedelta(hours=more.pop("hours", 1))
    whom = {"userId": str(user.id)} if user else {}
    return {"orderId": order_id, "state": state, "time": at.isoformat(), **whom, **more}


@pytest.fixture
def orders(ada: User) -> list[dict[str, Any]]:
    """One of each kind, in a list's own words."""
    record(parse({"eventType": "ORDER_PLACED", "userId": str(ada.id), "metadata": {"orderId": "ORD1"}}), "shop")
    return [
        order("ORD1", "placed", ada),
        order("ORD1", "paid", ada),
        order("ORD2", "placed", recipient={"email": "guest@mail.example"}, metadata={"total": 5}),
        order("ORD3", "lost"),
        order("ORD4", "delivered", ada, hours=13),
        order("ORD5", "placed", ada, hours=0),
    ]


def test_a_report_names_what_wants_a_look_and_changes_nothing(api: Caller, orders: list[dict[str, Any]]) -> None:
    answer = api("POST", LOOK, {"orders": orders, "states": {"paid": "ORDER_CONFIRMED"}})

    assert answer.status == 200
    assert answer.body == {
        "results": [
            {
                "index": 1,
                "orderId": "ORD1",
                "eventType": "ORDER_CONFIRMED",
                "finding": "BEHIND",
                "lastEventType": "ORDER_PLACED",
                "outcome": "RECORDABLE",
                "fields": {},
            },
            {
                "index": 2,
                "orderId": "ORD2",
                "eventType": "ORDER_PLACED",
                "finding": "MISSING",
                "outcome": "RECORDABLE",
                "fields": {},
            },
            {"index": 3, "finding": "UNREADABLE", "fields": {"state": "Unknown state 'lost'."}},
            {
                "index": 4,
                "orderId": "ORD4",
                "eventType": "ORDER_DELIVERED",
                "finding": "MISSING",
                "outcome": "EXPIRED",
                "fields": {"time": "Older than the time to live of ORDER_DELIVERED, 12 h."},
            },
        ],
        "counts": {"UNREADABLE": 1, "RECENT": 1, "TOLD": 1, "BEHIND": 1, "MISSING": 2, "RECORDABLE": 2, "EXPIRED": 1},
    }
    assert NotificationEvent.objects.count() == 1


def test_what_is_missing_is_recorded_once(caller: Callable[..., Caller], orders: list[dict[str, Any]]) -> None:
    api, body = caller("trigger"), {"orders": orders, "states": {"paid": "ORDER_CONFIRMED"}, "graceMinutes": 0}

    first = api("POST", RECORD, body, X_Request_ID="r1").body
    again = api("POST", RECORD, body).body

    assert [row.get("outcome") for row in first["results"]] == ["RECORDED", "RECORDED", None, "EXPIRED", "RECORDED"]
    assert again["counts"] == {"UNREADABLE": 1, "TOLD": 4, "MISSING": 1, "EXPIRED": 1}
    events = NotificationEvent.objects.filter(source="reconcile").order_by("order_id")
    assert [(event.order_id, event.idempotency_key, event.origin) for event in events] == [
        (order, f"{order}:{name}", {"ip": "127.0.0.1", "requestId": "r1"})
        for order, name in (("ORD1", "ORDER_CONFIRMED"), ("ORD2", "ORDER_PLACED"), ("ORD5", "ORDER_PLACED"))
    ]
    forced = api("POST", RECORD, body | {"force": True}).body
    assert forced["counts"] == {"UNREADABLE": 1, "TOLD": 4, "MISSING": 1, "RECORDED": 1}


def test_a_key_records_the_types_that_it_may_trigger(caller: Callable[..., Caller], ada: User) -> None:
    api = caller("trigger", event_types=["ORDER_PLACED"])

    answer = api("POST", RECORD, {"orders": [order("ORD1", "placed", ada), order("ORD1", "delivered", ada)]}).body

    assert answer["counts"] == {"MISSING": 2, "RECORDED": 1, "REFUSED": 1}
    assert answer["results"][1]["fields"] == {"eventType": "The caller may not trigger ORDER_DELIVERED."}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"orders": []}, "orders"),
        ({"orders": [{}] * 1001}, "orders"),
        ({"orders": [{}], "states": {"paid": "ORDER_LOST"}}, "states"),
        ({"orders": [{}], "graceMinutes": -1}, "graceMinutes"),
        ({"orders": [{}], "record": True}, "record"),
    ],
)
def test_a_wrong_field_is_named(api: Caller, body: dict[str, Any], field: str) -> None:
    answer = api("POST", LOOK, body)

    assert (answer.status, list(answer.fields)) == (400, [field])


@pytest.mark.parametrize("row", [7, None, "ORD1", [], {}, {"orderId": {"a": 1}}])
def test_a_row_that_is_none_is_unreadable(api: Caller, row: Any) -> None:
    answer = api("POST", LOOK, {"orders": [row]})

    assert (answer.status, answer.body["counts"]) == (200, {"UNREADABLE": 1})


def test_reporting_takes_read_and_recording_trigger(caller: Callable[..., Caller]) -> None:
    body = {"orders": [order("ORD1", "placed")]}

    assert [caller("read")("POST", path, body).status for path in (LOOK, RECORD)] == [200, 403]
    assert [caller("trigger")("POST", path, body).status for path in (LOOK, RECORD)] == [403, 200]
