"""What each group of staff may do in the admin, page by page and action by action."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.db.models import Model
from django.test import Client
from django.urls import reverse
from pytest_django.fixtures import Settings

from channels.models import BreakerChange, InboxMessage
from notifier import staff
from notifier.models import Alert, ApiKey, DeadLetter, NotificationEvent, Pause, TemplateVersion
from preferences import resolve
from preferences.models import Change, Preference, SuppressedAddress, User

pytestmark = pytest.mark.django_db

Staff = Callable[..., Client]
SEEN: set[type[Model]] = {
    NotificationEvent, DeadLetter, Pause, Alert, TemplateVersion, BreakerChange, InboxMessage,
    User, Preference, SuppressedAddress, Change,
}  # fmt: skip
CHANGED: dict[str, set[type[Model]]] = {"nobody": set(), "support": set(), "operations": {SuppressedAddress}}


@pytest.fixture
def member(settings: Settings) -> Staff:
    """Logs in somebody of a group; of none for "nobody"."""
    settings.WHITENOISE_AUTOREFRESH = True

    def log_in(group: str, **fields: Any) -> Client:
        user = User.objects.create_user(f"of {group}", is_staff=True, **fields)
        if group != "nobody":
            user.groups.add(Group.objects.get(name=group))
        client = Client()
        client.force_login(user)
        return client

    return log_in


@pytest.mark.parametrize("group", CHANGED)
def test_every_page_refuses_whoever_lacks_the_permission(member: Staff, group: str) -> None:
    client, seen = member(group), SEEN if group != "nobody" else set()
    for model in admin.site._registry:
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        may_add = model in CHANGED[group]
        assert client.get(reverse(f"{name}_changelist")).status_code == (200 if model in seen else 403), name
        assert client.get(reverse(f"{name}_add")).status_code == (200 if may_add else 403), name


def test_whoever_looks_can_change_and_delete_nothing(member: Staff) -> None:
    ada = User.objects.create_user(email="ada@mail.example")
    rows = (ada, Preference.objects.create(user=ada, enabled=False),
            SuppressedAddress.objects.create(kind="email", address="a@mail.example", reason="INVALID"))  # fmt: skip
    client = member("support")
    before = Change.objects.count()

    for row in rows:
        name = f"admin:preferences_{row._meta.model_name}"
        assert client.get(reverse(f"{name}_change", args=[row.pk])).status_code == 200
        assert client.post(reverse(f"{name}_change", args=[row.pk]), {"email": "x@mail.example"}).status_code == 403
        assert client.post(reverse(f"{name}_delete", args=[row.pk]), {"post": "yes"}).status_code == 403
    assert client.get(reverse("admin:auth_user_password_change", args=[ada.pk])).status_code == 403
    assert Change.objects.count() == before


def act(client: Client, model: str, action: str, row: Model) -> None:
    client.post(reverse(f"admin:notifier_{model}_changelist"), {"action": action, "_selected_action": [str(row.pk)]})


@pytest.mark.parametrize(
    ("group", "may"), [("nobody", False), ("support", False), ("operations", True), ("administrators", True)]
)
@pytest.mark.parametrize(
    ("action", "status"), [("discard", "DISCARDED"), ("replay", "REPLAYED"), ("replay_forced", "REPLAYED")]
)
def test_dead_letters_are_closed_by_whoever_may(member: Staff, group: str, may: bool, action: str, status: str) -> None:
    body = b'{"eventType": "ORDER_PLACED", "metadata": {"orderId": "1"}, "recipient": {"email": "a@mail.example"}}'
    letter = DeadLetter.objects.create(cause="INVALID_TRIGGER", source="celery", payload=body)
    act(member(group), "deadletter", action, letter)

    letter.refresh_from_db()
    assert letter.status == (status if may else "OPEN")


def test_what_is_closed_is_not_discarded(member: Staff) -> None:
    letter = DeadLetter.objects.create(cause="INVALID_TRIGGER", payload=b"{}", status="REPLAYED")
    act(member("operations"), "deadletter", "discard", letter)

    assert DeadLetter.objects.get().status == "REPLAYED"
    assert DeadLetter.objects.discard([letter.id]) == 0


def test_the_permission_to_change_is_none_to_send_again(settings: Settings) -> None:
    settings.WHITENOISE_AUTOREFRESH = True
    user = User.objects.create_user("changer", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_deadletter", "change_deadletter"]))
    client = Client()
    client.force_login(user)
    letter = DeadLetter.objects.create(cause="INVALID_TRIGGER", payload=b"{}")
    for action in ("replay", "replay_forced", "discard"):
        act(client, "deadletter", action, letter)

    assert DeadLetter.objects.get().status == "OPEN"


@pytest.mark.parametrize(("group", "may"), [("support", False), ("operations", False), ("administrators", True)])
def test_keys_are_administrators_business(member: Staff, group: str, may: bool) -> None:
    row, key = ApiKey.issue("shop", ["read"])
    client = member(group)
    act(client, "apikey", "revoke", row)

    assert (ApiKey.find(key) is None) is may
    assert (client.get(reverse("admin:notifier_apikey_changelist")).status_code == 200) is may


def test_administrators_may_everything_but_make_a_superuser(member: Staff) -> None:
    client = member("administrators")
    root = User.objects.create_superuser("root")
    for model, model_admin in admin.site._registry.items():
        assert (
            client.get(reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")).status_code == 200
        )
        assert model_admin is not None
    for name in ("admin:preferences_user_change", "admin:preferences_user_delete"):
        assert client.post(reverse(name, args=[root.pk]), {"post": "yes"}).status_code == 403
    assert client.get(reverse("admin:auth_user_password_change", args=[root.pk])).status_code == 403
    own = client.get(reverse("admin:preferences_user_change", args=[User.objects.get(username="of administrators").pk]))
    assert 'name="is_superuser"' not in own.content.decode()
    assert 'name="groups"' in own.content.decode()


def test_whoever_changes_people_gives_no_rights_and_touches_no_staff(settings: Settings) -> None:
    settings.WHITENOISE_AUTOREFRESH = True
    clerk = User.objects.create_user("clerk", is_staff=True)
    clerk.user_permissions.set(Permission.objects.filter(codename__in=["view_user", "change_user", "add_user"]))
    ada, boss = User.objects.create_user(email="ada@mail.example"), User.objects.create_user("boss", is_staff=True)
    client = Client()
    client.force_login(clerk)
    given: dict[str, Any] = {"email": "new@mail.example", "locale": "en", "time_zone": "UTC", "is_active": "on",
                             "is_staff": "on", "is_superuser": "on", "username": "ada",
                             "groups": [str(Group.objects.get(name="administrators").pk)]}  # fmt: skip
    for name in ("devices", "preferences"):
        given |= {f"{name}-TOTAL_FORMS": 0, f"{name}-INITIAL_FORMS": 0}

    assert client.post(reverse("admin:preferences_user_change", args=[ada.pk]), given).status_code == 302
    ada.refresh_from_db()
    assert (ada.email, ada.is_staff, ada.is_superuser, ada.username) == ("new@mail.example", False, False, None)
    assert not ada.groups.exists()
    for other in (boss, clerk):
        assert client.post(reverse("admin:preferences_user_change", args=[other.pk]), given).status_code == 403
    assert client.get(reverse("admin:preferences_user_add")).status_code == 200


def test_the_sidebar_names_what_one_may_see(member: Staff) -> None:
    page = member("support").get(reverse("admin:index")).content.decode()
    assert reverse("admin:preferences_change_changelist") in page
    assert reverse("admin:notifier_apikey_changelist") not in page


def test_every_migrate_gives_groups_what_they_lack_and_takes_nothing() -> None:
    group = Group.objects.get(name="operations")
    group.permissions.set(Permission.objects.filter(codename="view_apikey"))
    staff.make_groups()
    staff.make_groups()

    held = {f"{app}.{name}" for app, name in group.permissions.values_list("content_type__app_label", "codename")}
    assert held == {*staff.GRANTS["operations"], "notifier.view_apikey"}
    everything = Group.objects.get(name="administrators").permissions.count()
    assert everything == Permission.objects.count()


def test_operations_are_still_told_of_what_breaks() -> None:
    operator = User.objects.create_user("olga", is_staff=True, email="olga@shop.example")
    operator.groups.add(Group.objects.get(name="operations"))

    assert resolve.members("operations") == [operator.id]
