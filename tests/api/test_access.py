from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.http import HttpResponseServerError
from django.test import Client, RequestFactory
from django.utils import timezone

from notifier.api.errors import handle
from notifier.api.middleware import ApiErrors
from notifier.models import ApiKey, NotificationEvent
from preferences.models import User
from tests.api.conftest import Caller


@pytest.mark.parametrize("header", ["Api-Key wrong", "Api-Key", "Bearer x", "Api-Key k\xe4se", ""])
def test_a_wrong_key_is_refused(db: None, header: str) -> None:
    answer = Caller(None)("GET", "/notifications/dead-letters", Authorization=header)

    assert (answer.status, answer.code) == (401, "UNAUTHENTICATED")
    assert answer.headers["WWW-Authenticate"] == "Api-Key"


@pytest.mark.parametrize("end", ["expires_at", "revoked_at"])
def test_a_key_that_ended_is_refused(api: Caller, end: str) -> None:
    ApiKey.objects.update(**{end: timezone.now() - timedelta(seconds=1)})

    assert api("GET", "/notifications/dead-letters").status == 401


def test_the_use_of_a_key_is_noted_once_a_minute(api: Caller) -> None:
    api("GET", "/notifications/dead-letters")
    first = ApiKey.objects.get().last_used_at
    api("GET", "/notifications/dead-letters")

    assert first is not None
    assert ApiKey.objects.get().last_used_at == first


def test_another_method_or_address_is_answered_in_json(api: Caller) -> None:
    assert api("PATCH", "/notifications/trigger").code == "METHOD_NOT_ALLOWED"
    assert api("GET", "/notifications/nothing").code == "NOT_FOUND"


@pytest.mark.parametrize(
    ("path", "content_type"), [("/notifications/x", "application/json"), ("/admin/", "text/html; charset=utf-8")]
)
def test_a_crash_is_answered_in_json_where_the_api_is(rf: RequestFactory, path: str, content_type: str) -> None:
    answer = ApiErrors(lambda _: HttpResponseServerError("<h1>Server Error</h1>"))(rf.get(path))

    assert (answer.status_code, answer.headers["Content-Type"]) == (500, content_type)


def test_an_error_that_nobody_foresaw_is_left_to_django() -> None:
    assert handle(RuntimeError("a bug"), {}) is None


def test_create_api_key_prints_the_key_alone(db: None, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("create_api_key", "shop", "--scope", "trigger", "--scope", "read")

    row = ApiKey.find(capsys.readouterr().out.removesuffix("\n"))
    assert row is not None
    assert (row.name, row.source, row.scopes) == ("shop", "shop", ["read", "trigger"])


def test_create_api_key_refuses_an_unknown_scope(db: None) -> None:
    with pytest.raises(CommandError, match="invalid choice: 'all'"):
        call_command("create_api_key", "shop", "--scope", "all")


def test_create_api_key_limits_it(db: None, capsys: pytest.CaptureFixture[str]) -> None:
    limits = ("--event-type", "order_shipped", "--network", "10.0.0.0/8", "--network", "2001:db8::1", "--days", "30")
    call_command("create_api_key", "shop", "--scope", "trigger", *limits)

    row = ApiKey.find(capsys.readouterr().out.removesuffix("\n"))
    assert row is not None
    assert (row.event_types, row.networks) == (["ORDER_SHIPPED"], ["10.0.0.0/8", "2001:db8::1/128"])
    assert row.expires_at is not None
    assert timedelta(days=29) < row.expires_at - timezone.now() <= timedelta(days=30)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--event-type", "ORDER_SHIPED", "unknown event type ORDER_SHIPED; there are .*ORDER_SHIPPED"),
        ("--network", "10.0.0.1/8", "network 10.0.0.1/8 has host bits set; write it as 10.0.0.0/8"),
        ("--network", "everywhere", "network 'everywhere' does not appear to be an IPv4 or IPv6 network"),
        ("--days", "0", "--days: 1 or more"),
    ],
)
def test_create_api_key_says_what_is_wrong(db: None, option: str, value: str, message: str) -> None:
    with pytest.raises(CommandError, match=message):
        call_command("create_api_key", "shop", "--scope", "trigger", option, value)

    assert not ApiKey.objects.exists()


def test_a_key_triggers_only_its_event_types(caller: Callable[..., Caller], ada: User) -> None:
    limited = caller("trigger", event_types=["ORDER_SHIPPED"])
    placed = {"eventType": "ORDER_PLACED", "userId": str(ada.id), "metadata": {"orderId": "ORD1"}}
    shipped = {
        "eventType": "ORDER_SHIPPED",
        "userId": str(ada.id),
        "metadata": {"orderId": "ORD1", "trackingUrl": "https://track.example/1"},
    }

    refused = limited("POST", "/notifications/trigger", placed)
    assert (refused.status, refused.code) == (403, "FORBIDDEN")
    assert refused.fields == {"eventType": "This API key may not trigger ORDER_PLACED."}
    assert limited("POST", "/notifications/trigger", shipped).status == 202
    answer = limited("POST", "/notifications/trigger/bulk", {"events": [placed, shipped]})
    assert [result["status"] for result in answer.body["results"]] == ["REFUSED", "QUEUED"]
    assert answer.body["results"][0]["error"]["code"] == "FORBIDDEN"
    assert set(NotificationEvent.objects.values_list("event_type", flat=True)) == {"ORDER_SHIPPED"}


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("10.1.2.3", 200),
        ("::ffff:10.1.2.3", 200),
        ("2001:db8::1", 200),
        ("2001:db8::2", 403),
        ("11.0.0.1", 403),
        ("", 403),
    ],
)
def test_a_key_works_only_from_its_networks(caller: Callable[..., Caller], address: str, status: int) -> None:
    limited = caller("read", networks=["10.0.0.0/8", "2001:db8::1"])
    named = {"Authorization": f"Api-Key {limited.key}", "X-Forwarded-For": "10.1.2.3"}

    answer = Client().get("/notifications/dead-letters", headers=named, REMOTE_ADDR=address)

    assert answer.status_code == status
    if status == 403:
        assert answer.json()["error"]["message"] == "This API key may not be used from this address."


def test_a_rotated_key_and_its_successor_both_work_for_a_while(
    caller: Callable[..., Caller], capsys: pytest.CaptureFixture[str]
) -> None:
    limits = {"event_types": ["ORDER_SHIPPED"], "networks": ["127.0.0.0/8"], "lifetime": timedelta(days=90)}
    old = caller("read", "trigger", source="warehouse", **limits)
    assert old.row
    call_command("rotate_api_key", old.row.prefix, "--overlap", "2")
    new = Caller(capsys.readouterr().out.removesuffix("\n"))

    rights = ApiKey.objects.values_list("name", "source", "scopes", "event_types", "networks", "lifetime")
    assert rights[0] == rights[1]
    assert [each("GET", "/notifications/dead-letters").status for each in (old, new)] == [200, 200]
    ends: dict[str, Any] = dict(ApiKey.objects.values_list("key_hash", "expires_at"))
    left = {key: ends[ApiKey.digest(key)] - timezone.now() for key in (str(old.key), str(new.key))}
    assert timedelta(days=1) < left[str(old.key)] <= timedelta(days=2)
    assert timedelta(days=89) < left[str(new.key)] <= timedelta(days=90)

    call_command("rotate_api_key", old.row.prefix, "--overlap", "0")
    assert [each("GET", "/notifications/dead-letters").status for each in (old, new)] == [401, 200]


def test_a_rotation_lengthens_no_life(caller: Callable[..., Caller]) -> None:
    row = caller("read", lifetime=timedelta(days=1)).row
    assert row

    row.rotate(timedelta(days=7))

    row.refresh_from_db()
    assert row.expires_at is not None
    assert row.expires_at - timezone.now() <= timedelta(days=1)


def test_rotate_api_key_says_what_is_wrong(caller: Callable[..., Caller]) -> None:
    row = caller("read").row
    assert row
    with pytest.raises(CommandError, match="No API key begins with 'nk_'"):
        call_command("rotate_api_key", "nk_")
    with pytest.raises(CommandError, match="--overlap: 0 or more"):
        call_command("rotate_api_key", row.prefix, "--overlap", "-1")
    ApiKey.objects.update(revoked_at=timezone.now())
    with pytest.raises(CommandError, match="has ended; make a new key instead"):
        call_command("rotate_api_key", row.prefix)
    assert ApiKey.objects.count() == 1


def test_health_needs_no_key(db: None) -> None:
    assert Caller(None)("GET", "/health/live").body == {"status": "ok"}
    assert Caller(None)("GET", "/health/ready").body == {"status": "ok"}
