"""The admin's form that explains: what it takes, what it refuses, and what it shows."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
import pytest
from django.contrib.auth.models import Group, Permission
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import Settings

from notifier.catalogue import event_types
from preferences.models import Preference, User
from tests import engine
from tests.access.test_matrix import changes
from tests.letters import make_event
from tests.sandbox_process import Sandbox

pytestmark = pytest.mark.django_db

PAGE = reverse("admin:notifier_notificationevent_explain")
SAMPLE = event_types()["ORDER_SHIPPED"].sample


@pytest.fixture
def staff(settings: Settings, client: Client, sandbox: Sandbox) -> Client:
    """May see events, and nothing else."""
    settings.WHITENOISE_AUTOREFRESH = True  # no collectstatic in tests
    reader = User.objects.create_user("reader", is_staff=True)
    reader.user_permissions.add(Permission.objects.get(codename="view_notificationevent"))
    client.force_login(reader)
    return client


@pytest.fixture
def ada() -> User:
    ada = User.objects.create_user(email="ada@mail.example", phone="+4915112345678")
    Preference.objects.create(user=ada, channel="SMS", enabled=False)
    return ada


def asked(client: Client, event_type: str = "ORDER_SHIPPED", metadata: Any = SAMPLE, **fields: str) -> str:
    text = metadata if isinstance(metadata, str) else orjson.dumps(metadata).decode()
    answer = client.post(PAGE, {"event_type": event_type, "metadata": text, **fields})
    assert answer.status_code == 200
    return str(answer.content.decode())


@pytest.mark.parametrize("term", ["{ada.id}", "ada@mail.example", " +49 151 12345678"])
def test_a_customer_is_found_and_told_of(staff: Client, ada: User, term: str) -> None:
    before = changes()
    page = asked(staff, user=term.format(ada=ada))

    assert changes() == before
    assert f"Order shipped, for user {ada.id}" in page
    assert "2 now, 2 not sent" in page
    for shown in (
        "To a•••@mail.example, at once",
        "<strong>OPTED_OUT</strong>: its recipient turned off everything by SMS",
        "<strong>NO_ADDRESS</strong>: no device with the app is known",
        "To the inbox, at once",
        "If EMAIL fails: not SMS (OPTED_OUT)",
        "SHP-77120",
    ):
        assert shown in page
    assert "ada@mail.example, at" not in page, "addresses are masked"


def test_a_guest_is_told_of(staff: Client) -> None:
    page = asked(staff, "ORDER_PLACED", email="guest@mail.example", phone="+49 151 12345678", locale="de")

    assert "Order placed, for a guest" in page
    assert "If EMAIL fails, or has not gone out 300 s after it was due: SMS" in page
    assert "Only if EMAIL fails" in page


def test_staff_are_told_of_or_that_there_are_none(staff: Client) -> None:
    sample = event_types()["FRAUD_ALERT"].sample
    assert "Nobody would get it" in asked(staff, "FRAUD_ALERT", sample)
    bea = User.objects.create_user("bea", email="bea@shop.example", is_staff=True)
    bea.groups.add(Group.objects.get_or_create(name="fraud")[0])

    assert f"for user {bea.id}" in asked(staff, "FRAUD_ALERT", sample)


def test_what_is_held_says_until_when(staff: Client) -> None:
    now = timezone.now()
    hour = timedelta(hours=1)
    sleeper = User.objects.create_user(
        "sleeper", email="s@mail.example", quiet_from=(now - hour).time(), quiet_until=(now + hour).time()
    )
    page = asked(staff, user="sleeper")

    assert f"held until {timezone.localtime(now + hour):%Y-%m-%d %H:}" in page
    assert "<strong>QUIET_HOURS</strong>: quiet hours from" in page
    assert str(sleeper.id) in page


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"user": "nobody@mail.example"}, "No active user has this id, email, phone or username."),
        ({"user": "twin@mail.example"}, "Several have it. Give the id: "),
        ({}, "Give either userId or recipient."),
        ({"email": "guest"}, "Not an email address."),
        ({"phone": "0151"}, "Not a phone number with its country code"),
        ({"email": "a@b.example", "metadata": "{"}, "Enter a valid JSON."),
        ({"email": "a@b.example", "metadata": '{"orderId": "A"}'}, "trackingUrl: Required."),
        ({"email": "a@b.example", "metadata": "[1]"}, "Must be of type object."),
        ({"email": "a@b.example", "event_type": "ORDER_LOST"}, "Select a valid choice."),
        ({"email": "a@b.example", "event_type": "FRAUD_ALERT"}, "leave this out."),
    ],
)
def test_what_is_wrong_stands_at_its_field(staff: Client, fields: dict[str, str], told: str) -> None:
    for _ in range(2):
        User.objects.create_user(email="twin@mail.example")
    page = asked(staff, **({"event_type": "ORDER_SHIPPED"} | fields))

    assert told in page
    assert 'id="found"' not in page


def test_the_form_begins_with_a_sample_or_an_event(staff: Client, ada: User) -> None:
    fresh = staff.get(PAGE).context["form"].initial
    assert fresh["event_type"] in event_types()
    assert fresh["metadata"] == event_types()[fresh["event_type"]].sample
    event = make_event(user=ada, metadata=SAMPLE)
    again = staff.get(PAGE, {"event": str(event.id)}).context["form"].initial
    assert (again["event_type"], again["metadata"], again["user"]) == ("ORDER_SHIPPED", SAMPLE, ada.id)
    of_guest = make_event(recipient={"email": "g@mail.example", "timeZone": "UTC"})
    page = staff.get(PAGE, {"event": str(of_guest.id)}).context["form"].initial
    assert (page["email"], page["time_zone"], page["user"]) == ("g@mail.example", "UTC", "")
    assert staff.get(PAGE, {"event": "what"}).context["form"].initial == fresh


def test_an_event_leads_there(staff: Client, ada: User) -> None:
    event = engine.trigger("ORDER_SHIPPED", ada.id, metadata=dict(SAMPLE))
    page = staff.get(reverse("admin:notifier_notificationevent_change", args=[event])).content.decode()

    assert f'href="{PAGE}?event={event}"' in page


def test_no_script_stands_in_the_page(staff: Client) -> None:
    answer = staff.get(PAGE)

    assert 'src="/static/notifier/explain.js"' in answer.content.decode()
    assert "unsafe-inline" not in answer["Content-Security-Policy"].partition("script-src")[2].partition(";")[0]


def active(client: Client, path: str) -> list[str]:
    groups = client.get(path).context["sidebar_navigation"]
    return [str(item["title"]) for group in groups for item in group["items"] if item["active"]]


def test_the_sidebar_shows_where_one_is(staff: Client) -> None:
    assert active(staff, PAGE) == ["Explain"]
    assert active(staff, reverse("admin:notifier_notificationevent_changelist")) == ["Events"]
    assert active(staff, reverse("admin:index")) == []
