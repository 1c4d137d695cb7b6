"""Customers who call for themselves: their own things, for an hour."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from pytest_django.fixtures import Settings

from channels.models import InboxMessage
from preferences import tokens
from preferences.models import Preference, User
from preferences.tokens import Purpose, TokenError
from tests.api.conftest import Answer, Caller

PREFERENCES = "/notifications/preferences"
QUIET = f"{PREFERENCES}/quiet-hours"


@dataclass(frozen=True)
class Self:
    """Calls with a customer's token."""

    token: str

    def __call__(self, method: str, path: str, body: Any = None) -> Answer:
        return Caller(None)(method, path, body, Authorization=f"Bearer {self.token}")


@pytest.fixture
def herself(ada: User) -> Self:
    return Self(tokens.make(str(ada.id), Purpose.API))


@pytest.fixture
def bea(db: None) -> User:
    return User.objects.create_user(email="bea@mail.example")


def message(user: User) -> InboxMessage:
    return InboxMessage.objects.create(user_id=user.id, delivery_id=uuid4(), event_type="ORDER_PACKED", title="T")


def test_the_shop_makes_a_token(api: Caller, ada: User) -> None:
    answer = api("POST", f"/notifications/users/{ada.id}/token")

    assert answer.status == 201
    assert answer.body["expiresAt"].endswith("Z")
    assert Self(answer.body["token"])("GET", f"{PREFERENCES}?userId={ada.id}").status == 200
    assert api("POST", f"/notifications/users/{uuid4()}/token").code == "NOT_FOUND"


def test_a_customer_sets_and_reads_their_own_preferences(herself: Self, ada: User) -> None:
    choice = {"userId": str(ada.id), "eventType": "ORDER_PACKED", "channel": "PUSH", "enabled": False}

    assert herself("POST", PREFERENCES, choice).body == choice
    assert herself("GET", f"{PREFERENCES}?userId={ada.id}").body["results"] == [choice]
    many = {"userId": str(ada.id), "preferences": [{"channel": "SMS", "enabled": False}]}
    assert herself("PUT", PREFERENCES, many).status == 200
    assert herself("DELETE", f"{PREFERENCES}?userId={ada.id}").status == 204
    assert not Preference.objects.exists()


def test_another_person_is_out_of_reach(herself: Self, bea: User) -> None:
    body = {"userId": str(bea.id), "channel": "SMS", "enabled": False}
    answers = [
        herself("POST", PREFERENCES, body),
        herself("PUT", PREFERENCES, {"userId": str(bea.id), "preferences": [{"channel": "SMS", "enabled": False}]}),
        herself("GET", f"{PREFERENCES}?userId={bea.id}"),
        herself("DELETE", f"{PREFERENCES}?userId={bea.id}"),
        herself("GET", f"{QUIET}?userId={bea.id}"),
        herself("PUT", QUIET, {"userId": str(bea.id), "from": "22:00", "until": "07:00"}),
        herself("GET", f"/notifications/inbox?userId={bea.id}"),
    ]
    assert [(answer.status, list(answer.fields)) for answer in answers] == [(403, ["userId"])] * 7
    assert not Preference.objects.exists()


def test_the_inbox_is_the_customers_own(herself: Self, ada: User, bea: User) -> None:
    hers, other = message(ada), message(bea)

    assert [row["id"] for row in herself("GET", f"/notifications/inbox?userId={ada.id}").body["results"]] == [
        str(hers.id)
    ]
    assert herself("POST", f"/notifications/inbox/{hers.id}/read").body["readAt"]
    assert herself("POST", f"/notifications/inbox/{other.id}/read").status == 404
    other.refresh_from_db()
    assert other.read_at is None


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/notifications/trigger"),
        ("GET", "/notifications/events?orderId=ORD1"),
        ("PUT", "/notifications/users/00000000-0000-7000-8000-000000000001"),
        ("POST", "/notifications/users/00000000-0000-7000-8000-000000000001/token"),
        ("GET", "/notifications/dead-letters"),
    ],
)
def test_nothing_else_takes_a_customers_token(herself: Self, method: str, path: str) -> None:
    assert herself(method, path, {}).code == "FORBIDDEN"


def test_a_token_ends(ada: User, herself: Self, settings: Settings) -> None:
    settings.CUSTOMER_TOKEN_LIFETIME = timedelta(seconds=-1)
    answer = herself("GET", f"{PREFERENCES}?userId={ada.id}")
    assert (answer.status, answer.code) == (401, "UNAUTHENTICATED")
    assert "expired" in answer.body["error"]["message"]


@pytest.mark.parametrize("spoil", ["", "x", "AAAA:1:x", "é"])
def test_what_is_no_token_is_refused(ada: User, spoil: str) -> None:
    assert Self(spoil)("GET", f"{PREFERENCES}?userId={ada.id}").status == 401


def test_a_token_is_for_one_purpose_and_survives_a_change_of_the_key(ada: User, settings: Settings) -> None:
    link = tokens.make(str(ada.id), Purpose.USER)
    assert Self(link)("GET", f"{PREFERENCES}?userId={ada.id}").status == 401
    with pytest.raises(TokenError):
        tokens.read(link[:-1] + ("A" if link[-1] != "A" else "B"), Purpose.USER, timedelta(days=1))
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another"
    assert tokens.read(link, Purpose.USER, timedelta(days=1)) == str(ada.id)


def test_quiet_hours_are_set_read_and_ended(api: Caller, herself: Self, ada: User) -> None:
    body = {"userId": str(ada.id), "from": "22:00", "until": "07:30"}

    assert herself("PUT", QUIET, body).body == {**body, "timeZone": ada.time_zone}
    assert api("GET", f"{QUIET}?userId={ada.id}").body == {**body, "timeZone": ada.time_zone}
    none = {**body, "from": None, "until": None}
    assert herself("PUT", QUIET, none).body == {**none, "timeZone": ada.time_zone}


@pytest.mark.parametrize(
    ("times", "field"),
    [
        ({"from": "22:00", "until": "22:00"}, "until"),
        ({"from": "22:00", "until": None}, "until"),
        ({"from": "24:00", "until": "07:00"}, "from"),
        ({"from": "22:00"}, "until"),
    ],
)
def test_wrong_quiet_hours_are_refused_by_name(api: Caller, ada: User, times: dict[str, Any], field: str) -> None:
    answer = api("PUT", QUIET, {"userId": str(ada.id), **times})
    assert (answer.status, list(answer.fields)) == (400, [field])
    ada.refresh_from_db()
    assert ada.quiet_from is None


def test_the_token_of_an_erased_person_leads_nowhere(herself: Self, ada: User) -> None:
    User.objects.all().delete()
    assert herself("GET", f"{PREFERENCES}?userId={ada.id}").status == 404
