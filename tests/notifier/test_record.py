"""Triggers that are written down, and those that are refused with what is wrong."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group

from notifier.models import NotificationEvent
from notifier.record import record, record_many
from notifier.trigger import InvalidTrigger, KeyConflict, TriggerError, UnknownUser, parse
from preferences.models import User

USER = str(uuid.uuid4())
GOOD: dict[str, Any] = {"eventType": "ORDER_PLACED", "userId": USER, "metadata": {"orderId": "ORD1"}}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"eventType": "ORDER_EATEN"}, "eventType"),
        ({"eventType": None}, "eventType"),
        ({"metadata": {}}, "metadata.orderId"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {"orderId": 5}}, "metadata.orderId"),
        ({"metadata": {"orderId": "x" * 101}}, "metadata.orderId"),
        ({"metadata": {"orderId": "1", "items": [{"quantity": 1}]}}, "metadata.items.0.name"),
        ({"metadata": {"orderId": "1", "currency": "euro"}}, "metadata.currency"),
        ({"eventType": "ORDER_SHIPPED"}, "metadata.trackingUrl"),
        ({"userId": "7"}, "userId"),
        ({"userId": None}, "userId"),
        ({"recipient": {"email": "a@shop.example"}}, "userId"),
        ({"userId": None, "recipient": {}}, "recipient.email"),
        ({"userId": None, "recipient": {"email": "nonsense"}}, "recipient.email"),
        ({"userId": None, "recipient": "me"}, "recipient"),
        ({"eventType": "FRAUD_ALERT", "metadata": {}}, "userId"),
        ({"idempotencyKey": ""}, "idempotencyKey"),
        ({"idempotencyKey": "x" * 256}, "idempotencyKey"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_bad_trigger_names_its_field(change: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidTrigger) as caught:
        parse({**GOOD, **change})
    assert field in caught.value.fields


def test_every_missing_field_is_named_at_once() -> None:
    with pytest.raises(InvalidTrigger) as caught:
        parse({**GOOD, "eventType": "ORDER_SHIPPED", "metadata": {}})
    assert caught.value.fields == {"metadata.orderId": "Required.", "metadata.trackingUrl": "Required."}


def test_a_body_that_is_no_object() -> None:
    with pytest.raises(InvalidTrigger):
        parse([GOOD])


def test_a_producers_new_field_breaks_nothing(db: None, customer: Callable[..., User]) -> None:
    body = {**GOOD, "userId": str(customer().id), "metadata": {"orderId": "1", "giftWrap": {"colour": "red"}}}
    record(parse(body), "shop")
    assert NotificationEvent.objects.get().metadata["giftWrap"] == {"colour": "red"}


def test_an_unknown_user_writes_nothing(db: None) -> None:
    with pytest.raises(UnknownUser):
        record(parse(GOOD), "shop")
    assert not NotificationEvent.objects.exists()


def test_the_same_key_and_body_is_the_same_event(customer: Callable[..., User]) -> None:
    body = {**GOOD, "userId": str(customer().id)}
    first = record(parse(body, idempotency_key="k"), "shop")[0]
    reordered = {name: body[name] for name in reversed(body)}
    again = record(parse(reordered, idempotency_key="k"), "shop")[0]
    other_source = record(parse(body, idempotency_key="k"), "other shop")[0]
    assert (again.event_id, again.created) == (first.event_id, False)
    assert other_source.created
    with pytest.raises(KeyConflict):
        record(parse({**body, "metadata": {"orderId": "2"}}, idempotency_key="k"), "shop")
    assert NotificationEvent.objects.count() == 2


def test_without_a_key_every_trigger_is_an_event(customer: Callable[..., User]) -> None:
    body = {**GOOD, "userId": str(customer().id)}
    assert record(parse(body), "shop")[0].event_id != record(parse(body), "shop")[0].event_id


def test_one_bad_among_many_stops_no_other(customer: Callable[..., User]) -> None:
    good = parse({**GOOD, "userId": str(customer().id)}, idempotency_key="a")
    twice = parse({**GOOD, "userId": str(customer().id)}, idempotency_key="a")
    results = record_many([good, parse(GOOD), good, twice], "shop")
    assert isinstance(results[1], UnknownUser)
    assert isinstance(results[3], KeyConflict)
    assert not isinstance(results[0], TriggerError)
    assert NotificationEvent.objects.count() == 1


def test_a_staff_type_goes_to_each_active_member_once(db: None) -> None:
    group = Group.objects.create(name="fraud")
    for name, active in (("ann", True), ("bob", True), ("gone", False)):
        user = User.objects.create_user(name, "x", email="x@shop.example", is_staff=True, is_active=active)
        user.groups.add(group)
    trigger = parse({"eventType": "FRAUD_ALERT", "metadata": {"orderId": "1"}}, idempotency_key="alert")
    first, again = record(trigger, "shop"), record(trigger, "shop")
    assert len(first) == 2
    assert {r.event_id for r in first} == {r.event_id for r in again}
    assert not any(r.created for r in again)
