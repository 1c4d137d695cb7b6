"""The history: nothing that changes who may be reached how goes unseen, whatever way it is changed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import Group, Permission
from django.db import ProgrammingError, connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from notifier.models import ApiKey, DeadLetter
from preferences import audit, people, resolve
from preferences.acting import Actor, acting
from preferences.models import Change, Device, Preference, SuppressedAddress, User

pytestmark = pytest.mark.django_db


def history(kind: str) -> list[tuple[str, Any, Any]]:
    """(action, before, after), the oldest first."""
    return list(Change.objects.filter(kind=kind).order_by("id").values_list("action", "before", "after"))


@pytest.fixture
def ada() -> User:
    return User.objects.create_user(email="ada@mail.example", phone="+4915112345678")


def test_every_change_of_a_person_is_seen_and_no_secret(ada: User) -> None:
    ada.set_password("correct horse")
    ada.email = "ada@new.example"
    ada.save()
    User.objects.filter(id=ada.id).update(time_zone="Europe/Berlin")
    User.objects.filter(id=ada.id).update(last_login=Now(), locale="en")
    User.objects.all().delete()

    (_, _, made), mail, zone, (action, before, after) = history("PERSON")
    assert made["phone"] == "+4915112345678"
    assert not made.keys() & {"password", "last_login"}
    assert mail == ("UPDATE", {"email": "ada@mail.example"}, {"email": "ada@new.example"})
    assert zone == ("UPDATE", {"time_zone": "UTC"}, {"time_zone": "Europe/Berlin"})
    assert (action, after) == ("DELETE", None)
    assert before["email"] == "ada@new.example"
    assert set(Change.objects.filter(kind="PERSON").values_list("person_id", "object_id")) == {(ada.id, str(ada.id))}


def test_choices_made_in_bulk_are_seen_once_changed(ada: User) -> None:
    people.choose(ada, {("ORDER_PACKED", "PUSH"): False, ("", "SMS"): False})
    people.choose(ada, {("ORDER_PACKED", "PUSH"): True, ("", "SMS"): False})
    ada.preferences.all().delete()

    seen = [(action, before and before["enabled"], after and after["enabled"])
            for action, before, after in history("PREFERENCE")]  # fmt: skip
    assert seen == [
        ("INSERT", None, False), ("INSERT", None, False), ("UPDATE", False, True), ("DELETE", *seen[3][1:]),
        ("DELETE", *seen[4][1:]),
    ]  # fmt: skip


def test_plain_sql_and_truncate_are_seen(ada: User) -> None:
    Preference.objects.create(user=ada, channel="SMS", enabled=True)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE preferences_preference SET enabled = false")
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("TRUNCATE preferences_preference")

    assert history("PREFERENCE")[1:] == [
        ("UPDATE", {"enabled": True}, {"enabled": False}),
        ("TRUNCATE", None, None),
    ]


def test_a_device_that_passes_on_is_in_both_histories_without_its_token(ada: User) -> None:
    ben = User.objects.create_user(email="ben@mail.example")
    people.save_device(ada, "secret-token", "ios")
    people.save_device(ben, "secret-token", "ios")

    changes = Change.objects.filter(kind="DEVICE").order_by("id")
    assert list(changes.filter(person_id=ada.id).values_list("action", flat=True)) == ["INSERT", "UPDATE"]
    assert list(changes.filter(person_id=ben.id).values_list("before__user_id", "after__user_id")) == [
        (str(ada.id), str(ben.id))
    ]
    assert "secret-token" not in str(list(changes.values()))


def test_rights_are_seen_by_name(ada: User) -> None:
    group = Group.objects.create(name="night-watch")
    permission = Permission.objects.get(codename="view_device")
    group.permissions.add(permission)
    ada.groups.add(group)
    ada.user_permissions.add(permission)
    ada.groups.clear()

    assert [(action, (after or before)["group"]) for action, before, after in history("MEMBERSHIP")] == [
        ("INSERT", "night-watch"), ("DELETE", "night-watch"),
    ]  # fmt: skip
    assert history("PERMISSION")[0][2]["permission"] == "view_device"
    given = Change.objects.filter(kind="GROUP_PERMISSION", after__group="night-watch")
    assert given.values_list("after__permission", flat=True).get() == "view_device"
    assert Change.objects.filter(kind="GROUP", after__name="night-watch").exists()


def test_suppressed_addresses_are_seen() -> None:
    resolve.mark_invalid("email", "Ada@mail.example")
    resolve.mark_valid("email", ["ada@mail.example"])

    assert [(action, (after or before)["address"]) for action, before, after in history("SUPPRESSED_ADDRESS")] == [
        ("INSERT", "ada@mail.example"), ("DELETE", "ada@mail.example"),
    ]  # fmt: skip


def test_a_key_has_a_history_without_its_hash_or_use() -> None:
    row, _ = ApiKey.issue("shop", ["read"])
    ApiKey.objects.update(last_used_at=Now())
    ApiKey.objects.update(revoked_at=Now())

    (_, _, made), (action, before, after) = history("API_KEY")
    assert made["prefix"] == row.prefix
    assert not made.keys() & {"key_hash", "last_used_at"}
    assert (action, before) == ("UPDATE", {"revoked_at": None})
    assert after.keys() == {"revoked_at"}


def test_of_dead_letters_a_change_of_status_is_seen_and_the_loss_of_an_open_one() -> None:
    letters = [DeadLetter.objects.create(cause="INVALID_TRIGGER", payload=b"{}") for _ in range(3)]
    DeadLetter.objects.update(last_error="again")
    DeadLetter.objects.filter(id__in=[letters[0].id, letters[1].id]).update(status="DISCARDED")
    DeadLetter.objects.all().delete()

    changes = Change.objects.filter(kind="DEAD_LETTER").order_by("id").values_list("action", "object_id")
    assert [action for action, _ in changes] == ["UPDATE", "UPDATE", "DELETE"]
    assert changes[2][1] == str(letters[2].id)
    assert "payload" not in history("DEAD_LETTER")[2][1]


def test_the_hot_tables_have_no_trigger() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT tgrelid::regclass::text, tgname FROM pg_trigger
            WHERE tgrelid IN ('notifier_notificationevent'::regclass, 'notifier_delivery'::regclass,
                              'notifier_attempt'::regclass)
               OR tgrelid = 'notifier_deadletter'::regclass AND tgtype & 4 > 0
            """  # 4: for inserts
        )
        assert cursor.fetchall() == []


def test_the_engine_acts_where_nobody_is_named(ada: User) -> None:
    assert Change.objects.filter(kind="PERSON").values_list("actor_kind", "actor", "origin").get() == (
        "ENGINE",
        "",
        None,
    )


def test_a_session_that_is_not_ours_is_named_by_its_role(ada: User) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL notifier.acting = ''")
        cursor.execute("UPDATE preferences_user SET locale = 'de'")
        cursor.execute("SELECT session_user::text")
        role = cursor.fetchone()[0]

    change = Change.objects.get(action="UPDATE")
    assert (change.actor_kind, change.actor) == ("DATABASE", role)


def test_who_acts_is_asked_at_each_change_and_forgotten_after(ada: User) -> None:
    names = iter(["first", "second"])
    with acting(lambda: Actor("COMMAND", next(names), {"login": "root"})):
        User.objects.update(locale="de")
        assert User.objects.get().locale == "de"
        User.objects.update(locale="en")
    User.objects.update(locale="fr")

    told = Change.objects.filter(action="UPDATE").order_by("id").values_list("actor", "origin")
    assert list(told) == [("first", {"login": "root"}), ("second", {"login": "root"}), ("", None)]


@pytest.mark.django_db(transaction=True)
def test_outside_a_transaction_who_acts_holds_for_one_statement() -> None:
    with acting(lambda: Actor("COMMAND", "test")):
        SuppressedAddress.objects.bulk_create([SuppressedAddress(kind="phone", address="+491", reason="INVALID")])
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('notifier.acting')")
            assert "ENGINE" in cursor.fetchone()[0]
    SuppressedAddress.objects.all().delete()

    assert list(Change.objects.filter(kind="SUPPRESSED_ADDRESS").order_by("id").values_list("actor_kind", "actor")) == [
        ("COMMAND", "test"), ("ENGINE", ""),
    ]  # fmt: skip


FORGERIES = [
    "UPDATE preferences_change SET actor = 'somebody else'",
    "DELETE FROM preferences_change",
    "TRUNCATE preferences_change",
    """INSERT INTO preferences_change (id, action, kind, object_id, actor_kind, actor)
       SELECT id, action, kind, object_id, actor_kind, 'x' FROM preferences_change
       ON CONFLICT (id) DO UPDATE SET actor = excluded.actor""",
    "UPDATE preferences_change SET after = jsonb_set(after, '{email}', '\"eve@mail.example\"')",
]


@pytest.mark.parametrize("way", ["", "blank", "forget"])
@pytest.mark.parametrize("forgery", FORGERIES)
def test_the_history_takes_nothing_back(ada: User, whole_history: None, way: str, forgery: str) -> None:
    """Not even by who knows the setting of the two ways through, which let pass what they are for and no more."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('notifier.history', %s, true)", [way])
        with pytest.raises(ProgrammingError, match="append-only"), transaction.atomic():
            cursor.execute(forgery)
    for forbidden in (lambda: Change.objects.update(at=Now()), lambda: Change.objects.all().delete()):
        with pytest.raises(ProgrammingError, match="append-only"), transaction.atomic():
            forbidden()

    assert Change.objects.get(kind="PERSON").actor_kind == "ENGINE"


def test_who_is_erased_is_blanked_and_that_is_recorded(ada: User) -> None:
    resolve.mark_invalid("email", ada.email)
    resolve.mark_invalid("phone", "+4915100000000")
    Device.objects.create(user=ada, token="token", platform="ios")
    with acting(lambda: Actor("CUSTOMER", str(ada.id), {"ip": "192.0.2.7"})):
        User.objects.filter(id=ada.id).update(phone="+4915111111111")
        people.choose(ada, {("", "SMS"): False})
    before = list(Change.objects.order_by("id").values_list("id", "at", "action", "kind", "actor_kind", "actor"))
    user_id = ada.id
    ada.delete()

    with acting(lambda: Actor("STAFF", "root", {"ip": "192.0.2.1"})):
        blanked = audit.blank(user_id)

    told = str(list(Change.objects.values("before", "after", "origin")))
    for gone in ("ada@mail.example", "+4915112345678", "+4915111111111", "192.0.2.7"):
        assert gone not in told
    assert "+4915100000000" in told
    assert (
        list(Change.objects.order_by("id").values_list("id", "at", "action", "kind", "actor_kind", "actor"))[
            : len(before)
        ]
        == before
    )
    assert Change.objects.filter(kind="PREFERENCE", after__enabled=False).exists()
    act = Change.objects.get(action="BLANK")
    assert (act.person_id, act.actor_kind, act.actor, act.after) == (user_id, "STAFF", "root", {"rows": blanked})
    assert blanked == Change.objects.filter(blanked_at__isnull=False).count() > 0


def test_a_guest_has_only_addresses_to_be_blanked() -> None:
    resolve.mark_invalid("email", "guest@mail.example")
    resolve.mark_invalid("email", "other@mail.example")

    people.forget(None, "Guest@mail.example", "")

    told = str(list(Change.objects.values("before", "after")))
    assert "guest@mail.example" not in told.lower()
    assert "other@mail.example" in told
    act = Change.objects.get(action="BLANK")
    assert (act.person_id, act.object_id, act.after) == (None, "", {"rows": 2})


def test_of_a_guest_who_is_not_known_nothing_is_noted() -> None:
    people.forget(None, "nobody@mail.example", "+4915112345678")
    assert not Change.objects.filter(action="BLANK").exists()


def test_who_is_not_erased_keeps_theirs(ada: User) -> None:
    assert audit.blank(uuid4()) == 0

    assert history("PERSON")[0][2]["email"] == "ada@mail.example"


def old(days: int, number: int) -> None:
    """So many rows of that age, as the triggers would have written them then."""
    Change.objects.bulk_create(
        Change(at=Now() - timedelta(days=days), action="INSERT", kind="PERSON", object_id=str(UUID(int=n)),
               actor_kind="ENGINE")
        for n in range(number)
    )  # fmt: skip


def test_old_history_is_forgotten_and_that_is_recorded() -> None:
    old(100, 5)
    old(50, 1)
    cutoff = Change.objects.annotate(cut=F("at") + timedelta(days=10)).order_by("at").values_list("cut", flat=True)[0]

    assert audit.forget(cutoff, 3) == 3
    assert audit.forget(cutoff, 3) == 2
    assert audit.forget(cutoff, 3) == 0

    assert Change.objects.filter(action="INSERT", kind="PERSON").count() == 1
    assert [after["rows"] for _, _, after in history("HISTORY")] == [3, 2]


def test_history_of_the_last_month_cannot_be_forgotten(ada: User) -> None:
    with pytest.raises(ProgrammingError, match="append-only"), transaction.atomic():
        audit.forget(Change.objects.get(kind="PERSON").at + timedelta(seconds=1), 10)
    assert Change.objects.filter(action="INSERT", kind="PERSON").exists()


def test_a_role_with_insert_and_select_alone_writes_history_and_erases(ada: User) -> None:
    """The stronger way of docs/audit.md: the application does not own its tables."""
    role = f"app_{uuid4().hex}"
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            CREATE ROLE {role};
            GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role};
            REVOKE INSERT, UPDATE, DELETE ON preferences_change FROM {role};
            SET LOCAL ROLE {role};
            """
        )
        User.objects.filter(id=ada.id).update(email="new@mail.example")
        assert audit.blank(ada.id) == 2
        cursor.execute("SELECT set_config('notifier.history', 'blank', true)")
        for forgery in (*FORGERIES, "INSERT INTO preferences_change SELECT * FROM preferences_change",
                        "ALTER TABLE preferences_change DISABLE TRIGGER keep_history"):  # fmt: skip
            with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"), transaction.atomic():
                cursor.execute(forgery)

    assert [action for action, _, _ in history("PERSON")] == ["INSERT", "UPDATE", "BLANK"]
