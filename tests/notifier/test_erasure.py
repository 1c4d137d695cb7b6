"""Forgetting people: nothing of them is left anywhere, and what was sent stays provable."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from pytest_django.fixtures import Settings

from channels.models import InboxMessage
from notifier import erasure
from notifier.erasure import erase, names
from notifier.fingerprint import fingerprint
from notifier.models import ApiKey, Attempt, DeadLetter, Delivery, NotificationEvent
from notifier.proof import attempts_to
from notifier.querysets.events import Person
from preferences.models import Device, Preference, SuppressedAddress, User
from preferences.people import StaffError
from tests import engine
from tests.letters import make_letter, make_refused
from tests.sandbox_process import Sandbox

pytestmark = pytest.mark.django_db
MARK = "Zyxwvut"  # in everything that says who somebody is, or what they were told
EMAIL, PHONE = f"{MARK}@mail.example", "+4915112345678"


@pytest.fixture(autouse=True)
def _no_collected_files(settings: Settings) -> None:
    settings.WHITENOISE_AUTOREFRESH = True


@pytest.fixture
def ada(sandbox: Sandbox) -> User:
    ada = User.objects.create_user(email=EMAIL, phone=PHONE)
    Device.objects.create(user=ada, token=f"{MARK}-token")
    Preference.objects.create(user=ada, event_type="ORDER_PACKED", enabled=False)
    return ada


def tell(user: User | None = None, order: str = "ORD1", **more: Any) -> UUID:
    metadata = {"orderId": order, "trackingUrl": f"https://track.example/{MARK}", "note": MARK}
    return engine.trigger("ORDER_SHIPPED", user.id if user else None, metadata=metadata, **more)


def where_it_is_left(*marks: str) -> set[str]:
    """The tables in which any row holds one of these, as text or as bytes."""
    found = set()
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        for (table,) in cursor.fetchall():
            for mark in marks:
                cursor.execute(
                    f"SELECT EXISTS (SELECT FROM {table} AS row WHERE row::text ILIKE %s OR row::text ILIKE %s)",
                    [f"%{mark}%", f"%{mark.encode().hex()}%"],
                )
                found |= {table} if cursor.fetchone()[0] else set()
    return found


def test_nothing_is_left_of_a_person_and_what_was_sent_stays(ada: User) -> None:
    event = tell(ada)
    engine.run()
    SuppressedAddress.objects.create(kind="email", address=EMAIL.lower(), reason="INVALID")
    make_refused(json.dumps({"userId": str(ada.id), "metadata": {"note": MARK}}).encode(), last_error=MARK)
    make_refused(json.dumps({"recipient": {"phone": "+49 (0)151 12345678"}, "metadata": {"note": MARK}}).encode())
    make_letter(NotificationEvent.objects.get(pk=event), "TOY", last_error=MARK)
    assert len(where_it_is_left(MARK, PHONE)) >= 6

    done = erase(Person(ada.id))

    assert where_it_is_left(MARK, PHONE, PHONE[1:]) == set()
    assert not User.objects.filter(id=ada.id).exists()
    assert (done.known, done.events, done.letters, done.messages) == (True, 1, 3, 1)
    kept = NotificationEvent.objects.get(pk=event)
    assert (kept.event_type, kept.order_id, kept.status, kept.metadata) == ("ORDER_SHIPPED", "ORD1", "SENT", {})
    assert engine.states(event) | {"TOY": ""} == {
        "EMAIL": "SENT", "SMS": "SENT", "PUSH": "SENT", "IN_APP": "SENT", "TOY": "",
    }  # fmt: skip
    assert set(DeadLetter.objects.values_list("status", flat=True)) == {"DISCARDED"}
    assert [each.delivery.channel for each in attempts_to(EMAIL.upper(), "ORD1")] == ["EMAIL"]
    assert [each.delivery.channel for each in attempts_to(PHONE, "ORD1")] == ["SMS"]
    assert not attempts_to("other@mail.example", "ORD1")


def test_others_keep_what_is_theirs(ada: User) -> None:
    ben = User.objects.create_user(email="ben@mail.example")
    tell(ada)
    bens = tell(ben)
    make_refused(json.dumps({"userId": str(ben.id)}).encode())
    engine.run()

    erase(Person(ada.id))

    assert NotificationEvent.objects.get(pk=bens).metadata["note"] == MARK
    assert DeadLetter.objects.get().payload
    assert InboxMessage.objects.get().user_id == ben.id


def test_what_is_not_sent_yet_is_skipped_and_the_event_ends(ada: User) -> None:
    new, planned = tell(ada), tell(ada)
    Delivery.objects.create(event_id=planned, channel="SMS", status="RETRYING")
    Delivery.objects.create(event_id=planned, channel="EMAIL", status="QUEUED")
    NotificationEvent.objects.filter(pk=planned).update(status="DISPATCHED", round=1, due_at=None)

    assert erase(Person(ada.id)).skipped == 2
    engine.run()

    assert engine.states(planned) == {"SMS": "SKIPPED ERASED", "EMAIL": "SKIPPED ERASED"}
    assert set(engine.states(new).values()) == {"SKIPPED NO_ADDRESS"}
    assert [engine.status(new), engine.status(planned)] == ["SKIPPED", "SKIPPED"]


def test_a_guest_is_found_by_either_address(sandbox: Sandbox) -> None:
    both = tell(recipient={"email": EMAIL, "phone": PHONE}, order="ORD1")
    other = tell(recipient={"email": "other@mail.example"}, order="ORD2")
    by_phone = tell(recipient={"phone": "+49 151 12345678"}, order="ORD3")
    engine.run()

    assert erase(Person(email=EMAIL)).events == 1
    assert erase(Person(phone=PHONE)).events == 1

    kept = {event.id: event.recipient for event in NotificationEvent.objects.all()}
    assert kept == {both: None, other: {"email": "other@mail.example"}, by_phone: None}
    assert where_it_is_left(PHONE) == set()
    assert attempts_to(PHONE, "ORD3")


def test_what_is_being_sent_is_waited_for(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker has it in hand; the second look finds it done."""
    event = tell(ada)
    delivery = Delivery.objects.create(event_id=event, channel="SMS", status="SENDING", attempt=1)
    monkeypatch.setattr("notifier.erasure.time.sleep", lambda _: Delivery.objects.update(status="SENT", detail=MARK))

    steps = list(erasure.batches(Person(ada.id)))

    assert steps[-1].events == 1
    delivery.refresh_from_db()
    assert (delivery.status, delivery.detail) == ("SENT", "")
    assert where_it_is_left(MARK) == set()


def test_after_a_lease_nobody_is_waited_for(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    event = tell(ada)
    Delivery.objects.create(event_id=event, channel="SMS", status="SENDING", attempt=1)
    clock: Iterator[float] = iter([0.0, 1.0, *range(100, 200)])
    monkeypatch.setattr("notifier.erasure.time.monotonic", lambda: next(clock))
    monkeypatch.setattr("notifier.erasure.time.sleep", lambda _: None)

    assert erase(Person(ada.id)).events == 1
    assert where_it_is_left(MARK) == set()


def test_twice_is_as_once_and_half_goes_on(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasure, "BATCH", 1)
    events = [tell(ada, order=f"ORD{number}") for number in range(3)]
    steps = erasure.batches(Person(ada.id))
    assert next(steps).events == 1
    steps.close()  # killed
    assert User.objects.filter(id=ada.id).exists(), "who names the addresses is the last to go"

    assert erase(Person(ada.id)).events == 2
    assert erase(Person(ada.id)).nothing
    assert NotificationEvent.objects.filter(id__in=events, metadata={}).count() == 3


def test_staff_are_not_forgotten(db: None) -> None:
    clerk = User.objects.create_user("clerk", is_staff=True)

    with pytest.raises(StaffError, match="clerk is staff; take the staff status away first"):
        erase(Person(clerk.id))

    clerk.refresh_from_db()
    assert clerk.is_active


def test_an_opt_out_outlives_the_person(ada: User) -> None:
    SuppressedAddress.objects.create(kind="phone", address=PHONE, reason="OPTED_OUT")

    erase(Person(ada.id))

    assert SuppressedAddress.objects.get().address == PHONE


@pytest.mark.parametrize(
    ("payload", "named"),
    [
        (b'{"recipient": {"email": "ADA@mail.example"}}', True),
        (b'{"recipient": {"phone": "0049 151 12345678"}}', False),  # no number that Notifier would take
        (b'{"recipient": {"phone": "+49-151-12345678"}}', True),
        (b'{"metadata": {"notes": ["for ada@mail.example"]}}', True),
        (b'{"metadata": {"01931f6e-7d3a-7000-8000-000000000001": 1}}', True),
        (b"not JSON, for ada@mail.example", True),
        (b'{"recipient": {"email": "bea@mail.example"}}', False),
        (b"\xff\xfe", False),
    ],
)
def test_a_refused_trigger_names_somebody_however_it_is_written(payload: bytes, named: bool) -> None:
    ada = Person(UUID("01931f6e-7d3a-7000-8000-000000000001"), "ada@mail.example", PHONE)

    assert names(ada, payload) is named


def test_the_api_forgets(ada: User) -> None:
    tell(ada)
    client = Client(headers={"Authorization": f"Api-Key {ApiKey.issue('shop', ['admin'])[1]}"})
    path = f"/notifications/users/{ada.id}"

    assert client.delete(path).status_code == 204
    assert client.delete(path).status_code == 404
    assert where_it_is_left(MARK) == set()
    clerk = User.objects.create_user("clerk", is_staff=True)
    refused = client.delete(f"/notifications/users/{clerk.id}")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "STAFF")


def test_the_command_forgets_and_says_so(ada: User, capsys: pytest.CaptureFixture[str]) -> None:
    tell(ada)

    with pytest.raises(CommandError, match="give --yes"):
        call_command("erase_user", str(ada.id))
    call_command("erase_user", str(ada.id), "--yes")
    with pytest.raises(CommandError, match="Nothing is kept") as nobody:
        call_command("erase_user", str(ada.id), "--yes")

    assert nobody.value.returncode == 2
    assert "Forgotten: 1 events (0 messages not sent any more)" in capsys.readouterr().out
    assert where_it_is_left(MARK) == set()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Say who"),
        (["ada"], "'ada' is not a user's id"),
        (["--phone", "0151"], "--phone: Not a phone number with its country code"),
        (["--email", "ada"], "--email: Not an email address"),
    ],
)
def test_the_commands_say_what_is_wrong(db: None, arguments: list[str], message: str) -> None:
    for command in ("erase_user", "export_user"):
        with pytest.raises(CommandError, match=message):
            call_command(command, *arguments)


def test_was_sent_answers_by_fingerprint(ada: User, capsys: pytest.CaptureFixture[str]) -> None:
    tell(ada)
    engine.run()
    erase(Person(ada.id))

    call_command("was_sent", "ORD1", "--email", EMAIL, "--phone", PHONE)

    told = capsys.readouterr().out
    assert "ORDER_SHIPPED" in told
    assert "EMAIL" in told
    assert "SMS" in told
    with pytest.raises(CommandError, match="Nothing was sent"):
        call_command("was_sent", "ORD1", "--email", "other@mail.example")


def test_a_fingerprint_needs_the_key_and_no_case() -> None:
    assert fingerprint("Ada@Mail.example") == fingerprint("ada@mail.example") != fingerprint("ben@mail.example")
    assert len(fingerprint("x")) == 32


def test_every_attempt_has_the_fingerprint_of_where_it_went(ada: User) -> None:
    tell(ada)
    engine.run()

    went = dict(Attempt.objects.values_list("delivery__channel", "address_hash"))
    assert went == {
        "EMAIL": fingerprint(EMAIL),
        "SMS": fingerprint(PHONE),
        "PUSH": fingerprint(f"{MARK}-token"),
        "IN_APP": fingerprint(str(ada.id)),
    }
