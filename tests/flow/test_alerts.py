"""Staff hear of trouble once and of its end once, and somebody else where nobody acts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, Permission
from django.db.models import F
from django.test import Client, override_settings
from django.urls import reverse
from pytest_django.fixtures import Settings

from channels.testing import forget_gates
from notifier import alerts, tally, watch
from notifier.measures import ATTEMPTS
from notifier.models import Alert, ApiKey, NotificationEvent
from notifier.tally import Key
from notifier.watch import judge
from preferences.models import User
from tests import engine
from tests.api.conftest import Caller
from tests.sandbox_process import Sandbox
from tests.tallies import tally_of_nothing

pytestmark = pytest.mark.django_db(transaction=True)

SHIPPED = {"orderId": "ORD1", "trackingUrl": "https://track.example/1"}


@pytest.fixture(autouse=True)
def _nothing_learned(sandbox: Sandbox) -> Iterator[None]:
    tally_of_nothing()
    forget_gates()
    yield
    forget_gates()
    tally_of_nothing()


@pytest.fixture(autouse=True)
def staff() -> dict[str, User]:
    """One person in each group that is told."""
    found = {}
    for name in ("operations", "fraud", "administrators"):
        user = User.objects.create_user(name, email=f"{name}@shop.example", phone="+4915112345678", is_staff=True)
        user.groups.add(Group.objects.get_or_create(name=name)[0])
        found[name] = user
    return found


@pytest.fixture
def api(settings: Settings) -> Caller:
    settings.WHITENOISE_AUTOREFRESH = True  # no collectstatic in tests
    return Caller(ApiKey.issue("oncall", ApiKey.SCOPES)[1])


def later(by: timedelta) -> None:
    names = ("opened_at", "told_at", "seen_at")
    Alert.objects.update(**{name: F(name) - by for name in names})


def told() -> list[tuple[str, str, str]]:
    """Who was told of what, in the order in which it was recorded."""
    rows = NotificationEvent.objects.exclude(event_type="ORDER_SHIPPED").order_by("id").select_related("user")
    return [(str(row.user), row.event_type, str(row.metadata.get("state", ""))) for row in rows]


def counts(**outcomes: int) -> dict[Key, int]:
    return {(ATTEMPTS.name, "SMS", "twilio", outcome): number for outcome, number in outcomes.items()}


@pytest.mark.parametrize(
    ("lately", "usual", "is_trouble"),
    [
        (counts(ACCEPTED=100), {}, False),
        (counts(UNAVAILABLE=4), {}, False),
        (counts(UNAVAILABLE=5), {}, True),
        (counts(ACCEPTED=10, UNAVAILABLE=5), {}, False),
        (counts(ACCEPTED=80, UNKNOWN=20), counts(ACCEPTED=1000), True),
        (counts(ACCEPTED=80, UNKNOWN=20), counts(ACCEPTED=900, UNKNOWN=100), False),  # twice the usual share
        (counts(ACCEPTED=30, REJECTED=70), counts(ACCEPTED=900, UNKNOWN=100), True),
        (counts(ACCEPTED=10, INVALID_RECIPIENT=90), {}, False),  # wrong numbers are not the provider's trouble
        (counts(ACCEPTED=10, RATE_LIMITED=90), {}, False),
        ({}, counts(UNAVAILABLE=50), False),
    ],
)
def test_a_spike_is_many_failures_against_the_usual_share(
    lately: dict[Key, int], usual: dict[Key, int], is_trouble: bool
) -> None:
    assert bool(list(judge(lately, usual))) is is_trouble


def test_an_outage_is_told_once_and_so_is_its_end(sandbox: Sandbox) -> None:
    sandbox.fault("twilio", mode="status", status=503)
    users = [User.objects.create_user(phone=f"+49151123400{n:02}") for n in range(12)]
    for user in users:
        engine.trigger("ORDER_SHIPPED", user.id, metadata=SHIPPED)
    engine.send(started := engine.round_of())
    engine.settle_round(started)
    tally.flush()

    assert watch.watch()
    alert = Alert.objects.get()
    assert (alert.kind, alert.subject) == ("CHANNEL_DEGRADED", "SMS:twilio")
    assert alert.text.startswith("SMS by twilio: ")
    assert not watch.watch()
    assert told() == [("operations", "CHANNEL_DEGRADED", "")]

    sandbox.heal()
    forget_gates()
    tally_of_nothing()
    assert not watch.watch()  # it may come back
    later(timedelta(seconds=61))
    assert watch.watch()
    assert not watch.watch()
    assert told() == [("operations", "CHANNEL_DEGRADED", ""), ("operations", "CHANNEL_DEGRADED", "recovered")]
    engine.run()
    mails = [m for m in sandbox.messages() if m["provider"] == "sendgrid"]
    assert sum("operations@shop.example" in str(mail) for mail in mails) == 2


def test_who_does_not_acknowledge_is_followed_by_the_next(settings: Settings) -> None:
    tally.add(counts(UNAVAILABLE=50))
    tally.flush()
    assert watch.watch()
    later(settings.ESCALATE_AFTER)
    assert watch.watch()
    later(settings.ESCALATE_AFTER)
    assert not watch.watch()  # there is nobody else
    assert [who for who, *_ in told()] == ["operations", "administrators"]

    tally_of_nothing()
    later(timedelta(minutes=2))
    watch.watch()
    assert [(who, state) for who, _, state in told()[2:]] == [
        ("operations", "recovered"), ("administrators", "recovered"),
    ]  # fmt: skip


def test_who_acknowledges_is_the_last_to_hear(api: Caller, settings: Settings) -> None:
    event = engine.trigger("FRAUD_ALERT", metadata={"orderId": "ORD7", "reason": "two countries"})
    alert = Alert.objects.get()
    assert (alert.kind, alert.subject, alert.text) == ("FRAUD_ALERT", str(event), "Fraud alert: ORD7")
    (row,) = api("GET", "/notifications/alerts?open=true").body["results"]
    assert row["alertId"] == str(alert.id)
    answer = api("POST", f"/notifications/alerts/{alert.id}/acknowledge")
    assert answer.status == 200
    assert answer.body["acknowledgedBy"].startswith("key ")
    assert api("GET", "/notifications/alerts?open=true").body["results"] == []
    assert api("POST", "/notifications/alerts/01920000-0000-7000-8000-000000000001/acknowledge").status == 404
    later(2 * settings.ESCALATE_AFTER)
    assert not watch.watch()
    assert [who for who, *_ in told()] == ["fraud"]


def test_the_same_trigger_again_opens_nothing_more() -> None:
    for _ in range(2):
        engine.trigger("FRAUD_ALERT", metadata={"orderId": "ORD7"}, idempotencyKey="mine")
    engine.trigger("FRAUD_ALERT", metadata={"orderId": "ORD8"})
    assert Alert.objects.count() == 2


def test_staff_take_alerts_on_in_the_admin(settings: Settings, client: Client, staff: dict[str, User]) -> None:
    settings.WHITENOISE_AUTOREFRESH = True
    engine.trigger("FRAUD_ALERT", metadata={"orderId": "ORD7"})
    alert = Alert.objects.get()
    member = staff["fraud"]
    member.user_permissions.set(Permission.objects.filter(codename__in=["view_alert"]))
    client.force_login(member)
    page = reverse("admin:notifier_alert_changelist")
    assert "Fraud alert: ORD7" in client.get(page).content.decode()
    body = {"action": "acknowledge", "_selected_action": str(alert.id)}
    client.post(page, body)
    assert alerts.open_alerts().exists()
    member.user_permissions.add(Permission.objects.get(codename="acknowledge_alert"))
    client.post(page, body)
    alert.refresh_from_db()
    assert alert.acknowledged_by == "fraud"


def test_without_redis_nothing_is_seen_and_nothing_breaks() -> None:
    with override_settings(REDIS_URL="redis://127.0.0.1:1/0"):
        assert not watch.watch()
