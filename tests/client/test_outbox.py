"""The outbox: what was committed is told once, whatever dies; what was rolled back is never told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from importlib import import_module
from io import StringIO
from itertools import count
from typing import Any

import pytest
import redis
from django.conf import settings as django_settings
from django.core.management import call_command
from django.db import connection, connections, transaction
from django.db.migrations.state import ProjectState
from django.utils import timezone
from pytest_django import DjangoDbBlocker
from pytest_django.fixtures import Settings

from notifier.models import ApiKey, NotificationEvent
from notifier_client import Accepted, Guest, Refused, Trigger, Unavailable
from notifier_client.events import FraudAlert, OrderPacked, OrderPlaced, OrderShipped
from notifier_client.outbox import configuration, sweep, tasks
from notifier_client.outbox.management.commands.sweep_outbox import Command
from notifier_client.outbox.models import OutboxEvent, State
from notifier_client.outbox.record import record, record_trigger
from notifier_client.over_celery import CeleryNotifier
from notifier_client.over_http import HttpNotifier
from preferences.models import User
from tests import processes
from tests.client import front as fronts
from tests.client.front import LOSE, Answer, Front

Customer = Callable[..., User]
QUEUE = "outbox-test"
AWAY = Answer(503, headers={"Retry-After": "30"})


@pytest.fixture(scope="session")
def _table(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    """Made by the app's own migration. The app is not installed: Notifier's other tests must not find it."""
    migration = import_module("notifier_client.outbox.migrations.0001_initial").Migration("0001", "notifier_outbox")
    with django_db_blocker.unblock(), connection.schema_editor() as editor:
        migration.apply(ProjectState(), editor)


@pytest.fixture
def front(transactional_db: None, _table: None, web: str) -> Iterator[Front]:
    OutboxEvent.objects.all().delete()  # what an earlier test left: this table is not emptied by Django
    with fronts.running(behind=web) as front:
        yield front


@pytest.fixture
def configure(front: Front, key: str, settings: Settings) -> Callable[..., None]:
    """Sets NOTIFIER_OUTBOX; the Notifier that is told of stands behind `front`."""

    def to(**options: Any) -> None:
        settings.NOTIFIER_OUTBOX = {"URL": front.url, "API_KEY": key, "AFTER_COMMIT": "sweep", **options}

    to()
    return to


@pytest.fixture
def outbox(configure: Callable[..., None]) -> Callable[..., None]:
    return configure


pytestmark = pytest.mark.usefixtures("outbox")


def due_now() -> None:
    """Let time pass: waits and leases end."""
    OutboxEvent.objects.filter(state=State.WAITING).update(due_at=timezone.now())


def keys() -> list[str]:
    """Of the events that Notifier recorded."""
    return [str(key) for key in NotificationEvent.objects.values_list("idempotency_key", flat=True)]


def sent_keys(front: Front) -> Counter[str]:
    """How often each key went over the wire."""
    bodies = (json.loads(body) for _, body, _ in front.requests)
    return Counter(event["idempotencyKey"] for body in bodies for event in body["events"])


def test_what_is_committed_is_told_and_what_is_rolled_back_is_not(
    outbox: Callable[..., None], front: Front, customer: Customer
) -> None:
    outbox(AFTER_COMMIT="inline")
    user = customer()
    with transaction.atomic():
        record(OrderPlaced(order_id="ORD1"), user_id=user.id)
        transaction.set_rollback(True)
    assert front.requests == []
    with transaction.atomic():
        row = record(OrderPlaced(order_id="ORD2"), user_id=user.id)
        assert front.requests == []
    event = NotificationEvent.objects.get()
    row.refresh_from_db()
    assert (event.order_id, str(event.idempotency_key)) == ("ORD2", str(row.id))
    assert (row.state, row.event_id, row.order_id, row.tries) == (State.SENT, str(event.id), "ORD2", 1)
    assert sweep.sweep() == sweep.Swept()


def test_a_thread_sends_after_the_commit(outbox: Callable[..., None], customer: Customer) -> None:
    outbox(AFTER_COMMIT="thread")
    user = customer()
    for number in (1, 2):
        with transaction.atomic():
            record(OrderPlaced(order_id=f"ORD{number}"), user_id=user.id)
        processes.wait_for(lambda number=number: len(keys()) == number, "told", 10)  # type: ignore[misc] # its default
    processes.wait_for(lambda: not OutboxEvent.objects.exclude(state=State.SENT).exists(), "marked", 10)


def test_the_thread_outlives_what_it_did_not_foresee(
    outbox: Callable[..., None], customer: Customer, caplog: pytest.LogCaptureFixture
) -> None:
    outbox(AFTER_COMMIT="thread", SENDER=f"{__name__}.no_sender")
    user = customer()
    row = record(OrderPlaced(order_id="ORD1"), user_id=user.id)
    processes.wait_for(lambda: "The outbox was not swept" in caplog.text, "an error in the log", 10)
    processes.wait_for(lambda: OutboxEvent.objects.get().tries == 1, "claimed", 10)
    outbox(AFTER_COMMIT="thread")
    due_now()
    record(OrderPacked(order_id="ORD1"), user_id=user.id)
    processes.wait_for(lambda: not OutboxEvent.objects.exclude(state=State.SENT).exists(), "both sent", 10)
    assert str(row.id) in keys()


def no_sender() -> HttpNotifier:
    raise ZeroDivisionError


def test_guests_and_staff_and_other_types(front: Front) -> None:
    User.objects.create_user(username="sam", email="sam@shop.example")
    record(OrderPlaced(order_id="ORD1"), recipient=Guest(email="gina@mail.example"))
    record(FraudAlert(reason="odd"))
    record_trigger(Trigger(event_type="ORDER_PACKED", metadata={"orderId": "ORD2"}, user_id=str(User.objects.get().id)))
    assert sweep.sweep().sent == 3
    assert sorted(NotificationEvent.objects.values_list("event_type", flat=True)) == ["ORDER_PACKED", "ORDER_PLACED"]
    assert set(OutboxEvent.objects.values_list("state", flat=True)) == {State.SENT}  # nobody is in the group `fraud`


@pytest.mark.processes
def test_a_process_killed_between_commit_and_send_is_swept(front: Front, key: str, customer: Customer) -> None:
    child = dying(front, key, customer(), "tests.client.dying.die")
    assert child.wait(60) == -9
    assert front.requests == []
    assert OutboxEvent.objects.get().state == State.WAITING
    assert sweep.sweep().sent == 1
    assert len(keys()) == 1


@pytest.mark.processes
def test_a_process_killed_while_it_sends_is_swept_when_its_lease_ends(
    front: Front, key: str, customer: Customer
) -> None:
    """Notifier has recorded the event, and the answer never came: the second telling is the same event."""
    front.script.append(LOSE)
    child = dying(front, key, customer(), "inline")
    processes.wait_for(NotificationEvent.objects.exists, "recorded", 60)
    child.kill()
    child.wait()
    assert sweep.sweep() == sweep.Swept()  # the lease
    due_now()
    assert sweep.sweep().sent == 1
    row = OutboxEvent.objects.get()
    assert (keys(), row.tries) == ([str(row.id)], 2)
    assert sent_keys(front) == {str(row.id): 2}


def dying(front: Front, key: str, user: User, after_commit: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.client.dying", front.url, key, str(user.id), after_commit]
    env = {**os.environ, "DATABASE_URL": processes.database_url(), "DJANGO_SETTINGS_MODULE": "config.settings"}
    return subprocess.Popen(command, cwd=processes.ROOT, env=env)


def test_sweeps_at_once_send_each_event_once(front: Front, customer: Customer) -> None:
    user = customer()
    rows = [record(OrderPlaced(order_id=f"O{number}"), user_id=user.id) for number in range(60)]

    def sweeping(_number: int) -> int:
        try:
            return sweep.sweep(batch=3).sent
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        sent = list(pool.map(sweeping, range(4)))
    assert sum(sent) == 60
    assert len([number for number in sent if number]) > 1
    assert sent_keys(front) == {str(row.id): 1 for row in rows}
    assert sorted(keys()) == sorted(str(row.id) for row in rows)


def test_an_orders_events_go_in_their_order(front: Front, customer: Customer) -> None:
    user = customer()
    for order in ("A", "B"):
        record(OrderPlaced(order_id=order), user_id=user.id)
        record(OrderPacked(order_id=order), user_id=user.id)
    front.script.append(AWAY)
    assert sweep.sweep().put_off == 2  # the first of each; the others wait behind them
    assert sweep.sweep() == sweep.Swept()
    due_now()
    assert sweep.sweep().sent == 4
    told = NotificationEvent.objects.order_by("recorded_at").values_list("event_type", flat=True)
    assert list(told) == ["ORDER_PLACED", "ORDER_PLACED", "ORDER_PACKED", "ORDER_PACKED"]


def test_notifier_away_puts_off_and_loses_nothing(front: Front, customer: Customer) -> None:
    front.script += [AWAY, Answer(404, b"<html>no such host</html>"), Answer(503)]
    row = record(OrderPlaced(order_id="ORD1"), user_id=customer().id)
    waits = []
    for _ in range(3):
        before = timezone.now()
        assert sweep.sweep().put_off == 1
        row.refresh_from_db()
        waits.append((row.due_at - before).total_seconds())
        assert row.state == State.WAITING
        due_now()
    assert 30 <= waits[0] < 31  # Retry-After
    assert 2 <= waits[1] < 5
    assert 4 <= waits[2] < 9
    assert row.cause == "Away."
    assert sweep.sweep().sent == 1
    row.refresh_from_db()
    assert (row.state, row.tries, row.cause) == (State.SENT, 4, "")


def test_waits_end_at_five_minutes() -> None:
    away = Unavailable("Away.")
    assert all(150 <= sweep._wait(tries, away).total_seconds() <= 300 for tries in (9, 50, 5000))


def test_a_key_that_is_not_good_is_waited_for(
    outbox: Callable[..., None], front: Front, key: str, customer: Customer
) -> None:
    outbox(API_KEY="nk_revoked")
    row = record(OrderPlaced(order_id="ORD1"), user_id=customer().id)
    assert sweep.sweep().put_off == 1
    row.refresh_from_db()
    assert (row.state, "key" in row.cause) == (State.WAITING, True)
    outbox(API_KEY=key)
    due_now()
    assert sweep.sweep().sent == 1


def test_what_is_refused_is_kept_with_its_cause_and_sent_again_when_mended(front: Front, customer: Customer) -> None:
    stranger = "01920000-0000-7000-8000-0000000000ff"
    good = record(OrderPlaced(order_id="ORD1"), user_id=customer().id)
    bad = record(OrderShipped(order_id="ORD2", tracking_url="ftp://x"), user_id=stranger)
    unknown = record(OrderPlaced(order_id="ORD3"), user_id=stranger)
    swept = sweep.sweep()
    assert (swept.sent, swept.refused) == (1, 2)
    for row in (good, bad, unknown):
        row.refresh_from_db()
    assert (good.state, bad.state, unknown.state) == (State.SENT, State.REFUSED, State.REFUSED)
    assert "metadata.trackingUrl: Must match" in bad.cause
    assert "userId" in unknown.cause
    customer(id=stranger, email="new@x.example")
    assert sweep.send_again([good.id, unknown.id]) == 1
    assert sweep.sweep().sent == 1
    assert sorted(keys()) == sorted([str(good.id), str(unknown.id)])


def test_a_refused_event_does_not_hold_up_its_order(front: Front, customer: Customer) -> None:
    user = customer()
    record(OrderShipped(order_id="ORD1", tracking_url=""), user_id=user.id)
    record(OrderPacked(order_id="ORD1"), user_id=user.id)
    swept = sweep.sweep()
    assert (swept.sent, swept.refused) == (1, 1)


def test_a_batch_that_is_refused_as_a_whole_goes_one_by_one(front: Front, customer: Customer) -> None:
    user = customer()
    for number in range(2):
        record(OrderPlaced(order_id=f"O{number}"), user_id=user.id)
    whole = b'{"error": {"code": "TOO_LARGE", "message": "Too large.", "fields": {}}}'
    front.script += [Answer(413, whole), Answer(413, whole)]
    swept = sweep.sweep()
    assert (swept.refused, swept.sent) == (1, 1)
    assert OutboxEvent.objects.get(state=State.REFUSED).cause == "Too large."


def test_an_acceptance_counts_whoever_has_the_row(front: Front, customer: Customer) -> None:
    """A sweep that was slower than its lease: the row is another's by then."""
    row = record(OrderPlaced(order_id="ORD1"), user_id=customer().id)
    (ours,) = sweep._claim(10)
    due_now()
    (theirs,) = sweep._claim(10)
    swept = sweep.Swept()
    sweep._conclude(ours, Refused("No."), swept)
    sweep._conclude(ours, Unavailable("Away."), swept)
    assert swept == sweep.Swept()
    sweep._conclude(ours, Accepted(str(row.id)), swept)
    sweep._conclude(theirs, Unavailable("Away."), swept)
    row.refresh_from_db()
    assert (row.state, swept) == (State.SENT, sweep.Swept(sent=1))


def test_old_rows_go_but_what_was_refused_stays(outbox: Callable[..., None], customer: Customer) -> None:
    outbox(KEEP_SENT_DAYS=3)
    user = customer()
    record(OrderPlaced(order_id="A"), user_id=user.id)
    record(OrderShipped(order_id="B", tracking_url=""), user_id=user.id)
    sweep.sweep()
    OutboxEvent.objects.update(finished_at=timezone.now() - timedelta(days=2.9))
    assert sweep.delete_old() == 0
    OutboxEvent.objects.update(finished_at=timezone.now() - timedelta(days=3.1))
    record(OrderPlaced(order_id="C"), user_id=user.id)
    assert sweep.delete_old() == 1
    assert sorted(OutboxEvent.objects.values_list("order_id", flat=True)) == ["B", "C"]


def test_the_command_says_what_it_did_and_the_task_does_the_same(front: Front, customer: Customer) -> None:
    user = customer()
    record(OrderPlaced(order_id="A"), user_id=user.id)
    said = StringIO()
    call_command(Command(), stdout=said)
    assert said.getvalue() == "1 sent, 0 refused, 0 put off, 0 old ones deleted.\n"
    record(OrderPlaced(order_id="B"), user_id=user.id)
    tasks.sweep_outbox()
    assert len(keys()) == 2


def test_the_command_goes_on_when_the_database_cannot_be_asked(
    caplog: pytest.LogCaptureFixture, customer: Customer
) -> None:
    record(OrderPlaced(order_id="A"), user_id=customer().id)
    command = Command(stdout=StringIO())
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE notifier_outbox_outboxevent RENAME TO away")
    try:
        command._try()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE away RENAME TO notifier_outbox_outboxevent")
    assert "The outbox cannot be read: ProgrammingError" in caplog.text
    assert keys() == []
    command._try()
    assert len(keys()) == 1


def test_a_sender_of_the_shops_own(outbox: Callable[..., None], customer: Customer) -> None:
    outbox(SENDER=f"{__name__}.own_sender")
    record(OrderPlaced(order_id="A"), user_id=customer().id)
    made = next(_made)
    assert sweep.sweep().sent == 1
    assert sweep.sweep() == sweep.Swept()
    assert next(_made) == made + 2  # one was made, by the first of the two


_made = count()


def own_sender() -> HttpNotifier:
    next(_made)
    given = django_settings.NOTIFIER_OUTBOX
    return HttpNotifier(given["URL"], given["API_KEY"])


def test_a_way_that_knows_no_event_ids(outbox: Callable[..., None], customer: Customer) -> None:
    """Over Celery: sent is what the broker has."""
    outbox(SENDER=f"{__name__}.celery_sender")
    row = record(OrderPlaced(order_id="A"), user_id=customer().id)
    broker = redis.Redis.from_url(django_settings.REDIS_URL)
    broker.delete(QUEUE)
    assert sweep.sweep().sent == 1
    row.refresh_from_db()
    assert (row.state, row.event_id) == (State.SENT, "")
    assert broker.llen(QUEUE) == 1
    broker.delete(QUEUE)


def celery_sender() -> CeleryNotifier:
    return CeleryNotifier(django_settings.REDIS_URL, queue=QUEUE)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"URL": ""}, "URL missing"),
        ({"URL": "notifier:8000"}, "url: must look like"),
        ({"API_KEY": ""}, "API_KEY missing"),
        ({"SENDER": "no.such.module"}, "'SENDER'"),
        ({"AFTER_COMMIT": "tread"}, "'AFTER_COMMIT'"),
        ({"KEEP_SENT_DAYS": 0}, "KEEP_SENT_DAYS"),
        ({"TIMEOUT": 3}, "unknown TIMEOUT"),
    ],
)
def test_a_wrong_setting_is_named_at_the_start(
    outbox: Callable[..., None], options: dict[str, Any], named: str
) -> None:
    assert configuration.check_settings() == []
    outbox(**options)
    (error,) = configuration.check_settings()
    assert named in error.msg
    assert error.id == "notifier_outbox.E001"


def test_a_claims_query_uses_its_index(customer: Customer) -> None:
    """With a table full of what was sent, a sweep reads what waits alone."""
    user_id = str(customer().id)
    body = {"userId": user_id, "metadata": {"orderId": "O"}}
    OutboxEvent.objects.bulk_create(
        OutboxEvent(event_type="ORDER_PLACED", order_id=f"O{number}", body=body, state=State.SENT)
        for number in range(5000)
    )
    record(OrderPlaced(order_id="O1"), user_id=user_id)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE notifier_outbox_outboxevent")
    due = OutboxEvent.objects.filter(state=State.WAITING, due_at__lte=timezone.now()).order_by("recorded_at")
    assert "outbox_waiting" in due.explain()


def test_an_api_key_without_the_scope_is_said(outbox: Callable[..., None], customer: Customer) -> None:
    outbox(API_KEY=ApiKey.issue("reader", ["read"])[1])
    row = record(OrderPlaced(order_id="O"), user_id=customer().id)
    assert sweep.sweep().put_off == 1
    row.refresh_from_db()
    assert "scope" in row.cause
