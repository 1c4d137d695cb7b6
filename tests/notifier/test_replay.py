from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from django.db import connection, transaction
from django.db.models import Count, F, Max, Min
from django.db.models.functions import Now, TruncSecond
from pytest_django.fixtures import Settings

from notifier.models import DeadLetter, Delivery, NotificationEvent, ReplayPace
from notifier.querysets.dead_letters import Filter
from notifier.replay import BATCH, Report, batches, problems, replay
from preferences.models import User
from tests import engine
from tests.letters import HOUR, make_event, make_letter, make_many, make_refused
from tests.sandbox_process import Sandbox

pytestmark = pytest.mark.django_db
EVERYTHING = Filter()
DAY = timedelta(days=1)


def told(report: Report) -> tuple[int, dict[str, int]]:
    return report.replayed, dict(report.left_out)


def sent_again(letter: DeadLetter) -> bool:
    letter.refresh_from_db()
    assert letter.delivery is not None
    letter.delivery.refresh_from_db()
    assert (letter.status == "REPLAYED") is (letter.delivery.status == "QUEUED")
    return letter.status == "REPLAYED"


def test_a_letter_goes_out_again(sandbox: Sandbox, customer: Callable[..., User]) -> None:
    ada = customer(email="")
    metadata = {"orderId": "ORD1", "trackingUrl": "https://track.example/1"}
    event = make_event(user=ada, recipient_key=str(ada.id), order_id="ORD1", metadata=metadata)
    letter = make_letter(event)

    assert told(replay(EVERYTHING)) == (1, {})
    assert told(replay(EVERYTHING)) == (0, {})
    assert sent_again(letter)
    engine.run()

    assert engine.status(event.id) == "SENT"
    assert [message["channel"] for message in sandbox.messages()] == ["SMS"]
    assert told(replay(EVERYTHING)) == (0, {})


def test_delivery_and_event_are_due_at_one_moment_and_all_starts_anew() -> None:
    letter = make_letter(make_event())
    replay(EVERYTHING)

    delivery = Delivery.objects.select_related("event").get()
    assert delivery.event.due_at == delivery.due_at == delivery.first_due_at
    assert (delivery.tries, delivery.finished_at, delivery.detail, delivery.forced) == (0, None, "replayed", False)
    assert (delivery.event.status, delivery.event.settled_at) == ("DISPATCHED", None)
    letter.refresh_from_db()
    assert letter.closed_at is not None


def expired() -> DeadLetter:
    return make_letter(make_event(expires_at=Now() - HOUR))


def superseded() -> DeadLetter:
    event = make_event(stage=4)
    make_event("ORDER_DELIVERED", "SENT", order_id=event.order_id, stage=5)
    return make_letter(event)


def reached_by_chain() -> DeadLetter:
    event = make_event(status="PARTIAL")
    Delivery.objects.create(event=event, channel="EMAIL", status="SENT")
    return make_letter(event, "SMS")


def reached_by_stand_in() -> DeadLetter:
    event = make_event(status="PARTIAL")
    Delivery.objects.create(event=event, channel="IN_APP", status="DELIVERED", fallback_of="SMS")
    return make_letter(event, "SMS")


def reached_by_what_it_stood_in_for() -> DeadLetter:
    event = make_event(status="PARTIAL")
    Delivery.objects.create(event=event, channel="PUSH", status="SENT")
    return make_letter(event, "EMAIL", fallback_of="PUSH")


def reached_says_the_event() -> DeadLetter:
    return make_letter(make_event(status="SENT"))


def pending() -> DeadLetter:
    return make_letter(make_event(status="DISPATCHED"))


def replayed_another_way() -> DeadLetter:
    letter = make_letter(make_event())
    Delivery.objects.update(status="SKIPPED")
    return letter


def of_a_type_that_left() -> DeadLetter:
    return make_letter(make_event("ORDER_LOST"))


FORCIBLE = [
    (expired, "EXPIRED"),
    (superseded, "SUPERSEDED"),
    (reached_by_chain, "REACHED"),
    (reached_by_stand_in, "REACHED"),
    (reached_by_what_it_stood_in_for, "REACHED"),
    (reached_says_the_event, "REACHED"),
]
NEVER = [(pending, "PENDING"), (replayed_another_way, "REPLAYED"), (of_a_type_that_left, "UNKNOWN_TYPE")]


@pytest.mark.parametrize(("make", "reason"), FORCIBLE + NEVER)
def test_what_is_left_out_says_why(make: Callable[[], DeadLetter], reason: str) -> None:
    letter = make()

    assert told(replay(EVERYTHING, dry_run=True)) == (0, {reason: 1})
    assert told(replay(EVERYTHING)) == (0, {reason: 1})
    letter.refresh_from_db()
    assert (letter.status, letter.closed_at) == ("OPEN", None)


@pytest.mark.parametrize(("make", "reason"), FORCIBLE)
def test_forced_it_goes_all_the_same(make: Callable[[], DeadLetter], reason: str) -> None:
    letter = make()

    assert told(replay(EVERYTHING, force=True, dry_run=True)) == (1, {})
    assert told(replay(EVERYTHING, force=True)) == (1, {})
    assert sent_again(letter)
    delivery = Delivery.objects.select_related("event").get(dead_letters=letter)
    assert (delivery.forced, delivery.detail, delivery.event.status) == (True, "replayed, forced", "DISPATCHED")
    assert delivery.event.due_at is not None
    assert delivery.event.expires_at == delivery.event.due_at + DAY  # ORDER_SHIPPED's time to live


@pytest.mark.parametrize(("make", "reason"), NEVER)
def test_some_cannot_be_forced(make: Callable[[], DeadLetter], reason: str) -> None:
    make()
    assert told(replay(EVERYTHING, force=True)) == (0, {reason: 1})


def test_a_forced_letter_passes_the_guard(sandbox: Sandbox, customer: Callable[..., User]) -> None:
    ada = customer(email="")
    late: dict[str, Any] = {
        "user": ada,
        "recipient_key": str(ada.id),
        "order_id": "ORD1",
        "stage": 4,
        "expires_at": Now() - HOUR,
    }
    event = make_event(status="SKIPPED", metadata={"orderId": "ORD1", "trackingUrl": "https://track.example/1"}, **late)
    make_event("ORDER_DELIVERED", "SENT", **(late | {"stage": 5}))
    make_letter(event)

    assert told(replay(EVERYTHING, force=True)) == (1, {})
    engine.run()

    assert engine.states(event.id) == {"SMS": "SENT"}
    assert len(sandbox.messages()) == 1


@pytest.mark.parametrize("force", [False, True])
def test_what_may_have_gone_out_is_asked_for(sandbox: Sandbox, customer: Callable[..., User], force: bool) -> None:
    metadata = {"orderId": "ORD1", "trackingUrl": "https://track.example/1"}
    event = engine.trigger("ORDER_SHIPPED", customer(email="", device="").id, metadata=metadata)
    sandbox.fault("twilio", mode="accept_then_drop", times=1)
    engine.run()
    sms = Delivery.objects.get(channel="SMS")
    assert sms.status == "RETRYING"
    Delivery.objects.filter(pk=sms.pk).update(status="FAILED", unknown_since=None)
    NotificationEvent.objects.update(status="PARTIAL", due_at=None, settled_at=Now())
    DeadLetter.objects.create(delivery=sms, event_type="ORDER_SHIPPED", channel="SMS", cause="OutcomeUnknown")

    assert replay(EVERYTHING, force=force).replayed == 1
    engine.run()

    assert engine.states(event)["SMS"] == "SENT"
    assert len(sandbox.messages()) == 1


def test_a_later_unforced_replay_is_not_forced() -> None:
    letter = make_letter(make_event())
    Delivery.objects.update(forced=True)
    replay(Filter(ids=[letter.id]))
    assert not Delivery.objects.get().forced


def test_an_earlier_stage_of_another_recipient_overtakes_nothing() -> None:
    event = make_event(stage=4)
    make_event("ORDER_DELIVERED", "SENT", order_id=event.order_id, stage=5, recipient_key="somebody else")
    make_event("ORDER_PACKED", "SENT", order_id=event.order_id, stage=3)
    make_letter(event)
    assert replay(EVERYTHING).replayed == 1


@pytest.mark.parametrize(
    "wanted",
    [
        Filter(causes=["CRASHED", "other"]),
        Filter(event_types=["ORDER_PLACED"]),
        Filter(channels=["EMAIL"]),
        Filter(since=Now()),  # type: ignore[arg-type] # replaced by the test
        Filter(until=Now()),  # type: ignore[arg-type]
        Filter(ids=[]),
    ],
    ids=["cause", "type", "channel", "since", "until", "ids"],
)
def test_letters_are_chosen_by(wanted: Filter) -> None:
    make_letter(make_event(), created_at=Now() - 3 * HOUR)
    chosen = make_letter(make_event("ORDER_PLACED"), "EMAIL", cause="CRASHED", created_at=Now() - 2 * HOUR)
    make_letter(make_event(), created_at=Now() - HOUR)
    chosen.refresh_from_db()
    moved = chosen.created_at
    if wanted.since or wanted.until:
        DeadLetter.objects.exclude(pk=chosen.pk).update(created_at=moved + (-HOUR if wanted.since else HOUR))
        bound = {"since": moved} if wanted.since else {"until": moved + HOUR}
        wanted = Filter(**bound)  # type: ignore[arg-type]
    elif wanted.ids is not None:
        wanted = Filter(ids=[chosen.id])

    assert replay(wanted).replayed == 1
    assert sent_again(chosen)


def test_no_ids_are_no_letters() -> None:
    make_letter(make_event())
    assert told(replay(Filter(ids=[]))) == (0, {})


def test_ids_that_are_closed_or_unknown_are_counted() -> None:
    closed = make_letter(make_event(), status="REPLAYED")
    assert told(replay(Filter(ids=[closed.id, uuid4(), closed.id]))) == (0, {"REPLAYED": 1, "NOT_FOUND": 1})


def test_names_that_nobody_knows_are_named() -> None:
    found = problems(Filter(event_types=["ORDER_LOST"], channels=["FAX", "SMS"]))
    assert "ORDER_LOST; there are ORDER_PLACED" in found["event_types"]
    assert "FAX; there are EMAIL" in found["channels"]
    assert problems(Filter(event_types=["ORDER_PLACED"], channels=["IN_APP"])) == {}


# --- an event with several letters -------------------------------------------------------------------------------


def test_an_events_letters_go_together_although_pages_part_them(settings: Settings) -> None:
    event = make_event()
    first, second = make_letter(event, "SMS"), make_letter(event, "PUSH")
    make_letter(make_event(), created_at=Now() - HOUR)
    DeadLetter.objects.filter(pk=first.pk).update(created_at=Now() - 2 * HOUR)

    assert told(replay(EVERYTHING, dry_run=True)) == (3, {})
    assert told(replay(EVERYTHING, limit=1)) == (2, {})
    assert sent_again(first)
    assert sent_again(second)
    assert Delivery.objects.filter(event=event).values("due_at").distinct().count() == 1


def test_a_stand_in_waits_for_what_becomes_of_its_channel() -> None:
    event = make_event()
    original, stand_in = make_letter(event, "SMS"), make_letter(event, "EMAIL", fallback_of="SMS")

    assert told(replay(EVERYTHING, dry_run=True)) == (1, {"PENDING": 1})
    assert told(replay(EVERYTHING)) == (1, {"PENDING": 1})
    assert sent_again(original)
    assert not sent_again(stand_in)
    assert told(replay(EVERYTHING)) == (0, {"PENDING": 1})


def test_a_stand_in_alone_may_go() -> None:
    event = make_event()
    original, stand_in = make_letter(event, "SMS"), make_letter(event, "EMAIL", fallback_of="SMS")

    assert told(replay(Filter(channels=["EMAIL"]))) == (1, {})
    assert sent_again(stand_in)
    assert told(replay(Filter(ids=[original.id]))) == (0, {"PENDING": 1})


# --- the rate ----------------------------------------------------------------------------------------------------


def due_times() -> list[Any]:
    return list(Delivery.objects.filter(status="QUEUED").order_by("due_at").values_list("due_at", flat=True))


def test_replays_take_their_places_one_behind_the_other() -> None:
    for _ in range(4):
        make_letter(make_event())
    letters = list(DeadLetter.objects.values_list("id", flat=True))

    replay(Filter(ids=letters[:2]), rate=2)
    replay(Filter(ids=letters[2:]), rate=4)

    times = due_times()
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(times)]
    assert gaps == pytest.approx([0.5, 0.5, 0.25])


def test_places_that_have_passed_are_not_made_up_for() -> None:
    ReplayPace.objects.create(free_at=Now() - HOUR)
    make_letter(make_event())
    replay(EVERYTHING)
    assert Delivery.objects.filter(due_at__gt=Now() - timedelta(minutes=1), due_at__lte=Now()).exists()


def test_a_dry_run_takes_no_places() -> None:
    make_letter(make_event())
    replay(EVERYTHING, dry_run=True)
    assert not ReplayPace.objects.exists()


def test_urgent_letters_go_first() -> None:
    normal, urgent = make_letter(make_event()), make_letter(make_event("ORDER_DELAYED", priority=0))
    replay(EVERYTHING, rate=1)
    order = Delivery.objects.order_by("due_at").values_list("id", flat=True)
    assert list(order) == [urgent.delivery_id, normal.delivery_id]


def test_what_fails_again_meanwhile_is_left_for_the_next_replay() -> None:
    make_letter(make_event())
    replays = batches(EVERYTHING)
    assert next(replays).replayed == 1
    make_letter(make_event())
    assert list(replays) == []


def test_ten_thousand_are_spread_over_time_and_can_be_interrupted() -> None:
    make_many(10_000)
    replays = batches(EVERYTHING, rate=100)
    first = [next(replays) for _ in range(7)]  # then Ctrl-C
    assert sum(report.replayed for report in first) == 7 * BATCH == DeadLetter.objects.filter(status="REPLAYED").count()

    rest = replay(EVERYTHING, rate=100)

    assert told(rest) == (10_000 - 7 * BATCH, {})
    queued = Delivery.objects.filter(status="QUEUED", due_at=F("event__due_at"), first_due_at=F("due_at"))
    assert queued.count() == 10_000
    span = queued.aggregate(first=Min("due_at"), last=Max("due_at"))
    assert (span["last"] - span["first"]).total_seconds() == pytest.approx(99.99, abs=1.0)
    most = queued.annotate(second=TruncSecond("due_at")).values("second").annotate(n=Count("id")).order_by("-n").first()
    assert most is not None
    assert most["n"] <= 101


def test_a_limit_ends_it_and_says_whether_there_is_more() -> None:
    for make in (expired, superseded):
        make()
    for _ in range(3):
        make_letter(make_event())

    first, second = replay(EVERYTHING, limit=2), replay(EVERYTHING, limit=2)

    assert (first.replayed, first.more) == (2, True)
    assert (second.replayed, second.more) == (1, False)
    assert second.left_out == {"EXPIRED": 1, "SUPERSEDED": 1}
    make_letter(make_event())
    assert not replay(EVERYTHING, limit=1).more


# --- two at once -------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_two_replays_at_once_send_once() -> None:
    with transaction.atomic():
        make_many(1200)
    refused(*[orjson.dumps(GUEST)] * 3)
    reports: list[Report] = []
    ready = threading.Barrier(3)

    def run() -> None:
        ready.wait(10)
        try:
            reports.append(replay(EVERYTHING))
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert sum(report.replayed for report in reports) == 1203
    assert all(set(report.left_out) <= {"REPLAYED"} for report in reports)
    assert not DeadLetter.objects.filter(status="OPEN").exists()
    assert NotificationEvent.objects.filter(source="celery").count() == 3
    assert Delivery.objects.filter(status="QUEUED", tries=0).count() == 1200
    assert len(set(due_times())) == 1200  # no place was given twice


@pytest.mark.django_db(transaction=True)
def test_what_another_replay_has_in_hand_is_not_waited_for() -> None:
    held = make_letter(make_event())
    reports: list[Report] = []

    def run() -> None:
        try:
            reports.append(replay(EVERYTHING))
        finally:
            connection.close()

    with transaction.atomic():
        DeadLetter.objects.select_for_update().get(pk=held.pk)
        thread = threading.Thread(target=run)
        thread.start()
        thread.join(10)
        assert not thread.is_alive()

    assert told(reports[0]) == (0, {"REPLAYED": 1})
    assert told(replay(EVERYTHING)) == (1, {})


# --- refused triggers --------------------------------------------------------------------------------------------

GUEST = {
    "eventType": "ORDER_CONFIRMED",
    "userId": None,
    "recipient": {"email": "bea@mail.example"},
    "metadata": {"orderId": "ORD7"},
}


def refused(*payloads: bytes, **fields: Any) -> list[DeadLetter]:
    return [make_refused(payload, event_type="ORDER_CONFIRMED", **fields) for payload in payloads]


def for_user(user_id: UUID) -> bytes:
    return orjson.dumps({**GUEST, "recipient": None, "userId": str(user_id)})


def test_a_refused_trigger_is_recorded_once_it_is_valid(sandbox: Sandbox) -> None:
    (letter,) = refused(for_user(user_id := uuid4()), last_error="as it was")

    assert told(replay(EVERYTHING, dry_run=True)) == (0, {"INVALID": 1})
    letter.refresh_from_db()
    assert letter.last_error == "as it was"
    assert told(replay(EVERYTHING)) == (0, {"INVALID": 1})
    letter.refresh_from_db()
    assert (letter.status, letter.last_error) == ("OPEN", "No such user. userId: Unknown user.")

    User.objects.create_user(id=user_id, email="ada@mail.example")
    assert told(replay(EVERYTHING, dry_run=True)) == (1, {})
    assert not NotificationEvent.objects.exists()
    assert told(replay(EVERYTHING)) == (1, {})
    assert told(replay(EVERYTHING)) == (0, {})

    event = NotificationEvent.objects.get()
    assert (event.source, event.idempotency_key, event.user_id) == ("celery", str(letter.id), user_id)
    letter.refresh_from_db()
    assert letter.status == "REPLAYED"
    engine.run()
    assert engine.status(event.id) == "SENT"


def test_its_own_key_is_kept_and_names_one_event(db: None) -> None:
    refused(*[orjson.dumps({**GUEST, "idempotencyKey": "ORD7:confirmed"})] * 2)

    assert told(replay(EVERYTHING)) == (2, {})
    assert NotificationEvent.objects.get().idempotency_key == "ORD7:confirmed"


def test_its_time_to_live_counts_from_when_it_came() -> None:
    young, old = refused(*[orjson.dumps(GUEST)] * 2)
    DeadLetter.objects.filter(pk=young.pk).update(created_at=Now() - 11 * HOUR)
    DeadLetter.objects.filter(pk=old.pk).update(created_at=Now() - 13 * HOUR)

    assert told(replay(EVERYTHING)) == (1, {"EXPIRED": 1})
    event = NotificationEvent.objects.get()
    young.refresh_from_db()
    assert event.expires_at == young.created_at + 12 * HOUR

    assert told(replay(EVERYTHING, force=True)) == (1, {})
    forced = NotificationEvent.objects.exclude(pk=event.pk).get()
    assert forced.due_at is not None
    assert forced.expires_at == forced.due_at + 12 * HOUR


@pytest.mark.parametrize("force", [False, True])
def test_a_trigger_that_was_overtaken_stays(force: bool) -> None:
    refused(orjson.dumps(GUEST))
    engine.trigger("ORDER_PACKED", recipient=GUEST["recipient"], metadata=GUEST["metadata"])

    assert told(replay(EVERYTHING, force=force)) == (0, {"SUPERSEDED": 1})
    assert NotificationEvent.objects.count() == 1


def test_refused_triggers_take_places_too() -> None:
    refused(*[orjson.dumps(GUEST)] * 3)
    assert replay(EVERYTHING, rate=10).replayed == 3
    span = NotificationEvent.objects.aggregate(first=Min("due_at"), last=Max("due_at"))
    assert (span["last"] - span["first"]).total_seconds() == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (None, "No payload was kept."),
        (b"\xff{", "The message is not JSON: "),
        (b"[1]", "The body must be a JSON object."),
        (b'{"eventType": "ORDER_LOST"}', "Unknown event type. eventType: Unknown event type; there are"),
        (orjson.dumps({**GUEST, "metadata": {"orderId": "a\0b"}}), "The payload holds a value that cannot be stored."),
        (b'{"eventType": "FRAUD_ALERT", "metadata": {}}', "Nobody is in the group 'fraud'."),
    ],
    ids=["none", "bytes", "list", "type", "nul", "group"],
)
def test_what_is_still_not_valid_says_so(payload: bytes | None, error: str) -> None:
    letter = make_refused(payload)

    assert told(replay(EVERYTHING, force=True)) == (0, {"INVALID": 1})
    letter.refresh_from_db()
    assert letter.status == "OPEN"
    assert letter.last_error.startswith(error)
