from __future__ import annotations

import pytest

from notifier.models import EndedPause, Pause
from preferences.models import Change
from tests.api.conftest import Caller

pytestmark = pytest.mark.django_db

SMS = "/notifications/pauses/channel/SMS"


def test_a_pause_is_made_seen_and_ended(api: Caller) -> None:
    made = api("PUT", SMS, {"reason": "twilio is slow"})
    assert made.status == 201
    assert {name: made.body[name] for name in ("kind", "name", "reason")} == {
        "kind": "channel", "name": "SMS", "reason": "twilio is slow",
    }  # fmt: skip
    again = api("PUT", SMS, {})
    assert (again.status, again.body) == (200, {**made.body, "reason": ""})
    api("PUT", "/notifications/pauses/event-type/ORDER_SHIPPED", {})
    api("PUT", "/notifications/pauses/provider/SMS:twilio", {})
    listed = api("GET", "/notifications/pauses").body["results"]
    assert {(row["kind"], row["name"]) for row in listed} == {
        ("channel", "SMS"), ("event-type", "ORDER_SHIPPED"), ("provider", "SMS:twilio"),
    }  # fmt: skip

    assert api("DELETE", SMS).status == 204
    assert api("DELETE", SMS).status == 404
    assert not Pause.objects.filter(kind="CHANNEL").exists()
    assert EndedPause.objects.get().name == "SMS"
    last = Change.objects.filter(kind="PAUSE").latest("id")
    assert (last.action, last.actor_kind, (last.before or {})["name"]) == ("DELETE", "API_KEY", "SMS")


@pytest.mark.parametrize(
    ("path", "field", "said"),
    [
        ("channel/FAX", "name", "There is no channel FAX; there are EMAIL, SMS"),
        ("event-type/SMS", "name", "ORDER_PLACED"),
        ("provider/twilio", "name", "SMS:twilio"),
        ("colour/SMS", "kind", "there are channel, provider, event-type"),
    ],
)
def test_what_there_is_not_is_named(api: Caller, path: str, field: str, said: str) -> None:
    answer = api("PUT", f"/notifications/pauses/{path}", {})
    assert answer.status == 404
    assert said in answer.body["error"]["fields"][field]
    assert not Pause.objects.exists()


def test_a_reason_is_bounded(api: Caller) -> None:
    assert api("PUT", SMS, {"reason": "x" * 201}).status == 400
    assert not Pause.objects.exists()
