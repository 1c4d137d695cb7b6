from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group

from preferences import resolve
from preferences.models import Device, Preference, SuppressedAddress, User
from preferences.resolve import Recipient

pytestmark = pytest.mark.django_db


def who(choices: dict[tuple[str, str], bool]) -> Recipient:
    return Recipient(user_id=None, locale="en", time_zone="UTC", addresses={}, choices=choices)


@pytest.mark.parametrize(
    ("choices", "allowed"),
    [
        ({}, True),
        ({("SHIPPED", "SMS"): False}, False),
        ({("PACKED", "SMS"): False, ("SHIPPED", "EMAIL"): False}, True),
        ({("", "SMS"): False}, False),
        ({("SHIPPED", ""): False}, False),
        ({("", ""): False}, False),
        ({("", "SMS"): False, ("SHIPPED", "SMS"): True}, True),
        ({("SHIPPED", ""): False, ("SHIPPED", "SMS"): True}, True),
        ({("", ""): False, ("", "SMS"): True}, True),
        ({("", ""): False, ("SHIPPED", ""): True}, True),
        ({("", "SMS"): True, ("SHIPPED", ""): False}, False),
        ({("", "SMS"): False, ("SHIPPED", ""): True}, False),
        ({("", "SMS"): True, ("SHIPPED", "SMS"): False}, False),
    ],
)
def test_a_specific_choice_beats_a_general_one(choices: dict[tuple[str, str], bool], allowed: bool) -> None:
    assert who(choices).allows("SHIPPED", "SMS") is allowed


def test_people_are_loaded_with_addresses_and_choices() -> None:
    ada = User.objects.create_user(
        email="Ada@mail.example", phone="+49 151 12345678", locale="de", time_zone="Europe/Berlin"
    )
    phones = [Device.objects.create(user=ada, token=f"t{i}") for i in range(2)]
    Preference.objects.create(user=ada, channel="SMS", enabled=False)
    SuppressedAddress.objects.create(kind="email", address="ada@mail.example", reason="INVALID")

    recipient = resolve.load([ada.id])[ada.id]

    assert (recipient.user_id, recipient.locale, recipient.time_zone) == (ada.id, "de", "Europe/Berlin")
    (email,), (phone,), devices = (recipient.addresses[kind] for kind in ("email", "phone", "device"))
    assert (email.value, email.suppressed) == ("Ada@mail.example", True)
    assert (phone.value, phone.suppressed) == ("+4915112345678", False)
    assert {(device.value, device.id) for device in devices} == {(p.token, str(p.id)) for p in phones}
    assert recipient.addresses["user"][0].value == str(ada.id)
    assert not recipient.allows("ORDER_SHIPPED", "SMS")
    assert recipient.allows("ORDER_SHIPPED", "EMAIL")


def test_a_person_without_addresses_has_only_an_inbox() -> None:
    user = User.objects.create_user()

    addresses = resolve.load([user.id])[user.id].addresses

    assert {kind for kind, some in addresses.items() if some} == {"user"}


def test_who_is_unknown_or_inactive_is_absent() -> None:
    gone = User.objects.create_user(is_active=False)

    assert resolve.load([gone.id, uuid4()]) == {}
    assert resolve.existing([gone.id, uuid4()]) == set()
    assert resolve.load([]) == {}


def test_many_people_take_as_many_queries_as_one(django_assert_num_queries: Callable[..., Any]) -> None:
    users = [User.objects.create_user(email=f"u{i}@mail.example", phone="+4915112345678") for i in range(20)]

    for some in (users[:1], users):
        with django_assert_num_queries(1):
            assert len(resolve.load([user.id for user in some])) == len(some)


def test_guests_are_reached_by_what_they_gave(django_assert_num_queries: Callable[..., Any]) -> None:
    resolve.mark_invalid("phone", "+4915112345678")
    with django_assert_num_queries(1):
        first, second = resolve.guests(
            [{"email": "a@mail.example", "locale": "de", "timeZone": "Europe/Berlin"}, {"phone": "+4915112345678"}]
        )

    assert (first.user_id, first.locale, first.time_zone) == (None, "de", "Europe/Berlin")
    assert [address.value for address in first.addresses["email"]] == ["a@mail.example"]
    assert (second.locale, second.time_zone) == ("en", "UTC")
    assert second.addresses["phone"][0].suppressed
    assert not any(guest.addresses[kind] for guest in (first, second) for kind in ("device", "user"))
    assert resolve.guest({"email": "a@mail.example"}).allows("ORDER_PLACED", "EMAIL")


def test_the_members_of_a_group_are_its_active_staff() -> None:
    group = Group.objects.create(name="night-watch")
    staff = User.objects.create_user("staff", is_staff=True)
    for user in (staff, User.objects.create_user(), User.objects.create_user("gone", is_staff=True, is_active=False)):
        user.groups.add(group)
    User.objects.create_user("other", is_staff=True)

    assert resolve.members("night-watch") == [staff.id]
    assert resolve.members("nobody") == []


def test_an_invalid_address_is_not_used_again() -> None:
    ada = User.objects.create_user(email="ada@mail.example")
    Device.objects.create(user=ada, token="dead")
    Device.objects.create(user=ada, token="alive")

    for _ in range(2):
        resolve.mark_invalid("email", "ADA@mail.example")
        resolve.mark_invalid("device", "dead")

    addresses = resolve.load([ada.id])[ada.id].addresses
    assert [(a.value, a.suppressed) for a in addresses["email"]] == [("ada@mail.example", True)]
    assert [a.value for a in addresses["device"]] == ["alive"]
    assert SuppressedAddress.objects.get().reason == "INVALID"


def test_an_opt_out_stays_an_opt_out() -> None:
    SuppressedAddress.objects.create(kind="phone", address="+4915112345678", reason="OPTED_OUT")

    resolve.mark_invalid("phone", "+4915112345678")
    resolve.mark_valid("phone", ["+4915112345678"])

    assert SuppressedAddress.objects.get().reason == "OPTED_OUT"
