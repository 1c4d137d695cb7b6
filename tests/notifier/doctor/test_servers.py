"""The checks of doctor on real servers, workers' signs, rows, and settings that are not as they should be."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import settings as django_settings
from django.db import connection
from django.utils import timezone
from pytest_django.fixtures import Settings

from channels import registry
from notifier import liveness, serving
from notifier.doctor import examine, of_channels, of_postgres, of_redis, of_settings, of_work
from notifier.doctor.finding import Finding
from notifier.models import DeadLetter, NotificationEvent, TemplateVersion
from notifier.querysets.templates import Place
from sandbox import credentials
from tests.chaos.servers import Valkey
from tests.letters import make_event, make_letter
from tests.ports import free_port
from tests.sandbox_process import Sandbox

pytestmark = pytest.mark.django_db


def levels(check: Callable[[], Iterator[Finding]]) -> list[str]:
    return [found.level.value for found in check()]


def said(check: Callable[[], Iterator[Finding]]) -> str:
    return " ".join(found.found for found in check())


def sql(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


# --- settings ----------------------------------------------------------------------------------------------------
def test_the_settings_checks_are_told(settings: Settings) -> None:
    settings.DEBUG = True
    settings.DELIVERY_LEASE = timedelta(seconds=50)
    [found] = of_settings.system_checks()
    assert found.level == "problem"
    assert "DELIVERY_LEASE" in found.found
    settings.DELIVERY_LEASE = timedelta(seconds=20)
    assert levels(of_settings.system_checks) == ["ok"]


def test_in_production_the_checks_for_it_are_told(settings: Settings) -> None:
    settings.DEBUG, settings.PUBLIC_URL = False, "https://notify.shop.example"
    assert "security.W012" in said(of_settings.system_checks), "the cookies' flag was set for development"
    settings.PUBLIC_URL = "http://notify.shop.example"
    assert "security.W012" not in said(of_settings.system_checks), "said once, by the public address"


@pytest.mark.parametrize(("seconds", "lease", "level"), [(300, 90, "ok"), (200, 90, "problem"), (300, 300, "problem")])
def test_the_visibility_timeout_is_one_and_above_the_lease(
    settings: Settings, seconds: int, lease: int, level: str
) -> None:
    settings.CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": seconds}
    settings.EVENT_LEASE = timedelta(seconds=lease)
    assert levels(of_settings.visibility) == [level]


def test_secrets_are_judged_and_never_shown(settings: Settings) -> None:
    settings.DEBUG = False
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = secrets.token_urlsafe(50), ["guess me"]
    settings.ADDRESS_KEY = settings.SECRET_KEY
    assert levels(of_settings.secrets) == ["problem", "warning"]
    assert "SECRET_KEY_FALLBACKS[0]" in said(of_settings.secrets)
    assert "guess me" not in said(of_settings.secrets)
    settings.SECRET_KEY_FALLBACKS, settings.ADDRESS_KEY = [], secrets.token_urlsafe(50)
    assert levels(of_settings.secrets) == ["ok", "ok"]


@pytest.mark.parametrize(
    ("debug", "url", "staging", "found"),
    [
        (False, "https://notify.shop.example", (), ["ok", "ok", "ok"]),
        (False, "http://notify.shop.example", ("none",), ["ok", "warning", "problem"]),
        (True, "http://127.0.0.1:8000", (), ["warning", "ok", "warning"]),
        (True, "https://notify.shop.example", (), ["problem", "ok", "ok"]),
    ],
)
def test_surroundings(settings: Settings, debug: bool, url: str, staging: tuple[str, ...], found: list[str]) -> None:
    settings.DEBUG, settings.PUBLIC_URL, settings.STAGING_RECIPIENTS = debug, url, staging
    assert levels(of_settings.surroundings) == found


# --- PostgreSQL --------------------------------------------------------------------------------------------------
def test_postgres_of_the_tests_is_new_and_not_durable() -> None:
    assert levels(of_postgres.server) == ["ok"]
    assert levels(of_postgres.durability) == ["problem"] * 3
    assert levels(of_postgres.connections) == ["ok"]
    assert levels(of_postgres.clock) == ["ok"]


def test_a_database_that_takes_no_writes() -> None:
    sql("SET LOCAL transaction_read_only = on")
    assert levels(of_postgres.server) == ["problem"]


@pytest.mark.parametrize(("timeout", "level"), [("15s", "ok"), ("0", "problem"), ("20s", "problem")])
def test_the_statement_timeout_of_our_connection(timeout: str, level: str) -> None:
    sql(f"SET LOCAL statement_timeout = '{timeout}'")
    assert levels(of_postgres.statement_timeout) == [level]


def test_pending_migrations_are_named() -> None:
    assert levels(of_postgres.migrations) == ["ok"]
    sql("DELETE FROM django_migrations WHERE app = 'preferences'")
    [found] = of_postgres.migrations()
    assert found.level == "problem"
    assert "preferences.0001" in found.found


def test_a_database_without_any_table() -> None:
    sql("ALTER TABLE django_migrations RENAME TO elsewhere")
    assert levels(of_postgres.migrations) == ["problem"]


# --- Redis -------------------------------------------------------------------------------------------------------
@pytest.fixture
def valkey(tmp_path: Path, settings: Settings) -> Iterator[redis.Redis]:
    """A server of the test's own, as it should be; settings.REDIS_URL names it."""
    (tmp_path / "logs").mkdir()
    server = Valkey(tmp_path, secrets.token_hex(4))
    server.start()
    server.wait()
    settings.REDIS_URL = server.url
    with server.client() as client:
        yield client
    server.child.end()


def test_a_redis_as_it_should_be(valkey: redis.Redis) -> None:
    for check in (of_redis.server, of_redis.memory, of_redis.persistence, of_redis.costs):
        assert levels(check) == ["ok"]


@pytest.mark.parametrize(
    ("name", "value", "check", "level"),
    [
        ("maxmemory-policy", "volatile-lru", of_redis.memory, "problem"),
        ("appendonly", "no", of_redis.persistence, "warning"),
        ("appendfsync", "no", of_redis.persistence, "warning"),
        ("notify-keyspace-events", "KEA", of_redis.costs, "warning"),
        ("timeout", "5", of_redis.costs, "warning"),
    ],
)
def test_a_redis_with_other_settings(valkey: redis.Redis, name: str, value: str, check: Any, level: str) -> None:
    valkey.config_set(name, value)
    [found] = check()
    assert found.level == level
    assert value in found.found or name in found.found
    assert found.advice


def test_a_redis_whose_settings_are_not_to_be_seen(valkey: redis.Redis, settings: Settings) -> None:
    valkey.acl_setuser(
        "hosted",
        enabled=True,
        passwords=["+word"],
        categories=["+@all"],
        commands=["-config"],
        keys=["*"],
        channels=["*"],
    )
    settings.REDIS_URL = f"redis://hosted:word@{settings.REDIS_URL.partition('@')[2]}"
    assert of_redis.config("appendfsync") is None
    for check in (of_redis.memory, of_redis.persistence, of_redis.costs):
        assert levels(check) == ["ok"]


# --- the engine --------------------------------------------------------------------------------------------------
@pytest.fixture
def signs() -> Iterator[None]:
    """No sign of life yet."""
    with redis.Redis.from_url(django_settings.REDIS_URL) as client:
        client.flushdb()
        yield
        client.flushdb()


def test_workers_and_beat(signs: None) -> None:
    assert levels(of_work.workers) == levels(of_work.beat) == ["problem"]
    liveness.alive("control@here#1", ["events", "control", "urgent"])
    assert said(of_work.workers) == "1 live, and none takes from email, sms, push, in_app."
    liveness.alive("worker@here#2", [queue.name for queue in django_settings.CELERY_TASK_QUEUES])
    liveness.ticked()
    assert levels(of_work.workers) == levels(of_work.beat) == ["ok"]


def test_the_backlog() -> None:
    assert levels(of_work.backlog) == ["ok"]
    event = make_event(status="QUEUED")
    NotificationEvent.objects.filter(pk=event.pk).update(due_at=timezone.now() - timedelta(seconds=90))
    [found] = of_work.backlog()
    assert found.level == "warning"
    assert found.found.startswith("Events due: 1; the oldest wait: normal 9")


def test_dead_letters() -> None:
    assert levels(of_work.dead_letters) == ["ok"]
    letter = make_letter(make_event())
    DeadLetter.objects.filter(pk=letter.pk).update(created_at=timezone.now() - timedelta(days=3, hours=1))
    assert said(of_work.dead_letters) == "Open: 1, the oldest for 3 days."
    assert levels(of_work.dead_letters) == ["warning"]


# --- providers and templates -------------------------------------------------------------------------------------
def test_providers_are_asked_and_nothing_is_sent(sandbox: Sandbox) -> None:
    assert [(found.check, found.level.value) for found in of_channels.providers()] == [
        ("EMAIL by sendgrid", "ok"),
        ("SMS by twilio", "ok"),
        ("PUSH by fcm", "ok"),
    ]
    assert sandbox.messages() == []


def test_a_provider_that_refuses_or_is_away(sandbox: Sandbox) -> None:
    sandbox.fault("sendgrid", mode="status", status=401)
    sandbox.fault("twilio", mode="reset")
    found = {each.check: each for each in of_channels.providers()}
    assert "It refuses us" in found["EMAIL by sendgrid"].found
    assert "It could not be asked" in found["SMS by twilio"].found
    assert {each.level for each in found.values()} == {"problem", "ok"}
    assert credentials.SENDGRID_API_KEY not in repr(found)


def test_every_template_renders_with_its_sample(sandbox: Sandbox) -> None:
    assert levels(of_channels.templates) == ["ok"]


def test_a_template_that_breaks_is_named(sandbox: Sandbox, settings: Settings, tmp_path: Path) -> None:
    broken = tmp_path / "ORDER_SHIPPED" / "SMS.de.j2"
    broken.parent.mkdir()
    broken.write_text("{% block text %}{{ metadata.trackingUrl | nonsense_of }}{% endblock %}")
    settings.MESSAGE_TEMPLATE_DIRS = [tmp_path, *settings.MESSAGE_TEMPLATE_DIRS]
    [found] = of_channels.templates()
    assert found.level == "problem"
    assert found.found.startswith("ORDER_SHIPPED by SMS in de: ORDER_SHIPPED/SMS.de.j2")


def test_a_published_version_that_broke_is_named(sandbox: Sandbox) -> None:
    version = TemplateVersion.objects.save_draft(
        Place("ORDER_SHIPPED", "SMS", "de"), "{% block text %}A{% endblock %}", note="", author="ada", base=0
    )
    TemplateVersion.objects.publish(version.place, version.number, publisher="ada", instead_of=0)
    TemplateVersion.objects.note_broken(version.number, "it failed")
    serving.forget()
    found = list(of_channels.templates())
    serving.forget()
    assert [each.level for each in found] == ["problem", "ok"], "the file serves, and renders"
    assert f"ORDER_SHIPPED/SMS.de v{version.number} failed on a message" in found[0].found


def test_a_channel_that_cannot_be_built_keeps_no_other_from_being_asked(sandbox: Sandbox, settings: Settings) -> None:
    broken = {"CHANNEL": "channels.sms.SmsChannel", "PROVIDERS": []}
    settings.CHANNELS = {**settings.CHANNELS, "SMS": broken}
    registry.clear()
    assert [found.check for found in of_channels.providers()] == ["EMAIL by sendgrid", "PUSH by fcm"]


# --- all of it ---------------------------------------------------------------------------------------------------
def test_servers_that_are_away_are_said_once_and_the_rest_goes_on(sandbox: Sandbox, settings: Settings) -> None:
    settings.REDIS_URL = f"redis://:topsecret@127.0.0.1:{free_port()}/0"
    found = list(examine())
    away = "It could not be asked further: ConnectionError."
    assert [each.found for each in found if each.check == "redis"] == [away]
    assert found[-1].check == "templates"
    assert "topsecret" not in repr(found)
