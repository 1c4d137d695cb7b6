from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from django.contrib.auth.models import Group
from django.db import connection
from pytest_django.fixtures import Settings

from notifier import health
from notifier.models import ApiKey, NotificationEvent
from preferences.models import User
from tests.api.conftest import Caller
from tests.notifier import test_duplicates  # before its catalogue is set: it reads the shop's own

TRIGGER = "/notifications/trigger"
BULK = "/notifications/trigger/bulk"
LINK = "https://track.example/1"


def shipped(user: User, **more: Any) -> dict[str, Any]:
    return {
        "eventType": "ORDER_SHIPPED",
        "userId": str(user.id),
        "metadata": {"orderId": "ORD1", "trackingUrl": LINK},
        **more,
    }


def test_a_trigger_is_recorded(api: Caller, ada: User) -> None:
    answer = api("POST", TRIGGER, shipped(ada))

    assert (answer.status, answer.body["status"]) == (202, "QUEUED")
    event = NotificationEvent.objects.get(id=answer.body["eventId"])
    assert (event.user_id, event.order_id, event.source) == (ada.id, "ORD1", "shop")
    assert event.metadata == {"orderId": "ORD1", "trackingUrl": LINK}


def test_without_a_key_each_trigger_is_a_new_event(api: Caller, ada: User) -> None:
    first, second = (api("POST", TRIGGER, shipped(ada)) for _ in range(2))

    assert first.status == second.status == 202
    assert first.body["eventId"] != second.body["eventId"]


def test_the_same_key_and_body_again_is_the_same_event(api: Caller, ada: User) -> None:
    first = api("POST", TRIGGER, shipped(ada), Idempotency_Key="k1")
    again = api("POST", TRIGGER, dict(reversed(shipped(ada, idempotencyKey="k1").items())))

    assert (first.status, again.status) == (202, 200)
    assert first.body["eventId"] == again.body["eventId"]
    assert NotificationEvent.objects.count() == 1


def test_what_says_the_same_is_answered_as_a_key_that_came_before(api: Caller, ada: User, settings: Settings) -> None:
    settings.EVENT_CATALOGUE = f"{test_duplicates.__name__}.CATALOGUE"
    body = {"eventType": "ORDER_DELAYED", "userId": str(ada.id), "metadata": {"orderId": "ORD1"}}
    first, again = (api("POST", TRIGGER, body) for _ in range(2))

    assert (first.status, again.status) == (202, 200)
    assert first.body == again.body


def test_the_same_key_with_another_body_conflicts(api: Caller, ada: User) -> None:
    api("POST", TRIGGER, shipped(ada, idempotencyKey="k1"))
    other = shipped(ada, idempotencyKey="k1", metadata={"orderId": "ORD2", "trackingUrl": LINK})

    answer = api("POST", TRIGGER, other)

    assert (answer.status, answer.code) == (409, "IDEMPOTENCY_CONFLICT")
    assert "idempotencyKey" in answer.fields
    assert NotificationEvent.objects.count() == 1


def test_keys_of_two_sources_do_not_meet(caller: Callable[..., Caller], ada: User) -> None:
    answers = [caller(source=source)("POST", TRIGGER, shipped(ada, idempotencyKey="k")) for source in ("a", "b")]

    assert [answer.status for answer in answers] == [202, 202]
    assert answers[0].body["eventId"] != answers[1].body["eventId"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"eventType": "ORDER_LOST"}, "eventType"),
        ({"eventType": None}, "eventType"),
        ({"eventType": 7}, "eventType"),
        ({"metadata": {"orderId": "ORD1"}}, "metadata.trackingUrl"),
        ({"metadata": {"trackingUrl": LINK}}, "metadata.orderId"),
        ({"metadata": {"orderId": 5, "trackingUrl": LINK}}, "metadata.orderId"),
        ({"metadata": {"orderId": "ORD1", "trackingUrl": "javascript:alert(1)"}}, "metadata.trackingUrl"),
        ({"metadata": []}, "metadata"),
        ({"metadata": None}, "metadata"),
        ({"usrId": "x"}, "usrId"),
        ({"userId": "not-a-uuid"}, "userId"),
        ({"userId": None}, "userId"),
        ({"recipient": {"email": "guest@mail.example"}}, "userId"),
        ({"idempotencyKey": ""}, "idempotencyKey"),
        ({"idempotencyKey": "k" * 256}, "idempotencyKey"),
    ],
)
def test_a_wrong_field_is_named(api: Caller, ada: User, change: dict[str, Any], field: str) -> None:
    answer = api("POST", TRIGGER, shipped(ada) | change)

    assert (answer.status, answer.code) == (400, "INVALID")
    assert field in answer.fields
    assert answer.body["error"]["message"]
    assert NotificationEvent.objects.count() == 0


def test_an_unknown_user_is_not_found(api: Caller, ada: User) -> None:
    answer = api("POST", TRIGGER, shipped(ada) | {"userId": str(uuid4())})

    assert (answer.status, answer.code) == (404, "UNKNOWN_USER")
    assert "userId" in answer.fields


def test_a_guest_is_kept_with_clean_addresses(api: Caller) -> None:
    guest = {
        "email": " guest@mail.example",
        "phone": "+49 151 12345678",
        "locale": "de_AT",
        "timeZone": "Europe/Vienna",
    }

    answer = api("POST", TRIGGER, {"eventType": "ORDER_PLACED", "recipient": guest, "metadata": {"orderId": "ORD1"}})

    assert answer.status == 202
    event = NotificationEvent.objects.get()
    assert event.user_id is None
    assert event.recipient == {
        "email": "guest@mail.example",
        "phone": "+4915112345678",
        "locale": "de-AT",
        "timeZone": "Europe/Vienna",
    }


@pytest.mark.parametrize(
    ("guest", "field"),
    [
        ({}, "recipient.email"),
        ({"locale": "de"}, "recipient.email"),
        ({"email": "nobody"}, "recipient.email"),
        ({"email": 5}, "recipient.email"),
        ({"phone": "0151 12345678"}, "recipient.phone"),
        ({"phone": "+49 1"}, "recipient.phone"),
        ({"email": "a@b.example", "locale": "xx-YY"}, "recipient.locale"),
        ({"email": "a@b.example", "timeZone": "Mars/Base"}, "recipient.timeZone"),
        ({"email": "a@b.example", "fax": "1"}, "recipient.fax"),
        ("a@b.example", "recipient"),
    ],
)
def test_a_guest_who_cannot_be_reached_is_refused(api: Caller, guest: Any, field: str) -> None:
    answer = api("POST", TRIGGER, {"eventType": "ORDER_PLACED", "recipient": guest, "metadata": {"orderId": "ORD1"}})

    assert answer.status == 400
    assert field in answer.fields


def test_a_staff_type_makes_an_event_a_member(api: Caller) -> None:
    group = Group.objects.get_or_create(name="fraud")[0]
    members = [User.objects.create_user(f"staff{i}", is_staff=True) for i in range(3)]
    for member in members:
        member.groups.add(group)
    User.objects.filter(id=members[2].id).update(is_active=False)
    body = {"eventType": "FRAUD_ALERT", "metadata": {"orderId": "ORD1"}, "idempotencyKey": "k"}

    first, again = api("POST", TRIGGER, body), api("POST", TRIGGER, body)

    assert (first.status, again.status) == (202, 200)
    assert first.body == again.body
    events = NotificationEvent.objects.filter(id__in=first.body["eventIds"])
    assert {event.user_id for event in events} == {members[0].id, members[1].id}
    assert {event.idempotency_key for event in events} == {f"k:{member.id}" for member in members[:2]}


def test_a_staff_type_names_no_user(api: Caller, ada: User) -> None:
    answer = api("POST", TRIGGER, {"eventType": "FRAUD_ALERT", "userId": str(ada.id), "metadata": {}})

    assert answer.status == 400
    assert "userId" in answer.fields


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b'{"eventType": NaN}',
        b'{"metadata": {"orderId": "a\\u0000b"}}',
        b'{"metadata": {"items": [{"a\\u0000": 1}]}}',
    ],
)
def test_what_is_not_a_json_object_is_refused(api: Caller, raw: bytes) -> None:
    answer = api("POST", TRIGGER, raw=raw)

    assert (answer.status, answer.code) == (400, "MALFORMED_JSON")


def test_text_that_only_looks_like_a_nul_is_kept(api: Caller, ada: User) -> None:
    body = shipped(ada, metadata={"orderId": "ORD1", "trackingUrl": LINK, "note": "\\u0000", "lines": [1, "x"]})

    assert api("POST", TRIGGER, body).status == 202


def test_a_body_over_64_kib_is_refused(api: Caller, ada: User) -> None:
    body = shipped(ada)
    body["metadata"]["notes"] = ["x" * 9000] * 7
    body["metadata"]["note"] = "x" * (64 * 1024 - len(orjson.dumps(body)) - len(b',"note":""'))
    assert len(orjson.dumps(body)) == 64 * 1024

    assert api("POST", TRIGGER, body).status == 202
    body["metadata"]["note"] += "x"
    answer = api("POST", TRIGGER, body)

    assert (answer.status, answer.code) == (413, "TOO_LARGE")
    assert NotificationEvent.objects.count() == 1


@pytest.mark.parametrize(
    ("more", "code", "field"),
    [
        ({"note": "x" * 10_001}, "TEXT_TOO_LONG", "metadata.note"),
        ({"items": [{"name": "x", "note": "x" * 10_001}]}, "TEXT_TOO_LONG", "metadata.items.0.note"),
        ({"x" * 101: 1}, "TEXT_TOO_LONG", "metadata"),
        ({f"k{number}": 1 for number in range(99)}, "TOO_MANY_KEYS", "metadata"),
        ({"deep": [[[[[[[[]]]]]]]]}, "TOO_DEEP", "metadata.deep.0.0.0.0.0.0.0"),
    ],
    ids=["text", "text within", "name", "keys", "depth"],
)
@pytest.mark.parametrize("bulk", [False, True])
def test_metadata_has_bounds_each_with_its_name(
    api: Caller, ada: User, more: dict[str, Any], code: str, field: str, bulk: bool
) -> None:
    body = shipped(ada)
    body["metadata"] |= more
    answer = api("POST", BULK if bulk else TRIGGER, {"events": [body]} if bulk else body)

    error = answer.body["results"][0]["error"] if bulk else answer.body["error"]
    assert (answer.status, error["code"]) == (202 if bulk else 400, code)
    assert list(error["fields"]) == [field]
    assert NotificationEvent.objects.count() == 0


def test_metadata_up_to_its_bounds_is_taken(api: Caller, ada: User) -> None:
    body = shipped(ada)
    most = {f"k{number}": "x" for number in range(94)} | {"x" * 100: 1, "deep": [[[[[[[]]]]]]]}
    body["metadata"] |= most | {"note": "x" * 10_000, "items": [{"name": "x"}] * 200}

    assert api("POST", TRIGGER, body).status == 202
    assert NotificationEvent.objects.get().metadata == body["metadata"]


@pytest.mark.parametrize("depth", [100, 300, 1000, 1024, 20_000])
@pytest.mark.parametrize("field", ["metadata", "recipient", "eventType", "surprise"])
def test_no_depth_breaks_anything(api: Caller, ada: User, depth: int, field: str) -> None:
    deep = b"[" * depth + b'"\\u0000"' + b"]" * depth
    raw = b'{"eventType": "ORDER_PLACED", "userId": "%s", "%s": %s}' % (str(ada.id).encode(), field.encode(), deep)

    for path, body in ((TRIGGER, raw), (BULK, b'{"events": [' + raw + b"]}")):
        answer = api("POST", path, raw=body)
        assert answer.status in {400, 202}
        assert NotificationEvent.objects.count() == 0
    assert api("PUT", "/notifications/preferences", raw=raw).status == 400


def test_only_json_is_read(api: Caller) -> None:
    answer = api("POST", TRIGGER, raw=b"a=1", Content_Type="application/x-www-form-urlencoded")

    assert (answer.status, answer.code) == (415, "UNSUPPORTED_MEDIA_TYPE")


def test_bulk_answers_in_order_and_one_bad_event_stops_no_other(api: Caller, ada: User) -> None:
    good = shipped(ada, idempotencyKey="k")
    huge = shipped(ada, metadata={"orderId": "ORD1", "trackingUrl": LINK, "note": "x" * 65_536})
    other = shipped(ada, idempotencyKey="k", metadata={"orderId": "ORD2", "trackingUrl": LINK})
    bodies = [good, {"eventType": "NO"}, shipped(ada) | {"userId": str(uuid4())}, 5, good, other, huge]

    answer = api("POST", BULK, {"events": bodies})

    results = answer.body["results"]
    assert answer.status == 202
    assert [result["index"] for result in results] == list(range(7))
    assert [result["status"] for result in results] == ["QUEUED", *["REFUSED"] * 3, "QUEUED", *["REFUSED"] * 2]
    codes = [result["error"]["code"] for result in results if "error" in result]
    assert codes == ["INVALID", "UNKNOWN_USER", "INVALID", "IDEMPOTENCY_CONFLICT", "TOO_LARGE"]
    assert results[0]["eventId"] == results[4]["eventId"]
    assert NotificationEvent.objects.count() == 1


def test_bulk_takes_staff_types(api: Caller) -> None:
    member = User.objects.create_user("staff", is_staff=True)
    member.groups.add(Group.objects.get_or_create(name="fraud")[0])

    answer = api("POST", BULK, {"events": [{"eventType": "FRAUD_ALERT", "metadata": {}}]})

    (event_id,) = answer.body["results"][0]["eventIds"]
    assert NotificationEvent.objects.get().id == UUID(event_id)


@pytest.mark.parametrize("events", [[], None, {}, [{}] * 1001])
def test_bulk_takes_one_to_a_thousand(api: Caller, events: Any) -> None:
    answer = api("POST", BULK, {"events": events})

    assert (answer.status, list(answer.fields)) == (400, ["events"])
    assert NotificationEvent.objects.count() == 0


def test_bulk_names_an_unknown_field(api: Caller) -> None:
    assert api("POST", BULK, {"events": [], "evnts": []}).fields == {"evnts": "Unknown field."}


def test_a_thousand_events_take_few_queries(
    api: Caller, ada: User, django_assert_max_num_queries: Callable[..., Any]
) -> None:
    with django_assert_max_num_queries(12):
        answer = api("POST", BULK, {"events": [shipped(ada)] * 1000})

    assert len(answer.body["results"]) == NotificationEvent.objects.count() == 1000


@pytest.mark.django_db(transaction=True)
def test_with_the_database_away_the_caller_is_told_when_to_come_back(
    api: Caller, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection.close()
    with monkeypatch.context() as patch:
        patch.setitem(connection.settings_dict, "HOST", "127.0.0.1")
        patch.setitem(connection.settings_dict, "PORT", "1")
        health.close()
        answer = api("POST", TRIGGER, shipped(ada))
        ready, live = api("GET", "/health/ready"), api("GET", "/health/live")
        health.close()

    assert (answer.status, answer.code, answer.headers["Retry-After"]) == (503, "UNAVAILABLE", "5")
    assert (ready.status, ready.headers["Retry-After"], live.status) == (503, "5", 200)
    assert ApiKey.objects.count() == 1
