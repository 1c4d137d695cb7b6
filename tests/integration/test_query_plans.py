"""With months of history in the tables, every statement of the engine still goes by an index: the cost stays flat."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.apps import apps
from django.conf import settings as django_settings
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import Settings
from pytest_django.plugin import DjangoDbBlocker

from channels.models import InboxMessage
from channels.testing import forget_gates
from notifier import dispatch
from notifier.figures import figures
from notifier.models import ApiKey, Delivery, NotificationEvent
from notifier.order_list import checked, states
from notifier.querysets.dead_letters import Filter
from notifier.querysets.events import Person, Sought
from notifier.reconcile_orders import Terms, reconcile
from notifier.record import record_many
from notifier.replay import replay
from notifier.retention import delete_old
from notifier.story import page_of, sought, stories
from notifier.sweep import sweep
from notifier.trigger import TriggerError, parse
from preferences.models import SuppressedAddress, User
from tests import engine, history
from tests.api.conftest import Caller
from tests.plans import Plan, plans
from tests.sandbox_process import Sandbox

pytestmark = pytest.mark.django_db

# partial indexes of what is under way or open: their size is not that of the history
SMALL = {
    "event_due", "event_leased", "delivery_leased", "delivery_retrying", "delivery_paused",
    "dead_letter_open_once_per_delivery",
}  # fmt: skip


SUPPRESSED = {"kind": "email", "address": "gone7@shop.example"}


@pytest.fixture(scope="module", autouse=True)
def past(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    with django_db_blocker.unblock():
        history.fill()
        yield
        history.clear()


@pytest.fixture
def people() -> list[User]:
    return list(User.objects.all()[:100])


def indexes_of(found: Sequence[Plan]) -> set[str]:
    """The indexes by which these statements go; fails where one reads a table or an index from end to end."""
    for plan in found:
        whole = {(t, i) for t, i in plan.read_whole() if t in history.TABLES and i not in SMALL}
        assert not whole, plan.sql
    return {name for plan in found for name in plan.indexes}


def trigger(people: Sequence[User], **more: Any) -> list[UUID]:
    """One event of one order for each of them, and for a guest."""
    whom: list[dict[str, Any]] = [{"userId": str(user.id)} for user in people]
    whom.append({"recipient": {"email": "guest@shop.example"}})
    metadata = {"orderId": "ORD77", "trackingUrl": "https://track.example"}
    bodies = [{"eventType": "ORDER_SHIPPED", "metadata": metadata, **addressee, **more} for addressee in whom]
    results = record_many([parse(body) for body in bodies], "shop")
    return [found[0].event_id for found in results if not isinstance(found, TriggerError)]


def later(events: Sequence[UUID], by: timedelta) -> None:
    """As engine.pass_time, for these alone; and the providers are given another chance."""
    forget_gates()
    NotificationEvent.objects.filter(id__in=events).update(due_at=F("due_at") - by, lease_until=F("lease_until") - by)
    Delivery.objects.filter(event__in=events).update(due_at=F("due_at") - by, first_due_at=F("first_due_at") - by)


def test_recording(people: list[User]) -> None:
    with plans() as found:
        trigger(people)
        for _ in range(2):
            trigger([], idempotencyKey="the same")
    assert indexes_of(found) == {"preferences_user_pkey", "event_once_per_source_and_key"}


def test_rounds(people: list[User], sandbox: Sandbox) -> None:
    trigger(people)
    with plans() as found:
        assert dispatch.lanes_due()
        engine.run()
    assert indexes_of(found) >= {
        "event_due",
        "event_order",
        "delivery_once_per_event_and_channel",
        "notifier_delivery_pkey",
        "notifier_notificationevent_pkey",
        "preference_once_per_choice",
        "suppressed_once_per_address",
    }


def test_failures(people: list[User], sandbox: Sandbox) -> None:
    events = trigger(people[:20])
    sandbox.fault("sendgrid", mode="status", status=400)
    sandbox.fault("twilio", mode="status", status=500)
    sandbox.fault("fcm", mode="status", status=503)
    with plans() as found:
        engine.run()
    for _ in range(3):
        later(events, timedelta(minutes=2))
        with plans() as more:
            engine.run()
        found += more
    with plans() as more:
        Delivery.objects.wake("PUSH", timedelta())
        Delivery.objects.release("SMS", "", 100, timedelta(seconds=20))
        Delivery.objects.release("", "ORDER_SHIPPED", 100, timedelta(seconds=20))
        Delivery.objects.message_ids("SMS", ["ORD77"], excluding=[])
    assert indexes_of([*found, *more]) >= {
        "attempt_once_per_claim",
        "delivery_retrying",
        "delivery_paused",
        "event_order",
    }


def test_repairs(people: list[User], sandbox: Sandbox) -> None:
    trigger(people[:20])
    engine.round_of()
    engine.die_while_sending()
    with plans() as found:
        sweep(messages_lost=True)
        engine.repair()
        engine.run()
    assert indexes_of(found) >= {"event_leased", "delivery_leased"}


def test_a_claim_reads_no_more_of_a_backlog_than_it_takes(people: list[User]) -> None:
    backlog = NotificationEvent.objects.order_by("-id").values("id")[:5000]
    NotificationEvent.objects.filter(id__in=backlog).update(status="QUEUED", settled_at=None, due_at=Now())
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE notifier_notificationevent")
    with plans() as found:
        NotificationEvent.objects.claim_due(dispatch.Lane.STANDARD.value, 100, django_settings.EVENT_LEASE, whole=True)
    assert "event_due" in indexes_of(found)
    assert "Sort" not in {node["Node Type"] for node in found[0].nodes}


def test_looking_up(settings: Settings, client: Client) -> None:
    settings.WHITENOISE_AUTOREFRESH = True  # there is no collectstatic in tests
    api = Caller(ApiKey.issue("shop", ApiKey.SCOPES)[1])
    event, message = NotificationEvent.objects.filter(status="FAILED")[0], InboxMessage.objects.all()[0]
    suppressed = SuppressedAddress.objects.get(**SUPPRESSED).id
    with plans() as found:
        answers = [
            api("GET", f"/notifications/events/{event.id}"),
            api("GET", f"/notifications/events?orderId={event.order_id}"),
            api("GET", f"/notifications/inbox?userId={message.user_id}"),
            api("POST", f"/notifications/inbox/{message.id}/read"),
            api("GET", "/notifications/dead-letters?channel=EMAIL"),
            api("POST", "/notifications/suppressed-addresses/search", SUPPRESSED),
            api("GET", f"/notifications/suppressed-addresses/{suppressed}"),
        ]
        assert client.get("/metrics").status_code == 200
        figures()
    assert {answer.status for answer in answers} == {200}
    assert indexes_of(found) >= {
        "event_order",
        "inbox_newest_first",
        "dead_letter_open",
        "attempt_once_per_claim",
        "event_due",
        "suppressed_once_per_address",
        "preferences_suppressedaddress_pkey",
    }


def test_reconciling(people: list[User]) -> None:
    asked = [(f"ORD{number}", word) for number in range(1, 500) for word in ("shipped", "cancelled")]
    at, whom = timezone.now() - timedelta(hours=1), {"userId": str(people[0].id)}
    listed = [
        checked(line, {"orderId": order, "state": state, "time": at.isoformat(), **whom}, states({}))
        for line, (order, state) in enumerate(asked)
    ]
    with plans() as found:
        report = reconcile(listed, Terms(record=True))
    assert report.counts == {"TOLD": 499, "BEHIND": 499, "RECORDED": 499}
    assert indexes_of(found) == {"event_order", "preferences_user_pkey"}


def test_replaying() -> None:
    with plans() as found:
        assert replay(Filter(channels=["EMAIL"]), force=True, limit=20).replayed == 20
    assert indexes_of(found) >= {"event_order", "notifier_deadletter_pkey"}


def test_deleting_what_is_old(settings: Settings) -> None:
    settings.RETENTION = timedelta(days=history.DAYS - 4)
    with plans() as found:
        assert delete_old().events > 1000
    assert indexes_of(found) >= {
        "notifier_notificationevent_pkey",
        "delivery_once_per_event_and_channel",
        "notifier_delivery_pkey",
        "attempt_once_per_claim",
        "notifier_deadletter_pkey",
        "notifier_channels_inboxmessage_pkey",
    }


@pytest.mark.parametrize(
    "table", ["notifier_notificationevent", "notifier_delivery", "notifier_attempt", "notifier_channels_inboxmessage"]
)
def test_big_tables_are_vacuumed_long_before_a_fifth_of_them_is_dead(table: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT reloptions FROM pg_class WHERE relname = %s", [table])
        assert "autovacuum_vacuum_scale_factor=0.01" in cursor.fetchone()[0]


# as many as make an index worth its while
GUESTS = """
INSERT INTO notifier_notificationevent (id, source, body_hash, event_type, priority, recipient, recipient_key,
    order_id, metadata, status, round, expires_at, due_at)
SELECT gen_random_uuid(), 'shop', 'x', 'ORDER_SHIPPED', 1,
    json_build_object('email', 'guest' || number || '@mail.example', 'phone', '+1202555' || lpad(number::text, 4, '0')),
    'guest', '', '{}', 'SENT', 1, statement_timestamp(), NULL
FROM generate_series(1, 3000) AS number;
ANALYZE notifier_notificationevent
"""


def test_what_the_timeline_seeks_is_found_by_indexes(people: list[User]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(GUESTS)
    event = NotificationEvent.objects.exclude(order_id="")[0]
    seeks = [
        Sought(event_id=event.id), Sought(order_id=event.order_id), Sought(user_ids=[people[0].id]),
        Sought(email="guest7@mail.example"), Sought(phone="+12025550007"),
    ]  # fmt: skip

    with plans() as found:
        events = [page_of(one, older_than=older)[0] for one in seeks for older in ("", str(event.id))]
        stories([one for page in events for one in page])
        sought("+4915110000007"), sought("person7@shop.example")

    assert indexes_of(found) >= {
        "notifier_notificationevent_pkey", "event_order", "event_user", "event_guest_email", "event_guest_phone",
        "user_email", "user_phone",
    }  # fmt: skip


LISTS = {
    "notifier_notificationevent": [
        "",
        "status__exact=FAILED",
        "event_type=FRAUD_ALERT&within=7d",
        "q=ORD7",
        "q=failed",
    ],
    "notifier_deadletter": ["", "status=REPLAYED", "event_type=ORDER_PLACED", "q=EMAIL"],
    "notifier_channels_inboxmessage": ["", f"q={UUID(int=7)}"],
    "preferences_user": ["", "staff=yes", "is_active__exact=0", "q=person7@shop.example"],
    "preferences_preference": ["", "q=person7@shop.example"],
    "preferences_suppressedaddress": ["", "kind__exact=phone", "reason__exact=OPTED_OUT", "q=gone77"],
    "preferences_change": ["", "kind__exact=API_KEY"],
}


@pytest.mark.parametrize("model", LISTS)
def test_the_admins_lists_read_no_table_whole(model: str, settings: Settings, client: Client) -> None:
    """By any filter, and on a page far on; no row is skipped over by OFFSET, and none is counted."""
    settings.WHITENOISE_AUTOREFRESH = True
    client.force_login(User.objects.create_superuser("root"), backend="django.contrib.auth.backends.ModelBackend")
    path = reverse(f"admin:{model}_changelist")
    label, _, name = model.rpartition("_")
    rows = list(apps.get_model(label, name)._default_manager.order_by("-pk").values_list("pk", flat=True)[1000:1001])
    with plans() as found:
        for query in [*LISTS[model], *(f"{side}={pk}" for pk in rows for side in ("older", "newer"))]:
            assert client.get(f"{path}?{query}").status_code == 200, query
    for plan in found:
        read = {node.get("Relation Name") for node in plan.nodes if node["Node Type"] == "Seq Scan"}
        assert not read & {*history.TABLES}, plan.sql
        assert " OFFSET " not in plan.sql
        assert "COUNT(" not in plan.sql


def test_a_persons_events_are_found_by_indexes(people: list[User]) -> None:
    """Whoever they are: by id, as a guest by email, by phone."""
    with connection.cursor() as cursor:
        cursor.execute(GUESTS)
    whoever = [Person(user_id=people[0].id), Person(email="guest@mail.example"), Person(phone="+4915112345678")]

    with plans() as found:
        for person in whoever:
            NotificationEvent.objects.of_person(person, 200)

    assert indexes_of(found) >= {"event_user", "event_guest_email", "event_guest_phone"}
