from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from django.http import HttpResponseServerError
from django.test import RequestFactory
from django.utils import timezone
from pytest_django.fixtures import Settings
from rest_framework.views import APIView

from notifier.api import urls
from notifier.api.errors import handle
from notifier.api.middleware import ApiErrors
from notifier.models import ApiKey
from tests.api.conftest import Caller

SOMEBODY = f"/notifications/users/{UUID(int=7)}"
CALLS = [
    ("POST", "/notifications/trigger", "trigger"),
    ("POST", "/notifications/trigger/bulk", "trigger"),
    ("GET", "/notifications/events?orderId=1", "read"),
    ("GET", f"/notifications/events/{UUID(int=7)}", "read"),
    ("PUT", SOMEBODY, "admin"),
    ("DELETE", SOMEBODY, "admin"),
    ("POST", "/notifications/users/bulk", "admin"),
    ("PUT", f"{SOMEBODY}/devices/t", "admin"),
    ("DELETE", f"{SOMEBODY}/devices/t", "admin"),
    ("GET", "/notifications/preferences", "preferences"),
    ("POST", "/notifications/preferences", "preferences"),
    ("PUT", "/notifications/preferences", "preferences"),
    ("DELETE", "/notifications/preferences", "preferences"),
    ("GET", "/notifications/inbox", "read"),
    ("POST", f"/notifications/inbox/{UUID(int=7)}/read", "read"),
    ("GET", "/notifications/dead-letters", "read"),
    ("POST", "/notifications/dead-letters/replay", "admin"),
]


@pytest.mark.parametrize(("method", "path", "scope"), CALLS)
def test_each_call_needs_a_key_with_its_scope(
    caller: Callable[..., Caller], method: str, path: str, scope: str
) -> None:
    others = [other for other in ApiKey.SCOPES if other != scope]

    assert Caller(None)(method, path, {}).status == 401
    refused = caller(*others)(method, path, {})
    assert (refused.status, refused.code) == (403, "FORBIDDEN")
    assert scope in refused.body["error"]["message"]
    assert caller(scope)(method, path, {}).status not in {401, 403}


def test_every_view_of_the_api_names_its_scopes() -> None:
    views: list[Any] = [getattr(pattern.callback, "cls", None) for pattern in urls.urlpatterns]
    ours = [view for view in views if view and view.__module__.startswith("notifier.api")]

    assert len(ours) > 10
    for view in ours:
        assert issubclass(view, APIView)
        methods = {method for method in ("GET", "POST", "PUT", "PATCH", "DELETE") if hasattr(view, method.lower())}
        assert set(view.required_scopes) == methods, view


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


def test_a_key_over_its_limit_is_told_to_wait(api: Caller, settings: Settings) -> None:
    settings.REST_FRAMEWORK = settings.REST_FRAMEWORK | {"DEFAULT_THROTTLE_RATES": {"api_key": "1/min"}}

    answers = [api("GET", "/notifications/dead-letters") for _ in range(2)]

    assert [answer.status for answer in answers] == [200, 429]
    assert answers[1].code == "RATE_LIMITED"
    assert 1 <= int(answers[1].headers["Retry-After"]) <= 60


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


def test_health_needs_no_key(db: None) -> None:
    assert Caller(None)("GET", "/health/live").body == {"status": "ok"}
    assert Caller(None)("GET", "/health/ready").body == {"status": "ok", "database": "ok"}
