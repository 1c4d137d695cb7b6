"""What production does that development does not: transport, cookies, pages without a debugger."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path
from pytest_django.fixtures import Settings

from config.content_security_policy import BEAT_SCRIPT
from config.log_filters import HideBodies, HideTokens
from preferences.models import User
from sandbox import credentials
from tests.config.test_settings import PRODUCTION, ROOT, TWILIO

SECURE = {
    **PRODUCTION,
    **TWILIO,
    "SECRET_KEY": "pz4#qv!t8m2kx9w0c7s5h1n6b3j_y+gf-dl@ruoaeik$0123456789",
    "PUBLIC_URL": "https://notifier.shop.example",
    "SMTP_URL": "smtp://u:p@127.0.0.1:25",
    "FCM_PROJECT_ID": credentials.FCM_PROJECT_ID,
    "SMS_DAILY_BUDGET": "1000",
    "SMS_REGIONS": "DE,GB",
}
MARK = "Zyxwvut"


def manage(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    command = [sys.executable, "manage.py", *arguments]
    env = {**kept, **environment}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def setting(name: str, **environment: str) -> str:
    code = f"from django.conf import settings; print(settings.{name})"
    return shell(code, **environment)


def shell(code: str, **environment: str) -> str:
    given = {**SECURE, "FCM_SERVICE_ACCOUNT_FILE": "x", **environment}
    return manage("shell", "--no-imports", "--command", code, **given).stdout.strip()


def test_djangos_deployment_checks_find_nothing(tmp_path: Path) -> None:
    account = tmp_path / "account.json"
    credentials.write_service_account(account, "https://127.0.0.1/token")

    done = manage("check", "--deploy", "--fail-level", "WARNING", **SECURE, FCM_SERVICE_ACCOUNT_FILE=str(account))

    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout


def test_plain_http_is_said_to_be_none() -> None:
    done = manage(
        "check", "--deploy", "--tag", "security", "--fail-level", "WARNING",
        **{**SECURE, "PUBLIC_URL": "http://notifier.shop.example"}, FCM_SERVICE_ACCOUNT_FILE="x",
    )  # fmt: skip

    assert done.returncode == 1
    assert "security.W012" in done.stderr


def test_a_proxy_that_redirects_itself_can_be_left_to_it() -> None:
    assert setting("SECURE_SSL_REDIRECT") == "True"
    assert setting("SECURE_SSL_REDIRECT", SSL_REDIRECT="0") == "False"


@pytest.mark.parametrize(
    ("value", "message"), [("api", "is taken by other addresses"), ("a b", "is no part of an address")]
)
def test_an_admin_path_that_cannot_be_is_refused(value: str, message: str) -> None:
    done = manage("check", **SECURE, ADMIN_PATH=value)

    assert done.returncode == 1
    assert done.stderr.startswith(f"Notifier cannot start: ADMIN_PATH='{value}' {message}")


def test_the_admin_is_where_the_environment_says() -> None:
    code = "from django.urls import reverse; print(reverse('admin:index'))"

    assert shell(code, ADMIN_PATH="/staff/") == "/staff/"


def crash(request: HttpRequest) -> HttpResponse:
    secret = MARK  # noqa: F841 - a debugger would show it
    raise RuntimeError(f"{MARK} {request.path}")


urlpatterns = [path("notifications/crash", crash), path("preferences/crash", crash)]


@pytest.mark.parametrize("address", ["/notifications/crash", "/preferences/crash"])
def test_a_crash_shows_nothing_of_what_happened(settings: Settings, address: str) -> None:
    settings.ROOT_URLCONF = __name__
    settings.WHITENOISE_AUTOREFRESH = True

    answer = Client(raise_request_exception=False).get(address)

    assert answer.status_code == 500
    for leak in (MARK, "Traceback", "RuntimeError", "Django", "settings"):
        assert leak not in answer.content.decode()


@pytest.fixture
def page(db: None, settings: Settings) -> Client:
    settings.WHITENOISE_AUTOREFRESH = True
    return Client()


@pytest.mark.parametrize(
    ("address", "script", "style"),
    [
        ("/admin/login/", "script-src 'self' 'unsafe-eval' 'sha256-", "style-src 'self' 'unsafe-inline'"),
        ("/api/docs", "script-src 'self';", "style-src 'self' 'unsafe-inline'"),
        ("/unsubscribe/none", "script-src 'self';", "style-src 'self';"),
        ("/health/live", "script-src 'self';", "style-src 'self';"),
    ],
)
def test_every_page_says_what_it_may_load(page: Client, address: str, script: str, style: str) -> None:
    answer = page.get(address)

    policy = f"{answer['Content-Security-Policy']};"
    assert script in policy
    assert style in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert answer["X-Frame-Options"] == "DENY"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Referrer-Policy"] in {"same-origin", "no-referrer"}
    assert "Access-Control-Allow-Origin" not in answer.headers, "no page of another site calls us"


def test_pages_hold_no_script_of_their_own(page: Client) -> None:
    for address in ("/api/docs", "/admin/login/", "/unsubscribe/none"):
        page_ = page.get(address).content.decode()
        assert "<script>" not in page_, address
        assert "onclick" not in page_, address


def test_the_one_script_in_the_admins_pages_is_the_one_that_is_let_run(page: Client) -> None:
    page.force_login(User.objects.create_superuser("root"), backend="django.contrib.auth.backends.ModelBackend")

    shown = page.get("/admin/django_celery_beat/periodictask/add/").content.decode()

    found = re.findall(r"<script([^>]*)>(.*?)</script>", shown, re.DOTALL)
    scripts = [text for tag, text in found if "src=" not in tag and "json" not in tag]
    hashes = [b64encode(sha256(script.encode()).digest()).decode() for script in scripts]
    assert [f"'sha256-{each}'" for each in hashes] == [BEAT_SCRIPT]


def test_plain_http_is_led_to_https_but_for_who_asks_from_within(page: Client, settings: Settings) -> None:
    settings.SECURE_SSL_REDIRECT, settings.SECURE_HSTS_SECONDS = True, 1

    assert page.get("/admin/login/")["Location"] == "https://testserver/admin/login/"
    assert page.get("/health/live").status_code == 200
    assert "max-age=1" in page.get("/admin/login/", secure=True)["Strict-Transport-Security"]


@pytest.mark.parametrize(
    ("message", "args", "told"),
    [
        ("%s: %s", ("Not Found", "/preferences/abc.def"), "Not Found: /preferences/…"),
        ('%s - "%s %s HTTP/%s" %d', ("1.2.3.4", "GET", "/unsubscribe/abc?x=1", "1.1", 200),
         '1.2.3.4 - "GET /unsubscribe/…?x=1 HTTP/1.1" 200'),
        ("Bad Request: /notifications/users/7/devices/push/token", (), "Bad Request: /notifications/users/7/devices/…"),
        ("%s", ("/notifications/preferences/quiet-hours",), "/notifications/preferences/quiet-hours"),
    ],
)  # fmt: skip
def test_an_address_in_the_log_shows_no_token(message: str, args: tuple[object, ...], told: str) -> None:
    record = logging.LogRecord("django.request", logging.WARNING, "", 1, message, args, None)

    assert HideTokens().filter(record)
    assert record.getMessage() == told


@pytest.mark.parametrize(
    ("message", "args", "told"),
    [
        ("Received unregistered task of type %s.\n\nbody was:\n%s", (KeyError("x"), MARK), "of type 'x'."),
        ("Can't decode message body: %r [type:%r headers:%s]\n\nbody: %s", ("e", "t", MARK, MARK), "body: 'e'"),
        ("Unknown message.\n\nThe body was: %s", (MARK,), "Unknown message."),
        ("%d events", (3,), "3 events"),
    ],
)
def test_a_message_that_no_worker_takes_is_not_dumped(message: str, args: tuple[object, ...], told: str) -> None:
    record = logging.LogRecord("celery.worker", logging.ERROR, "", 1, message, args, None)

    assert HideBodies().filter(record)
    assert record.getMessage().endswith(told)
    assert MARK not in record.getMessage()
