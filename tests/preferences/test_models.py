from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import authenticate
from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.test import RequestFactory

from preferences.addresses import clean_email, clean_locale, clean_phone, clean_time_zone, region_of
from preferences.models import Device, Preference, SuppressedAddress, User

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("given", "kept"),
    [("+49 151 12345678", "+4915112345678"), ("+1 (415) 555-2671", "+14155552671"), ("+442079460958", "+442079460958")],
)
def test_a_phone_number_is_kept_in_e164(given: str, kept: str) -> None:
    assert clean_phone(given) == kept
    assert User.objects.create_user(phone=given).phone == kept


@pytest.mark.parametrize(
    ("phone", "region"),
    [
        ("+4915112345678", "DE"),
        ("+14155552671", "US"),
        ("+15146669999", "CA"),  # one country code, several countries
        ("+881612345678", ""),  # a satellite phone
        ("12345", ""),
    ],
)
def test_a_numbers_country(phone: str, region: str) -> None:
    assert region_of(phone) == region


@pytest.mark.parametrize("given", ["0151 12345678", "+49", "+999 123 456 789", "phone", "+1 555", ""])
def test_what_is_no_phone_number_is_refused(given: str) -> None:
    with pytest.raises(ValidationError):
        clean_phone(given)


@pytest.mark.parametrize(("given", "kept"), [("de", "de"), ("de_AT", "de-AT"), ("zh-Hant-TW", "zh-Hant-TW")])
def test_a_locale_is_kept_as_a_tag(given: str, kept: str) -> None:
    assert clean_locale(given) == kept
    assert User.objects.create_user(locale=given).locale == kept


@pytest.mark.parametrize("given", ["", "klingon", "xx-YY", "de;drop"])
def test_what_is_no_locale_is_refused(given: str) -> None:
    with pytest.raises(ValidationError):
        clean_locale(given)


def test_an_email_address_is_checked() -> None:
    assert clean_email(" ada@mail.example ") == "ada@mail.example"
    for wrong in ("ada", "ada@", "a b@mail.example", f"ada@{'x' * 260}.example"):
        with pytest.raises(ValidationError, match="Not an email address"):
            clean_email(wrong)


def test_a_time_zone_has_an_iana_name() -> None:
    assert clean_time_zone("America/Argentina/Buenos_Aires") == "America/Argentina/Buenos_Aires"
    for wrong in ("CEST", "+02:00", "../etc/passwd"):
        with pytest.raises(ValidationError):
            clean_time_zone(wrong)


@pytest.mark.parametrize(
    "fields",
    [{"email": "ada"}, {"phone": "1"}, {"locale": "xx-YY"}, {"time_zone": "Berlin"}, {"username": "x" * 151}],
)
def test_a_wrong_user_is_not_saved(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        User.objects.create_user(**fields)

    assert list(caught.value.message_dict) == list(fields)
    assert not User.objects.exists()


def test_a_customer_has_no_password_and_cannot_log_in(rf: RequestFactory) -> None:
    customers = [User.objects.create_user(email="shared@mail.example") for _ in range(2)]

    assert [customer.username for customer in customers] == [None, None]
    assert not customers[0].has_usable_password()
    assert str(customers[0]) == str(customers[0].id)
    assert authenticate(rf.post("/admin/login/"), username="", password="") is None


def test_staff_log_in_by_username(rf: RequestFactory) -> None:
    root = User.objects.create_superuser("root", "open sesame")

    assert authenticate(rf.post("/admin/login/"), username="root", password="open sesame") == root
    assert (root.is_staff, root.is_superuser, str(root)) == (True, True, "root")


@pytest.mark.parametrize(
    "rows",
    [
        [User(is_staff=True)],
        [User(phone="0151")],
        [User(username="a"), User(username="a")],
        [SuppressedAddress(kind="email", address="a", reason="INVALID") for _ in range(2)],
    ],
)
def test_the_database_holds_the_rules(rows: list[Any]) -> None:
    with pytest.raises(IntegrityError):
        type(rows[0]).objects.bulk_create(rows)


def test_a_choice_and_a_token_are_unique() -> None:
    user = User.objects.create_user()
    device = Device.objects.create(user=user, token="t", platform="ios")
    choice = Preference.objects.create(user=user, channel="SMS", enabled=False)

    assert str(device) == f"ios {device.id}"
    assert str(choice) == "everything by SMS: off"
    assert str(Preference(event_type="ORDER_PACKED", enabled=True)) == "ORDER_PACKED by any channel: on"
    assert str(SuppressedAddress(kind="email", reason="INVALID")) == "email INVALID"
    for copy in (Device(user=user, token="t"), Preference(user=user, channel="SMS", enabled=True)):
        with pytest.raises(ValidationError):
            copy.full_clean()
