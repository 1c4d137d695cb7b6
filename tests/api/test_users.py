from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from channels.models import InboxMessage
from notifier.models import NotificationEvent
from preferences import resolve
from preferences.models import Device, SuppressedAddress, User
from tests.api.conftest import Caller


def path(user_id: object) -> str:
    return f"/notifications/users/{user_id}"


def test_a_new_person_is_saved(api: Caller) -> None:
    user_id = uuid4()

    answer = api("PUT", path(user_id), {"email": "ada@mail.example", "phone": "+49 (151) 12345678"})

    assert answer.status == 201
    assert answer.body == {
        "userId": str(user_id),
        "email": "ada@mail.example",
        "phone": "+4915112345678",
        "locale": "en",
        "timeZone": "UTC",
    }
    user = User.objects.get(id=user_id)
    assert (user.username, user.is_active, user.is_staff) == (None, True, False)
    assert not user.has_usable_password()


def test_what_is_given_is_merged_and_null_clears(api: Caller, ada: User) -> None:
    answer = api("PUT", path(ada.id), {"phone": None, "locale": None, "timeZone": "Europe/Berlin"})

    assert (answer.status, answer.body["email"]) == (200, "ada@mail.example")
    ada.refresh_from_db()
    assert (ada.email, ada.phone, ada.locale, ada.time_zone) == ("ada@mail.example", "", "en", "Europe/Berlin")


def test_staff_stay_staff(api: Caller) -> None:
    staff = User.objects.create_superuser("root", "secret", email="root@shop.example")

    api("PUT", path(staff.id), {"email": "new@shop.example"})

    staff.refresh_from_db()
    assert (staff.email, staff.username, staff.is_superuser) == ("new@shop.example", "root", True)
    assert staff.check_password("secret")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"email": "nobody"}, "email"),
        ({"email": f"{'x' * 250}@mail.example"}, "email"),
        ({"email": ["a@b.example"]}, "email"),
        ({"phone": "0151 12345678"}, "phone"),
        ({"phone": "+49 151"}, "phone"),
        ({"phone": "call me"}, "phone"),
        ({"locale": "tlh-XX"}, "locale"),
        ({"locale": ""}, "locale"),
        ({"timeZone": "Berlin"}, "timeZone"),
        ({"mail": "ada@mail.example"}, "mail"),
        ({"is_staff": True}, "is_staff"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_saved(api: Caller, body: dict[str, Any], field: str) -> None:
    user_id = uuid4()

    answer = api("PUT", path(user_id), {"locale": "de"} | body)

    assert (answer.status, answer.code, list(answer.fields)) == (400, "INVALID", [field])
    assert not User.objects.filter(id=user_id).exists()


def test_a_changed_address_counts_as_valid_again_unless_its_owner_said_stop(api: Caller, ada: User) -> None:
    resolve.mark_invalid("email", "New@Mail.example")
    SuppressedAddress.objects.create(kind="phone", address="+4915112345679", reason="OPTED_OUT")

    api("PUT", path(ada.id), {"email": "new@mail.example", "phone": "+4915112345679"})

    (email,), (phone,) = (resolve.load([ada.id])[ada.id].addresses[kind] for kind in ("email", "phone"))
    assert (email.suppressed, phone.suppressed) == (False, True)


def test_the_same_address_given_again_stays_invalid(api: Caller, ada: User) -> None:
    resolve.mark_invalid("email", ada.email)

    api("PUT", path(ada.id), {"email": ada.email, "locale": "en"})

    assert resolve.load([ada.id])[ada.id].addresses["email"][0].suppressed


def test_many_are_saved_and_a_wrong_one_stops_no_other(api: Caller, ada: User) -> None:
    new = str(uuid4())
    users: list[Any] = [
        {"userId": str(ada.id), "locale": "en"},
        {"userId": new, "email": "b@mail.example"},
        {"userId": str(uuid4()), "email": "nobody"},
        {"email": "c@mail.example"},
        {"userId": new, "phone": "+4915112345678"},
        {"userId": "7", "fax": "1"},
    ]

    answer = api("POST", "/notifications/users/bulk", {"users": users})

    results = answer.body["results"]
    assert [result["status"] for result in results] == [
        "UPDATED", "CREATED", "REFUSED", "REFUSED", "UPDATED", "REFUSED",
    ]  # fmt: skip
    assert [list(result["error"]["fields"]) for result in results if "error" in result] == [
        ["email"], ["userId"], ["fax"],
    ]  # fmt: skip
    made = User.objects.get(id=new)
    assert (made.email, made.phone) == ("b@mail.example", "+4915112345678")
    assert User.objects.count() == 2


def test_a_thousand_take_few_queries(api: Caller, django_assert_max_num_queries: Callable[..., Any]) -> None:
    users = [{"userId": str(uuid4()), "email": f"u{i}@mail.example"} for i in range(1000)]

    with django_assert_max_num_queries(14):
        answer = api("POST", "/notifications/users/bulk", {"users": users})

    assert answer.status == 200
    assert User.objects.count() == 1000


@pytest.mark.parametrize("users", [[], [{}] * 1001, "x"])
def test_bulk_takes_one_to_a_thousand(api: Caller, users: Any) -> None:
    answer = api("POST", "/notifications/users/bulk", {"users": users})

    assert (answer.status, list(answer.fields)) == (400, ["users"])


def test_a_person_is_forgotten(api: Caller, ada: User) -> None:
    Device.objects.create(user=ada, token="t")
    InboxMessage.objects.create(user_id=ada.id, delivery_id=uuid4(), title="Hello")
    event_id = api(
        "POST",
        "/notifications/trigger",
        {"eventType": "ORDER_PLACED", "userId": str(ada.id), "metadata": {"orderId": "ORD1"}},
    ).body["eventId"]

    assert api("DELETE", path(ada.id)).status == 204

    assert not User.objects.exists()
    assert not Device.objects.exists()
    assert not InboxMessage.objects.exists()
    assert NotificationEvent.objects.get(id=event_id).user_id == ada.id
    assert api("GET", f"/notifications/events/{event_id}").status == 200
    assert api("DELETE", path(ada.id)).status == 404


def test_a_device_comes_and_goes(api: Caller, ada: User) -> None:
    token = "cJ3:APA91b/with-slash_and+plus"

    first = api("PUT", f"{path(ada.id)}/devices/{token}", {"platform": "ios"})
    again = api("PUT", f"{path(ada.id)}/devices/{token}", {})

    device = Device.objects.get()
    assert (first.status, again.status) == (201, 200)
    assert (device.token, device.user_id, device.platform) == (token, ada.id, "android")
    assert first.body["deviceId"] == str(device.id)
    assert [api("DELETE", f"{path(ada.id)}/devices/{token}").status for _ in range(2)] == [204, 204]
    assert not Device.objects.exists()


def test_a_device_belongs_to_whom_it_was_given_last(api: Caller, ada: User) -> None:
    other = User.objects.create_user()
    Device.objects.create(user=other, token="t")

    api("PUT", f"{path(ada.id)}/devices/t", {})

    assert Device.objects.get().user == ada


def test_wrong_devices_are_refused(api: Caller, ada: User) -> None:
    assert api("PUT", f"{path(uuid4())}/devices/t", {}).fields == {"userId": "No such user."}
    assert list(api("PUT", f"{path(ada.id)}/devices/t", {"platform": "fridge"}).fields) == ["platform"]
    assert list(api("PUT", f"{path(ada.id)}/devices/{'t' * 600}", {}).fields) == ["token"]
    assert api("DELETE", f"{path(uuid4())}/devices/t").status == 404
    assert api("DELETE", f"{path(ada.id)}/devices/a%00b").status == 400
