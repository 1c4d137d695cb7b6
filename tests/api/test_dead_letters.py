from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from notifier.models import DeadLetter, Delivery
from tests.api.conftest import Caller
from tests.letters import make_event, make_letter, make_refused

LETTERS, REPLAY = "/notifications/dead-letters", "/notifications/dead-letters/replay"

pytestmark = pytest.mark.django_db


@pytest.fixture
def letters() -> list[DeadLetter]:
    return [
        make_letter(make_event(), created_at="2026-11-24T10:00:00Z", cause="REJECTED"),
        make_refused(None, created_at="2026-11-24T09:00:00Z"),
        make_letter(make_event("ORDER_PLACED"), "EMAIL", status="REPLAYED", cause="OLD"),
    ]


def causes(api: Caller, query: str = "") -> list[str]:
    return [row["cause"] for row in api("GET", f"{LETTERS}?{query}").body["results"]]


def test_open_letters_are_listed(api: Caller, letters: list[DeadLetter]) -> None:
    first, second = api("GET", LETTERS).body["results"]

    assert letters[0].delivery is not None
    assert (first["cause"], first["eventId"]) == ("REJECTED", str(letters[0].delivery.event_id))
    assert (second["cause"], second["source"], second["eventId"]) == ("INVALID_TRIGGER", "celery", None)
    assert "payload" not in first  # personal data


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("channel=SMS", ["REJECTED"]),
        ("status=REPLAYED", ["OLD"]),
        ("cause=OLD", []),
        ("status=REPLAYED&eventType=ORDER_PLACED", ["OLD"]),
        ("since=2026-11-24T10:00:00Z", ["REJECTED"]),
        ("until=2026-11-24T10:00:00Z", ["INVALID_TRIGGER"]),
    ],
)
def test_letters_are_filtered(api: Caller, letters: list[DeadLetter], query: str, found: list[str]) -> None:
    assert causes(api, query) == found


@pytest.mark.parametrize("query", ["status=LOST", "since=yesterday"])
def test_a_wrong_filter_is_named(api: Caller, query: str) -> None:
    assert list(api("GET", f"{LETTERS}?{query}").fields) == [query.partition("=")[0]]


def test_letters_are_replayed_once(api: Caller, letters: list[DeadLetter]) -> None:
    body = {"ids": [*(str(letter.id) for letter in letters), str(uuid4())]}

    first, again = (api("POST", REPLAY, body).body for _ in range(2))

    left_out = {"INVALID": 1, "REPLAYED": 1, "NOT_FOUND": 1}
    assert first == {"replayed": 1, "leftOut": left_out, "dryRun": False, "more": False}
    assert again == {**first, "replayed": 0, "leftOut": left_out | {"REPLAYED": 2}}
    assert Delivery.objects.get(dead_letters=letters[0]).status == "QUEUED"


@pytest.mark.parametrize(
    ("wanted", "replayed"),
    [
        ({"channel": "SMS"}, 2),
        ({"eventType": "ORDER_PLACED"}, 1),
        ({"cause": "CRASHED"}, 1),
        ({"since": "2026-11-24T10:00:00Z"}, 1),
        ({"until": "2026-11-24T10:00:00+00:00"}, 2),
        ({"all": True}, 3),
        ({"all": True, "channel": "EMAIL"}, 1),
    ],
    ids=str,
)
def test_a_filter_chooses(api: Caller, wanted: dict[str, Any], replayed: int) -> None:
    make_letter(make_event(), created_at="2026-11-24T08:00:00Z")
    make_letter(make_event("ORDER_PLACED"), "EMAIL", created_at="2026-11-24T09:00:00Z")
    make_letter(make_event(), cause="CRASHED", created_at="2026-11-24T10:00:00Z")

    dry = api("POST", REPLAY, {**wanted, "dryRun": True}).body
    assert dry == {"replayed": replayed, "leftOut": {}, "dryRun": True, "more": False}
    assert not DeadLetter.objects.filter(status="REPLAYED").exists()
    assert api("POST", REPLAY, wanted).body == {**dry, "dryRun": False}
    assert DeadLetter.objects.filter(status="REPLAYED").count() == replayed


def test_force_and_limit(api: Caller) -> None:
    for _ in range(3):
        make_letter(make_event(status="SENT"))

    assert api("POST", REPLAY, {"all": True}).body["leftOut"] == {"REACHED": 3}
    answers = [api("POST", REPLAY, {"all": True, "force": True, "limit": 2}).body for _ in range(2)]
    assert [(answer["replayed"], answer["more"]) for answer in answers] == [(2, True), (1, False)]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "ids"),
        ({"dryRun": True, "force": True}, "ids"),
        ({"all": False}, "ids"),
        ({"ids": []}, "ids"),
        ({"ids": ["x"]}, "ids.0"),
        ({"ids": None}, "ids"),
        ({"ids": [str(uuid4())] * 1001}, "ids"),
        ({"ids": ["01931f6e-7d3a-7000-8000-0000000000d1"], "channel": "SMS"}, "ids"),
        ({"ids": ["01931f6e-7d3a-7000-8000-0000000000d1"], "all": True}, "ids"),
        ({"channel": "FAX"}, "channel"),
        ({"eventType": "ORDER_LOST"}, "eventType"),
        ({"since": "yesterday"}, "since"),
        ({"since": "2026-11-24T10:00:00Z", "until": "2026-11-24T10:00:00Z"}, "until"),
        ({"all": True, "limit": 1001}, "limit"),
        ({"all": True, "limit": 0}, "limit"),
        ({"all": True, "rate": 7}, "rate"),
    ],
    ids=[
        "nothing", "no-filter", "not-all", "no-ids", "no-uuid", "null", "too-many", "both", "ids-and-all", "channel",
        "type", "since", "times", "limit", "no-limit", "unknown",
    ],
)  # fmt: skip
def test_a_wrong_replay_is_refused(api: Caller, body: dict[str, Any], field: str) -> None:
    make_letter(make_event())

    answer = api("POST", REPLAY, body)

    assert (answer.status, answer.code, list(answer.fields)) == (400, "INVALID", [field])
    assert DeadLetter.objects.filter(status="OPEN").exists()


def test_replaying_everything_must_be_said(api: Caller) -> None:
    assert '"all": true' in api("POST", REPLAY, {}).fields["ids"]
    assert "ORDER_PLACED" in api("POST", REPLAY, {"eventType": "ORDER_LOST"}).fields["eventType"]
