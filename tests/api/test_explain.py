"""POST /notifications/explain: a trigger's body, and what would become of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from notifier.models import Delivery, NotificationEvent
from preferences.models import Preference, User
from tests import engine
from tests.api.conftest import Caller
from tests.sandbox_process import Sandbox

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sandbox")]

PATH = "/notifications/explain"
METADATA = {"orderId": "ORD1", "trackingUrl": "https://t.example"}


@pytest.fixture
def reader(caller: Callable[..., Caller]) -> Caller:
    return caller("read")


def shipped(user: User, **more: Any) -> dict[str, Any]:
    return {"eventType": "ORDER_SHIPPED", "userId": str(user.id), "metadata": METADATA, **more}


def test_what_would_be_sent_and_why_not(reader: Caller, ada: User, sandbox: Sandbox) -> None:
    Preference.objects.create(user=ada, channel="SMS", enabled=False)
    answer = reader("POST", PATH, shipped(ada))

    assert answer.status == 200
    assert (answer.body["eventType"], answer.body["priority"]) == ("ORDER_SHIPPED", "normal")
    (found,) = answer.body["recipients"]
    assert (found["userId"], found["locale"], found["sameAs"]) == (str(ada.id), "de", None)
    by_channel = {delivery["channel"]: delivery for delivery in found["deliveries"]}
    email = by_channel["EMAIL"]
    assert email["content"].keys() == {"subject", "text", "html"}
    assert (email["status"], email["holdReason"], email["dueAt"][-1]) == ("QUEUED", "", "Z")
    assert email["addresses"] == [{"kind": "email", "address": "a•••@mail.example", "addressId": ""}]
    assert email["fallbacks"] == [{"channel": "SMS", "obstacle": "OPTED_OUT"}]
    assert email["fallbackAfterSeconds"] is None
    assert by_channel["SMS"] == {
        "channel": "SMS",
        "status": "SKIPPED",
        "skipReason": "OPTED_OUT",
        "holdReason": "",
        "fallbackOf": "",
        "detail": "its recipient turned off everything by SMS",
        "dueAt": None,
        "addresses": [],
        "fallbacks": [],
        "fallbackAfterSeconds": None,
        "content": {},
    }
    assert not NotificationEvent.objects.exists()
    assert not Delivery.objects.exists()
    assert sandbox.messages() == []


def test_the_content_can_be_left_out(reader: Caller, ada: User) -> None:
    answer = reader("POST", f"{PATH}?content=false", shipped(ada))

    assert [delivery["content"] for delivery in answer.body["recipients"][0]["deliveries"]] == [{}] * 4
    assert reader("POST", f"{PATH}?content=perhaps", shipped(ada)).fields.keys() == {"content"}
    assert reader("POST", f"{PATH}?contents=true", shipped(ada)).fields == {"contents": "Unknown field."}


def test_a_guest_and_the_channels_that_are_not_planned(reader: Caller) -> None:
    body = {"eventType": "ORDER_PLACED", "recipient": {"email": "g@mail.example"}, "metadata": {"orderId": "ORD1"}}
    (found,) = reader("POST", PATH, body).body["recipients"]

    assert found["userId"] is None
    assert found["unplanned"] == [
        {
            "channel": "SMS",
            "standsInFor": ["EMAIL"],
            "obstacle": "NO_ADDRESS",
            "detail": "only if EMAIL fails; then not, as no phone number is known",
        }
    ]


def test_what_came_before_under_its_key(reader: Caller, ada: User) -> None:
    event = engine.trigger("ORDER_SHIPPED", ada.id, metadata=METADATA, idempotencyKey="a")
    body = shipped(ada, metadata={"orderId": "ORD1", "trackingUrl": "https://t.example"})

    (found,) = reader("POST", PATH, body, Idempotency_Key="a").body["recipients"]
    assert found["sameAs"] == {"eventId": str(event), "status": "QUEUED"}
    assert found["deliveries"] == []
    other = reader("POST", PATH, shipped(ada, metadata=METADATA | {"orderId": "ORD2"}), Idempotency_Key="a")
    assert (other.status, other.code) == (409, "IDEMPOTENCY_CONFLICT")


def test_a_bad_trigger_is_answered_as_a_trigger_is(reader: Caller, ada: User) -> None:
    assert reader("POST", PATH, {"eventType": "ORDER_LOST"}).fields.keys() == {"eventType"}
    assert reader("POST", PATH, shipped(ada, metadata={"orderId": "A"})).fields == {"metadata.trackingUrl": "Required."}
    unknown = shipped(ada) | {"userId": "01920000-0000-7000-8000-0000000000ff"}
    assert (reader("POST", PATH, unknown).status, reader("POST", PATH, unknown).code) == (404, "UNKNOWN_USER")


def test_a_key_is_checked_though_the_header_has_another(reader: Caller, ada: User) -> None:
    answer = reader("POST", PATH, shipped(ada, idempotencyKey="k" * 256), Idempotency_Key="a")

    assert (answer.status, list(answer.fields)) == (400, ["idempotencyKey"])


def test_it_takes_the_scope_read(caller: Callable[..., Caller], ada: User) -> None:
    assert caller("trigger")("POST", PATH, shipped(ada)).status == 403
