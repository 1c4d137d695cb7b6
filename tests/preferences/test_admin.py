from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse
from pytest_django.fixtures import Settings

from preferences.models import Device, Preference, SuppressedAddress, User

pytestmark = pytest.mark.django_db
ADD = reverse("admin:preferences_user_add")


@pytest.fixture
def staff(settings: Settings, client: Client) -> Client:
    settings.WHITENOISE_AUTOREFRESH = True  # no collectstatic in tests
    client.force_login(User.objects.create_superuser("root"))
    return client


def inlines(**rows: dict[str, Any]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for name in ("devices", "preferences"):
        row = rows.get(name)
        data |= {f"{name}-TOTAL_FORMS": int(row is not None), f"{name}-INITIAL_FORMS": 0}
        data |= {f"{name}-0-{field}": value for field, value in (row or {}).items()}
    return data


def errors(answer: Any) -> dict[str, Any]:
    return dict(answer.context["adminform"].form.errors)


def test_a_customer_is_made_with_clean_addresses(staff: Client) -> None:
    answer = staff.post(
        ADD,
        {
            "email": "ada@mail.example",
            "phone": "+49 (151) 123 456 78",
            "locale": "de_AT",
            "time_zone": "Europe/Vienna",
            "usable_password": "false",
            **inlines(),
        },
    )

    assert answer.status_code == 302, errors(answer)
    ada = User.objects.get(email="ada@mail.example")
    assert (ada.username, ada.phone, ada.locale) == (None, "+4915112345678", "de-AT")
    assert not ada.has_usable_password()


@pytest.mark.parametrize(
    ("field", "value"), [("phone", "0151"), ("email", "nobody"), ("locale", "xx-YY"), ("time_zone", "Mars")]
)
def test_a_wrong_address_is_refused(staff: Client, field: str, value: str) -> None:
    good = {"locale": "de", "time_zone": "UTC", "usable_password": "false", **inlines()}

    answer = staff.post(ADD, good | {field: value})

    assert answer.status_code == 200
    assert list(errors(answer)) == [field]


def test_a_person_is_shown_with_devices_and_choices_and_edited(staff: Client) -> None:
    ada = User.objects.create_user(email="ada@mail.example")
    path = reverse("admin:preferences_user_change", args=[ada.id])

    answer = staff.post(
        path,
        {
            "email": "new@mail.example",
            "phone": "",
            "locale": "de",
            "time_zone": "UTC",
            "is_active": "on",
            "username": "",
            **inlines(
                devices={"platform": "ios", "token": "t", "user": ada.id},
                preferences={"channel": "SMS", "event_type": "", "user": ada.id},
            ),
        },
    )

    assert answer.status_code == 302, errors(answer)
    ada.refresh_from_db()
    assert (ada.email, ada.username) == ("new@mail.example", None)
    assert Device.objects.get().user == ada
    assert (Preference.objects.get().channel, Preference.objects.get().enabled) == ("SMS", False)
    assert staff.get(path).status_code == 200


@pytest.mark.parametrize("term", ["{ada.id}", "ada@mail.example", "+49 151 12345678", "ada"])
def test_a_person_is_found_by_what_is_known_of_them(staff: Client, term: str) -> None:
    ada = User.objects.create_user("ada", email="ada@mail.example", phone="+4915112345678")
    other = User.objects.create_user(email="b@mail.example")
    path = reverse("admin:preferences_user_changelist")

    page = staff.get(path, {"q": term.format(ada=ada)}).content.decode()

    assert str(ada.id) in page
    assert str(other.id) not in page
    assert str(other.id) in staff.get(path, {"q": " "}).content.decode()


def test_every_page_opens(staff: Client) -> None:
    ada = User.objects.create_user()
    Preference.objects.create(user=ada, channel="SMS", enabled=False)
    SuppressedAddress.objects.create(kind="email", address="a@mail.example", reason="INVALID")
    Group.objects.get_or_create(name="operations")
    for model in (User, Preference, SuppressedAddress, Group):
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        row = model._default_manager.last()
        assert row is not None
        for path in (reverse(f"{name}_changelist"), reverse(f"{name}_add"), reverse(f"{name}_change", args=[row.pk])):
            assert staff.get(path).status_code == 200
    assert staff.get(reverse("admin:index")).status_code == 200


@pytest.mark.parametrize(
    ("kind", "typed", "kept"),
    [("email", "Ada@Mail.example", "ada@mail.example"), ("phone", "+49 151 12345678", "+4915112345678")],
)
def test_an_address_is_suppressed_in_the_form_that_is_looked_for(
    staff: Client, kind: str, typed: str, kept: str
) -> None:
    add = reverse("admin:preferences_suppressedaddress_add")

    answer = staff.post(add, {"kind": kind, "address": typed, "reason": "OPTED_OUT"})
    again = staff.post(add, {"kind": kind, "address": typed, "reason": "OPTED_OUT"})
    wrong = staff.post(add, {"kind": kind, "address": "nobody", "reason": "OPTED_OUT"})

    assert answer.status_code == 302, errors(answer)
    assert "already exists" in str(errors(again))
    assert list(errors(wrong)) == ["address"]
    assert list(SuppressedAddress.objects.values_list("address", flat=True)) == [kept]


def test_a_suppression_needs_an_address(staff: Client) -> None:
    answer = staff.post(reverse("admin:preferences_suppressedaddress_add"), {"kind": "email", "reason": "OPTED_OUT"})

    assert errors(answer) == {"address": ["This field is required."]}
