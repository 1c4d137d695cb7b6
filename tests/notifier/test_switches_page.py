"""The admin's page of switches: who may switch what, and what it says."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from pytest_django.fixtures import Settings

from notifier.doctor import of_work
from notifier.models import EndedPause, Pause, Rollout
from preferences.models import Change, User
from tests.sandbox_process import Sandbox

pytestmark = pytest.mark.django_db

PAGE = reverse("admin:notifier_pause_changelist")
SMS = {"kind": "CHANNEL", "name": "SMS"}


@pytest.fixture
def page(settings: Settings, client: Client, sandbox: Sandbox) -> Client:
    settings.WHITENOISE_AUTOREFRESH = True  # no collectstatic in tests
    return client


def staff(client: Client, *permissions: str) -> Client:
    member = User.objects.create_user("operator", is_staff=True)
    member.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client.force_login(member)
    return client


def test_what_is_paused_stands_on_the_page_and_above_every_other(page: Client) -> None:
    staff(page, "view_pause", "change_pause")
    page.post(PAGE, {**SMS, "reason": "twilio is slow", "on": "1"})
    shown = page.get(PAGE).content.decode()
    assert "twilio is slow" in shown
    assert "SMS is paused" in shown
    assert "Paused: SMS" in page.get(reverse("admin:index")).content.decode()
    (finding,) = of_work.pauses()
    assert "Channel SMS since" in finding.found
    change = Change.objects.get(kind="PAUSE")
    assert (change.actor_kind, change.actor) == ("STAFF", "operator")

    page.post(PAGE, SMS)
    assert not Pause.objects.exists()
    assert EndedPause.objects.count() == 1
    assert "Paused: SMS" not in page.get(reverse("admin:index")).content.decode()


def test_who_only_looks_switches_nothing(page: Client) -> None:
    staff(page, "view_pause")
    shown = page.get(PAGE).content.decode()
    assert 'name="on"' not in shown
    assert ">Save" not in shown
    assert page.post(PAGE, {**SMS, "on": "1"}).status_code == 403
    assert page.post(PAGE, {"channel": "SMS", "SMS-percent": "10"}).status_code == 403
    assert not Pause.objects.exists()
    assert not Rollout.objects.exists()


def test_a_name_that_there_is_not_is_told(page: Client) -> None:
    staff(page, "view_pause", "change_pause")
    shown = page.post(PAGE, {"kind": "CHANNEL", "name": "FAX", "on": "1"}).content.decode()
    assert "There is no channel FAX" in shown
    assert not Pause.objects.exists()


def test_a_channel_is_brought_in(page: Client) -> None:
    staff(page, "view_pause", "change_rollout")
    ada = User.objects.create_user(email="ada@mail.example", phone="+4915112345678")
    ben = User.objects.create_user()
    named = f"ada@mail.example\n{ben.id}\n+49 151 12345678\n"
    assert page.post(PAGE, {"channel": "SMS", "SMS-percent": "10", "SMS-users": named}).status_code == 302
    row = Rollout.objects.get()
    assert (row.id, row.percent, row.users) == ("SMS", 10, sorted([ada.id, ben.id]))
    assert str(ada.id) in page.get(PAGE).content.decode()

    page.post(PAGE, {"channel": "SMS", "SMS-percent": "100"})
    assert not Rollout.objects.exists()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"SMS-percent": "101"}, "less than or equal to 100"),
        ({"SMS-percent": "10", "SMS-users": "nobody@mail.example"}, "Nobody active has: nobody@mail.example"),
    ],
)
def test_a_wrong_share_is_refused_at_its_field(page: Client, fields: dict[str, str], said: str) -> None:
    staff(page, "view_pause", "change_rollout")
    assert said in page.post(PAGE, {"channel": "SMS", **fields}).content.decode()
    assert not Rollout.objects.exists()
