"""Who is named in the history: a key, a member of staff, a customer, a command."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.test import Client, RequestFactory
from django.urls import reverse
from pytest_django.fixtures import DjangoAssertNumQueries, Settings

from notifier.callers import Callers, caller
from notifier.models import ApiKey
from preferences import tokens
from preferences.models import Change, Preference, User
from preferences.tokens import Purpose
from tests.processes import ROOT, database_url

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _no_collected_files(settings: Settings) -> None:
    settings.WHITENOISE_AUTOREFRESH = True


@pytest.fixture
def ada() -> User:
    return User.objects.create_user(email="ada@mail.example", phone="+4915112345678")


@pytest.fixture
def shop() -> tuple[str, dict[str, str]]:
    """A key's prefix, and the headers of a call with it."""
    row, key = ApiKey.issue("counter", ApiKey.SCOPES, source="shop")
    return row.prefix, {"Authorization": f"Api-Key {key}", "X-Request-ID": "req-7"}


def test_a_call_is_its_keys(client: Client, ada: User, shop: tuple[str, dict[str, str]]) -> None:
    prefix, headers = shop
    choice = {"userId": str(ada.id), "channel": "SMS", "enabled": False}
    for _ in range(2):
        client.post("/notifications/preferences", choice, "application/json", headers=headers)
        choice["enabled"] = True
    client.put(f"/notifications/users/{ada.id}", {"email": "new@mail.example"}, "application/json", headers=headers)

    changes = Change.objects.filter(actor_kind="API_KEY").order_by("id")
    assert [(change.kind, change.action) for change in changes] == [
        ("PREFERENCE", "INSERT"), ("PREFERENCE", "UPDATE"), ("PERSON", "UPDATE"),
    ]  # fmt: skip
    assert {change.actor for change in changes} == {prefix}
    assert changes[0].origin == {
        "ip": "127.0.0.1", "requestId": "req-7", "source": "shop", "page": "notifications/preferences",
    }  # fmt: skip


def test_a_request_id_that_is_none_is_left_out(rf: RequestFactory) -> None:
    for strange in ("", "a b", "x" * 101):
        assert caller(rf.get("/", headers={"X-Request-ID": strange})).origin == {"ip": "127.0.0.1"}


def test_an_erasure_is_recorded_and_leaves_no_address(
    client: Client, ada: User, shop: tuple[str, dict[str, str]]
) -> None:
    prefix, headers = shop
    assert client.delete(f"/notifications/users/{ada.id}", headers=headers).status_code == 204

    assert "ada@mail.example" not in str(list(Change.objects.values()))
    told = Change.objects.filter(person_id=ada.id).order_by("id").values_list("action", "actor_kind", "actor")
    assert list(told) == [
        ("INSERT", "ENGINE", ""),
        ("UPDATE", "API_KEY", prefix),  # no longer active
        ("DELETE", "API_KEY", prefix),
        ("BLANK", "API_KEY", prefix),
    ]


def test_a_change_in_the_admin_is_its_staff_members(client: Client) -> None:
    client.force_login(User.objects.create_superuser("root"))
    client.post(reverse("admin:auth_group_add"), {"name": "night-watch"})

    assert Group.objects.filter(name="night-watch").exists()
    change = Change.objects.get(kind="GROUP", after__name="night-watch")
    assert (change.actor_kind, change.actor) == ("STAFF", "root")
    assert change.origin == {"ip": "127.0.0.1", "page": "admin/auth/group/add/"}


def test_a_customer_is_named_by_their_token(client: Client, ada: User) -> None:
    choice = {"userId": str(ada.id), "channel": "SMS", "enabled": False}
    headers = {"Authorization": f"Bearer {tokens.make(ada.id.hex, Purpose.API)}"}
    assert client.post("/notifications/preferences", choice, "application/json", headers=headers).status_code == 200

    told = Change.objects.filter(kind="PREFERENCE").values_list("actor_kind", "actor", "origin").get()
    assert told == ("CUSTOMER", str(ada.id), {"ip": "127.0.0.1", "page": "notifications/preferences"})


def test_a_customer_is_named_by_their_link_which_is_not_written_down(client: Client, ada: User) -> None:
    token = tokens.make(f"{ada.id.hex}-ORDER_SHIPPED", Purpose.USER)
    assert client.post(f"/unsubscribe/{token}", {"List-Unsubscribe": "One-Click"}).status_code == 200
    assert client.post(f"/preferences/{token}", {"locale": "de", "time_zone": "Europe/Berlin"}).status_code == 303

    told = Change.objects.filter(person_id=ada.id, actor_kind="CUSTOMER").order_by("id")
    assert {change.actor for change in told} == {str(ada.id)}
    assert {change.kind for change in told} >= {"PREFERENCE", "PERSON"}
    assert {change.origin["page"] for change in told} == {"unsubscribe/<str:token>", "preferences/<str:token>"}  # type: ignore[index] # JSON


def test_whoever_comes_without_a_key_or_token_has_no_name(rf: RequestFactory, ada: User) -> None:
    Callers(lambda _: Preference.objects.create(user=ada, enabled=False))(rf.post("/"))  # type: ignore[arg-type, return-value] # no answer

    told = Change.objects.filter(kind="PREFERENCE").values_list("actor_kind", "actor", "origin").get()
    assert told == ("CUSTOMER", "", {"ip": "127.0.0.1"})


def test_a_trigger_pays_nothing(
    client: Client, ada: User, shop: tuple[str, dict[str, str]], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """The key and its use, the user, the insert; the second one has no use to note."""
    body = {"eventType": "ORDER_PACKED", "userId": str(ada.id), "metadata": {"orderId": "ORD1"}}
    for queries in (4, 3):
        with django_assert_num_queries(queries):
            client.post("/notifications/trigger", body, "application/json", headers=shop[1])


@pytest.mark.django_db(transaction=True)
def test_a_command_is_named_with_its_login() -> None:
    command = [sys.executable, "manage.py", "create_api_key", "counter", "--scope", "read"]
    environment = {**os.environ, "DATABASE_URL": database_url(), "USER": "ops", "SUDO_USER": ""}
    connection.close()
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)

    change = Change.objects.get(kind="API_KEY")
    assert (change.actor_kind, change.actor, change.origin) == ("COMMAND", "create_api_key", {"login": "ops"})
