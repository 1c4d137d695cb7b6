"""The history in the admin: on the pages of what it is about, in its list, and as a file."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Permission
from django.db.models.functions import Now
from django.test import AsyncClient, Client
from django.urls import reverse
from pytest_django.fixtures import Settings

from notifier.models import ApiKey, DeadLetter
from preferences import history
from preferences.acting import Actor, acting
from preferences.models import Change, Preference, SuppressedAddress, User

pytestmark = pytest.mark.django_db
LIST, EXPORT = reverse("admin:preferences_change_changelist"), reverse("admin:preferences_change_export")


@pytest.fixture
def staff(settings: Settings, client: Client) -> Client:
    settings.WHITENOISE_AUTOREFRESH = True  # no collectstatic in tests
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.fixture
def ada() -> User:
    """Somebody who moved."""
    ada = User.objects.create_user(email="ada@old.example", phone="+4915112345678")
    with acting(lambda: Actor("API_KEY", "nk_abc123", {"ip": "192.0.2.7", "requestId": "req-1"})):
        User.objects.filter(id=ada.id).update(email="ada@new.example")
    return ada


def text(client: Client, path: str, **query: str) -> str:
    answer = client.get(path, query)
    assert answer.status_code == 200, answer
    return str(answer.content.decode())


def test_a_persons_page_shows_their_history(staff: Client, ada: User) -> None:
    Preference.objects.create(user=ada, channel="SMS", enabled=False)
    page = text(staff, reverse("admin:preferences_user_change", args=[ada.id]))

    for shown in ("email: ada@old.example → ada@new.example", "API key nk_abc123", "192.0.2.7", "enabled: no"):
        assert shown in page
    assert "The whole history" not in page


def test_a_long_history_goes_on_in_the_list(staff: Client, ada: User) -> None:
    for number in range(history.SHOWN):
        User.objects.filter(id=ada.id).update(email=f"ada{number}@mail.example")
    page = text(staff, reverse("admin:preferences_user_change", args=[ada.id]))

    assert "The whole history" in page
    assert "ada@old.example" not in page
    whole = staff.get(reverse("admin:preferences_user_history", args=[ada.id]), follow=True)
    assert "ada@old.example" in whole.content.decode()


def test_a_key_and_a_dead_letter_show_theirs(staff: Client) -> None:
    key, _ = ApiKey.issue("counter", ["read"])
    ApiKey.issue("other", ["read"])
    letter = DeadLetter.objects.create(cause="INVALID_TRIGGER", payload=b"{}")
    DeadLetter.objects.update(status="DISCARDED")

    page = text(staff, reverse("admin:notifier_apikey_change", args=[key.id]))
    assert "name: counter" in page
    assert "name: other" not in page
    assert "status: OPEN → DISCARDED" in text(staff, reverse("admin:notifier_deadletter_change", args=[letter.id]))


def test_who_may_not_see_the_history_sees_none(settings: Settings, client: Client, ada: User) -> None:
    settings.WHITENOISE_AUTOREFRESH = True
    reader = User.objects.create_user("reader", is_staff=True)
    reader.user_permissions.add(Permission.objects.get(codename="view_user"))
    client.force_login(reader)

    assert "ada@old.example" not in text(client, reverse("admin:preferences_user_change", args=[ada.id]))
    assert client.get(reverse("admin:preferences_user_history", args=[ada.id])).status_code == 200
    assert client.get(LIST).status_code == 403
    assert client.get(EXPORT).status_code == 403


@pytest.mark.parametrize(
    "term", ["{ada.id}", "ada@new.example", "+49 151 12345678", "nk_abc123", "Gone@mail.example", "{letter.id}"]
)
def test_a_change_is_found_by(staff: Client, ada: User, term: str) -> None:
    SuppressedAddress.objects.create(kind="email", address="gone@mail.example", reason="INVALID")
    letter = DeadLetter.objects.create(cause="INVALID_TRIGGER", payload=b"{}")
    DeadLetter.objects.update(status="DISCARDED")
    User.objects.create_user(email="other@mail.example")

    page = text(staff, LIST, q=term.format(ada=ada, letter=letter))

    told = {"Gone@mail.example": "gone@mail.example", "{letter.id}": "status: OPEN → DISCARDED"}
    assert told.get(term, "ada@old.example → ada@new.example") in page
    assert "other@mail.example" not in page
    assert "other@mail.example" in text(staff, LIST, q=" ")


def rows(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode())))


def test_the_file_has_what_the_filters_show(staff: Client, ada: User) -> None:
    Preference.objects.create(user=ada, channel="SMS", enabled=False)
    answer = staff.get(EXPORT, {"q": str(ada.id), "kind__exact": "PERSON", "action__exact": "UPDATE"})

    assert 'filename="history-' in answer["Content-Disposition"]
    (row,) = rows(answer.getvalue())
    assert (row["actor kind"], row["actor"], row["ip"]) == ("API_KEY", "nk_abc123", "192.0.2.7")
    assert (row["before"], row["after"]) == ('{"email": "ada@old.example"}', '{"email": "ada@new.example"}')
    assert row["origin"] == '{"requestId": "req-1"}'


def test_the_file_is_limited_to_a_time(staff: Client, ada: User) -> None:
    Change.objects.bulk_create([Change(at=Now() - timedelta(days=400), action="INSERT", kind="PERSON", actor="old")])
    then = Change.objects.get(actor="old").at
    day = {"at_from_0": f"{then:%Y-%m-%d}", "at_to_0": f"{then:%Y-%m-%d}"}

    assert [row["actor"] for row in rows(staff.get(EXPORT, day).getvalue())] == ["old"]
    later = day | {"at_from_1": f"{then + timedelta(seconds=1):%H:%M:%S}", "at_to_1": "23:59:59"}
    assert rows(staff.get(EXPORT, later).getvalue()) == []
    assert len(rows(staff.get(EXPORT, {"at_from_0": "yesterday"}).getvalue())) == Change.objects.count()


def test_a_long_file_comes_in_parts_without_gap_or_repetition(
    staff: Client, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "PAGE", 2)
    for number in range(5):
        User.objects.filter(id=ada.id).update(email=f"ada{number}@mail.example")

    parts = list(staff.get(EXPORT, {"q": str(ada.id)}).streaming_content)  # type: ignore[attr-defined] # of a streaming answer

    assert len(parts) == 5  # the names, then 2 + 2 + 2 + 1
    assert len(rows(b"".join(parts))) == Change.objects.filter(person_id=ada.id).count() == 7


@pytest.mark.django_db(transaction=True)
def test_under_asgi_the_file_is_streamed_too(settings: Settings) -> None:
    settings.WHITENOISE_AUTOREFRESH = True
    root = User.objects.create_superuser("root")

    async def download() -> bytes:
        client = AsyncClient()
        await client.aforce_login(root)
        answer = await client.get(EXPORT, {"q": str(root.id)})
        assert answer.is_async  # type: ignore[attr-defined] # of a streaming answer
        return b"".join([part async for part in answer.streaming_content])  # type: ignore[attr-defined] # as above

    assert [row["action"] for row in rows(async_to_sync(download)())] == ["INSERT"]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_no_cell_is_a_formula(start: str) -> None:
    (row,) = csv.reader(io.StringIO(history.csv_lines([[f"{start}1+1", "plain", f"a{start}"]]), newline=""))
    assert row == [f"'{start}1+1", "plain", f"a{start}"]


def test_every_kind_of_change_can_be_read(staff: Client, ada: User) -> None:
    made: list[dict[str, Any]] = [
        {"action": "TRUNCATE", "kind": "API_KEY"},
        {"action": "DELETE", "kind": "PREFERENCE", "before": {"event_type": "", "channel": "SMS", "enabled": True}},
        {"action": "UPDATE", "kind": "API_KEY", "object_id": str(ada.id), "before": {"scopes": []},
         "after": {"scopes": ["read", "admin"]}},
    ]  # fmt: skip
    Change.objects.bulk_create(Change(at=Now(), actor_kind="ENGINE", **fields) for fields in made)
    page = text(staff, LIST)

    for shown in ("API key table emptied", "channel: SMS → -", "enabled: yes → -", "scopes: - → read, admin"):
        assert shown in page
