"""The environment decides, and a wrong one stops the start with one line that names the variable."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PRODUCTION = {
    "DATABASE_URL": "postgres://u:p@127.0.0.1:1/none",
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "SECRET_KEY": "x" * 60,
    "ALLOWED_HOSTS": "shop.example",
}
TWILIO = {"TWILIO_ACCOUNT_SID": "AC1", "TWILIO_AUTH_TOKEN": "t", "TWILIO_FROM": "+12025550100"}
SHOW = "from django.conf import settings as s; print(sorted(s.CHANNELS), s.DEBUG, s.DATABASES['default']['NAME'])"


def start(show: str = SHOW, **environment: str) -> subprocess.CompletedProcess[str]:
    """Read the settings in a process of their own, with this environment and nothing else of ours."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    env = {**kept, "DJANGO_SETTINGS_MODULE": "config.settings", **environment}
    return subprocess.run([sys.executable, "-c", show], cwd=ROOT, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["DATABASE_URL", "REDIS_URL", "SECRET_KEY"])
def test_production_names_what_is_unset(name: str) -> None:
    ended = start(**{key: value for key, value in PRODUCTION.items() if key != name})
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"Notifier cannot start: {name} is not set")
    assert ended.stderr.count("\n") == 1


def test_production_without_providers_has_the_inbox_alone() -> None:
    assert start(**PRODUCTION).stdout.strip() == "['IN_APP'] False none"


def test_a_provider_with_credentials_is_on() -> None:
    smtp = {"SMTP_URL": "smtp://u:p@127.0.0.1:25"}
    assert start(**PRODUCTION, **TWILIO, **smtp).stdout.startswith("['EMAIL', 'IN_APP', 'SMS']")


def test_half_a_providers_credentials_stop_the_start() -> None:
    ended = start(**PRODUCTION, TWILIO_FROM="+12025550100")
    assert ended.returncode == 1
    assert "TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN not set" in ended.stderr


@pytest.mark.parametrize(("name", "value"), [("DEBUG", "perhaps"), ("NOTIFIER_DISPATCH_BATCH", "many")])
def test_a_value_that_cannot_be_read_is_named(name: str, value: str) -> None:
    ended = start(**{**PRODUCTION, name: value})
    assert ended.returncode == 1
    assert f"{name}='{value}'" in ended.stderr


@pytest.mark.parametrize("name", ["NOTIFIER_QUEUE_BOUND", "NOTIFIER_DISPATCH_BATCH"])
def test_a_bound_of_nothing_is_refused(name: str) -> None:
    """With 0 nothing would ever be sent."""
    done = start(**{**PRODUCTION, name: "0"})
    assert done.returncode
    assert f"Notifier cannot start: {name}='0' is too small; use 1 or more." in done.stderr


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("NOTIFIER_KEY_RATE", "many", "NOTIFIER_KEY_RATE='many' is no rate; write it as 60/minute"),
        ("NOTIFIER_KEY_RATE", "5/minute;7/hour", "is no rate"),
        ("SMS_REGIONS", "DE,Austria", "SMS_REGIONS: AUSTRIA is no country's code of two letters, as DE."),
        (
            "STAGING_RECIPIENTS",
            "qa@shop.example,everybody",
            "STAGING_RECIPIENTS: 'everybody' is neither a mail address",
        ),
        ("NOTIFIER_SOURCES", "celery", "NOTIFIER_SOURCES cannot be read; write it as source=TYPE,TYPE;source=TYPE."),
        ("NOTIFIER_SYNTHETIC_USER", "ada", "NOTIFIER_SYNTHETIC_USER='ada' is no user's id"),
        ("STAGING_RECIPIENTS", "*=@shop.example", "STAGING_RECIPIENTS: '*=@shop.example' is neither"),
    ],
)
def test_a_limit_that_cannot_be_read_stops_the_start(name: str, value: str, said: str) -> None:
    ended = start(**PRODUCTION, **{name: value})
    assert ended.returncode == 1
    assert said in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_limits_are_read() -> None:
    show = (
        "from django.conf import settings as s; "
        "print(s.API_RATES['key'] or None, sorted(s.SMS_REGIONS), s.STAGING_RECIPIENTS, "
        "s.CHANNELS['SMS']['DAILY_BUDGET'])"
    )
    staging = "qa@shop.example, @test.example,+4915112345678 ,*=device:t0:k_1"
    ended = start(
        show=show,
        **PRODUCTION,
        **TWILIO,
        NOTIFIER_KEY_RATE="0",
        SMS_REGIONS="de, AT",
        STAGING_RECIPIENTS=staging,
        SMS_DAILY_BUDGET="500",
    )
    entries = ("qa@shop.example", "@test.example", "+4915112345678", "*=device:t0:k_1")
    assert ended.stdout.strip() == f"None ['AT', 'DE'] {entries} 500"


def test_sources_are_read() -> None:
    show = "from django.conf import settings as s; print(s.SOURCES)"
    ended = start(
        show=show, **PRODUCTION, NOTIFIER_SOURCES="celery=ORDER_PLACED, ORDER_SHIPPED; order-events=ORDER_PLACED;"
    )
    expected = {"celery": ("ORDER_PLACED", "ORDER_SHIPPED"), "order-events": ("ORDER_PLACED",)}
    assert ended.stdout.strip() == str(expected)


def test_the_start_says_that_it_is_staging() -> None:
    said = start(show="import django; django.setup()", **PRODUCTION, STAGING_RECIPIENTS="qa@shop.example").stderr
    assert "Staging: messages go to nobody but those whom STAGING_RECIPIENTS names." in said
    assert "qa@" not in said
