"""Types with `dedupe_within`: what says the same again, not long after, is answered as the first and not recorded."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from pytest_django.fixtures import Settings

from notifier.catalogue import event_types
from notifier.models import NotificationEvent
from notifier.record import Recorded, record, record_many
from notifier.trigger import KeyConflict, Trigger, parse
from preferences.models import User
from tests import engine, plans

pytestmark = pytest.mark.django_db

WINDOW = timedelta(minutes=10)
CATALOGUE = tuple(
    replace(event_type, dedupe_within=WINDOW) if event_type.name in {"ORDER_DELAYED", "FRAUD_ALERT"} else event_type
    for event_type in event_types().values()
)


@pytest.fixture(autouse=True)
def _with_a_window(settings: Settings) -> None:
    settings.EVENT_CATALOGUE = f"{__name__}.CATALOGUE"


def delayed(key: str | None = None, *, order: str = "ORD1", guest: str = "a@shop.example", **metadata: Any) -> Trigger:
    body = {"eventType": "ORDER_DELAYED", "metadata": {"orderId": order, **metadata}, "recipient": {"email": guest}}
    return parse(body, idempotency_key=key)


def one(trigger: Trigger, source: str = "shop") -> Recorded:
    return record(trigger, source)[0]


def test_the_same_again_is_the_first() -> None:
    first = one(delayed("a", eta="2026-12-01"))
    NotificationEvent.objects.update(status="SENT")
    again = one(delayed("b", eta="2026-12-02"), "another source")
    assert again == Recorded(first.event_id, "SENT", created=False)
    assert NotificationEvent.objects.count() == 1


@pytest.mark.parametrize(
    "other",
    [{"order": "ORD2"}, {"guest": "b@shop.example"}, {"shipmentId": "SHP-1"}],
    ids=["order", "recipient", "shipment"],
)
def test_what_is_about_something_else_is_recorded(other: dict[str, str]) -> None:
    one(delayed())
    assert one(delayed(**other)).created
    assert not one(delayed(**other)).created


def test_another_type_is_recorded_and_one_without_a_window_each_time() -> None:
    one(delayed())
    body = {"eventType": "ORDER_PLACED", "metadata": {"orderId": "ORD1"}, "recipient": {"email": "a@shop.example"}}
    assert [one(parse(body)).created for _ in range(2)] == [True, True]


def test_after_the_window_it_is_news() -> None:
    one(delayed())
    engine.pass_time(WINDOW - timedelta(seconds=5))
    assert not one(delayed()).created
    engine.pass_time(timedelta(seconds=6))  # the window counts from the first, not from the last that was refused
    assert one(delayed()).created


def test_a_key_goes_first() -> None:
    first = one(delayed("a"))
    assert one(delayed("a")).event_id == first.event_id
    with pytest.raises(KeyConflict):
        record(delayed("a", eta="2026-12-02"), "shop")
    engine.pass_time(WINDOW)
    assert one(delayed("a")).event_id == first.event_id


def test_within_one_call() -> None:
    found = record_many(
        [delayed(), delayed("k"), delayed(order="ORD2"), delayed("k"), delayed("k", order="ORD2"), delayed("j")], "shop"
    )
    ids = [result[0].event_id if isinstance(result, list) else None for result in found]
    assert NotificationEvent.objects.count() == 2
    assert ids[0] == ids[1] == ids[3] == ids[5]
    assert ids[2] == ids[4] != ids[0]


def test_a_key_that_came_before_is_no_first_for_others() -> None:
    old = one(delayed("k"))
    engine.pass_time(WINDOW)
    found = record_many([delayed("k"), delayed(), delayed()], "shop")
    again, new, like_it = (result[0] for result in found if isinstance(result, list))
    assert (again.event_id, again.created) == (old.event_id, False)
    assert (new.created, like_it.created) == (True, False)
    assert new.event_id == like_it.event_id != old.event_id


def test_each_member_of_a_group_is_told_once() -> None:
    group = Group.objects.create(name="fraud")
    trigger = parse({"eventType": "FRAUD_ALERT", "metadata": {"orderId": "ORD1"}})
    created = []
    for name in ("ann", "bob"):
        User.objects.create_user(name, is_staff=True).groups.add(group)
        created.append(sorted(found.created for found in record(trigger, "shop")))
    assert created == [[True], [False, True]]


def test_without_an_order_nothing_is_alike() -> None:
    User.objects.create_user("ann", is_staff=True).groups.add(Group.objects.create(name="fraud"))
    trigger = parse({"eventType": "FRAUD_ALERT", "metadata": {}})
    assert [one(trigger).created for _ in range(2)] == [True, True]


def test_it_costs_nothing_where_no_type_asks_for_it(django_assert_num_queries: Callable[..., Any]) -> None:
    body = {"eventType": "ORDER_PLACED", "metadata": {"orderId": "ORD1"}, "recipient": {"email": "a@shop.example"}}
    with django_assert_num_queries(1):
        record(parse(body), "shop")


def test_the_look_goes_by_the_orders_index() -> None:
    with plans.plans() as found:
        one(delayed())
    assert "event_order" in {index for plan in found for index in plan.indexes}


@pytest.mark.django_db(transaction=True)
def test_at_once_one_is_recorded() -> None:
    def call(number: int) -> list[UUID]:
        try:
            triggers = [delayed(order=f"ORD{order}") for order in range(50)]
            turned = triggers if number % 2 else triggers[::-1]
            found = [
                result[0].event_id for result in record_many(turned, f"source{number}") if isinstance(result, list)
            ]
            return found if number % 2 else found[::-1]
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as callers:
        results = list(callers.map(call, range(8)))
    assert NotificationEvent.objects.count() == 50
    assert all(result == results[0] for result in results)
