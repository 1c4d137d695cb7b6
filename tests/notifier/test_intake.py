"""Many triggers in one statement: what the rows hold, and who comes first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection

from notifier.catalogue import event_types
from notifier.models import NotificationEvent
from notifier.record import Recorded, record, record_many
from notifier.trigger import KeyConflict, Trigger, TriggerError, parse
from preferences.models import User


def placed(order: str, key: str | None = None, **more: Any) -> Trigger:
    body = {"eventType": "ORDER_PLACED", "metadata": {"orderId": order}, "recipient": {"email": "a@shop.example"}}
    return parse(body | more, idempotency_key=key)


def only(results: Sequence[list[Recorded] | TriggerError]) -> list[Recorded]:
    """Of triggers that make one event each, and of which none was refused."""
    found = [result[0] for result in results if not isinstance(result, TriggerError)]
    assert len(found) == len(results)
    return found


def test_an_event_is_due_at_once_and_lives_by_the_databases_clock(db: None) -> None:
    record(placed("ORD1"), "shop")
    event = NotificationEvent.objects.get(recipient_key__gt="", user=None, settled_at=None, lease_until=None)
    assert (event.status, event.round, event.plan_failures, event.order_id) == ("QUEUED", 0, 0, "ORD1")
    assert event.due_at == event.recorded_at
    assert event.expires_at - event.recorded_at == event_types()["ORDER_PLACED"].time_to_live


def test_an_event_of_a_user_holds_no_recipient(customer: Callable[..., User]) -> None:
    user = customer()
    record(placed("ORD1", recipient=None, userId=str(user.id)), "shop")
    event = NotificationEvent.objects.get(recipient__isnull=True)
    assert (event.user_id, event.recipient_key) == (user.id, str(user.id))


def test_metadata_is_kept_as_it_came(db: None) -> None:
    odd = {"orderId": "Ö'\"\\1", "note": "a\nb\u2028%s{}$1", "deep": {"list": [1, 2.5, None, True, -(2**53)]}}
    record(parse({"eventType": "ORDER_PLACED", "metadata": odd, "recipient": {"email": "a@shop.example"}}), "shop")
    event = NotificationEvent.objects.get()
    assert (event.metadata, event.order_id) == (odd, odd["orderId"])


def test_new_and_repeated_keys_in_one_call(db: None) -> None:
    first = only(record_many([placed("ORD1", "a"), placed("ORD2", "b")], "shop"))
    again = record_many([placed("ORD3", "c"), placed("ORD2", "b"), placed("ORD9", "a"), placed("ORD4")], "shop")
    assert isinstance(again[2], KeyConflict)
    third, second, fourth = only([result for result in again if not isinstance(result, TriggerError)])
    assert (second.event_id, second.created) == (first[1].event_id, False)
    assert third.created
    assert fourth.created
    assert NotificationEvent.objects.count() == 4


def test_a_repeated_trigger_tells_the_status_of_today(db: None) -> None:
    record(placed("ORD1", "a"), "shop")
    NotificationEvent.objects.update(status="SENT")
    assert record(placed("ORD1", "a"), "shop")[0].status == "SENT"


def test_a_member_who_joined_meanwhile_is_told_too(db: None) -> None:
    group = Group.objects.create(name="fraud")
    trigger = parse({"eventType": "FRAUD_ALERT", "metadata": {}}, idempotency_key="k")
    created = []
    for name in ("ann", "bob"):
        User.objects.create_user(name, is_staff=True).groups.add(group)
        created.append([found.created for found in record(trigger, "shop")])
    assert created[0] == [True]
    assert sorted(created[1]) == [False, True]


def test_one_statement_where_no_key_came_before(db: None, django_assert_num_queries: Callable[..., Any]) -> None:
    with django_assert_num_queries(1):
        record_many([placed(f"ORD{number}", f"k{number}") for number in range(50)], "shop")


@pytest.mark.django_db(transaction=True)
def test_the_same_keys_at_once_in_another_order_are_the_same_events() -> None:
    triggers = [placed(f"ORD{number}", f"k{number}") for number in range(300)]

    def call(number: int) -> list[Recorded]:
        try:
            turned = triggers if number % 2 else triggers[::-1]
            found = only(record_many(turned, "shop"))
            return found if number % 2 else found[::-1]
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as callers:
        results = list(callers.map(call, range(4)))
    for events in zip(*results, strict=True):
        assert len({event.event_id for event in events}) == 1
        assert sum(event.created for event in events) == 1
