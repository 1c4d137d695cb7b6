from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.utils import timezone

from channels.models import BreakerChange, InboxMessage
from notifier.models import Attempt, Delivery, NotificationEvent
from preferences.models import User
from tests.api.conftest import Caller

START = timezone.now() - timedelta(minutes=5)


def at(seconds: float) -> Any:
    return START + timedelta(seconds=seconds)


def make_event(user: User, **fields: Any) -> NotificationEvent:
    given = {"order_id": "ORD1", "recorded_at": START, "status": "PARTIAL", "settled_at": at(9)} | fields
    return NotificationEvent.objects.create(
        source="shop",
        body_hash=b"x" * 32,
        event_type="ORDER_SHIPPED",
        priority=1,
        user_id=user.id,
        recipient_key=str(user.id),
        expires_at=timezone.now() + timedelta(hours=1),
        **given,
    )


def make_delivery(event: NotificationEvent, channel: str, status: str, **fields: Any) -> Delivery:
    return Delivery.objects.create(event=event, channel=channel, status=status, **{"first_due_at": at(1), **fields})


@pytest.fixture
def story(ada: User) -> NotificationEvent:
    """An SMS that failed twice, the mail that stood in, a push that nobody wanted, and one that waits."""
    event = make_event(ada)
    sms = make_delivery(event, "SMS", "FAILED", finished_at=at(4), detail="gave up")
    for number, (outcome, seconds) in enumerate([("UNAVAILABLE", 2), ("REJECTED", 4)], start=1):
        Attempt.objects.create(
            delivery=sms,
            number=number,
            provider="twilio",
            started_at=at(seconds - 0.5),
            finished_at=at(seconds),
            outcome=outcome,
            http_status=503,
        )
    mail = make_delivery(
        event, "EMAIL", "SENT", fallback_of="SMS", first_due_at=at(5), finished_at=at(6), sent_at=at(6)
    )
    Attempt.objects.create(
        delivery=mail,
        number=1,
        started_at=at(5.5),
        finished_at=at(6.001),  # as the engine writes it: the attempt's end follows the state's
        outcome="ACCEPTED",
        provider="sendgrid",
    )
    make_delivery(event, "PUSH", "SKIPPED", skip_reason="OPTED_OUT")
    make_delivery(event, "IN_APP", "RETRYING", first_due_at=at(7), due_at=at(600), detail="busy")
    make_delivery(event, "LETTER", "QUEUED", first_due_at=at(700), due_at=at(700), hold_reason="QUIET_HOURS")
    return event


def test_the_timeline_tells_every_decision_in_order(api: Caller, story: NotificationEvent) -> None:
    answer = api("GET", f"/notifications/events/{story.id}")

    told = [(d["decision"], d["channel"], d["reason"]) for d in answer.body["decisions"]]
    assert told == [
        ("RECORDED", "", ""),
        ("PLANNED", "LETTER", ""),
        ("HELD", "LETTER", "QUIET_HOURS"),
        ("SKIPPED", "PUSH", "OPTED_OUT"),
        ("PLANNED", "SMS", ""),
        ("ATTEMPTED", "SMS", "UNAVAILABLE"),
        ("ATTEMPTED", "SMS", "REJECTED"),
        ("FAILED", "SMS", ""),
        ("FELL_BACK", "EMAIL", "SMS"),
        ("ATTEMPTED", "EMAIL", "ACCEPTED"),
        ("SENT", "EMAIL", ""),
        ("PLANNED", "IN_APP", ""),
        ("RETRYING", "IN_APP", ""),
        ("SETTLED", "", "PARTIAL"),
    ]
    assert f"again at {at(600):%Y-%m-%d %H:%M:%S} UTC" in answer.body["decisions"][12]["detail"]


def test_an_event_is_shown_with_deliveries_and_attempts(api: Caller, story: NotificationEvent) -> None:
    body = api("GET", f"/notifications/events/{story.id}").body

    assert (body["eventId"], body["status"], body["orderId"]) == (str(story.id), "PARTIAL", "ORD1")
    assert body["recordedAt"].endswith("Z")
    sms = next(delivery for delivery in body["deliveries"] if delivery["channel"] == "SMS")
    assert (sms["status"], sms["detail"]) == ("FAILED", "gave up")
    assert [(attempt["number"], attempt["httpStatus"]) for attempt in sms["attempts"]] == [(1, 503), (2, 503)]


def test_a_fresh_event_has_been_recorded(api: Caller, ada: User) -> None:
    event = make_event(ada, status="QUEUED", settled_at=None)

    body = api("GET", f"/notifications/events/{event.id}").body

    assert [decision["decision"] for decision in body["decisions"]] == ["RECORDED"]


def test_an_unknown_event_is_not_found(api: Caller) -> None:
    assert api("GET", f"/notifications/events/{uuid4()}").code == "NOT_FOUND"
    assert api("GET", "/notifications/events/7").status == 404


def test_the_events_of_an_order_come_newest_first_and_in_pages(
    api: Caller, ada: User, django_assert_max_num_queries: Callable[..., Any]
) -> None:
    events = [make_event(ada, recorded_at=at(i)) for i in range(5)]
    for event in events:
        make_delivery(event, "EMAIL", "SENT", finished_at=at(6))
    make_event(ada, order_id="ORD2")
    with django_assert_max_num_queries(8):
        page = api("GET", "/notifications/events?orderId=ORD1&limit=3").body
    rest = api("GET", page["next"]).body

    seen = [UUID(event["eventId"]) for event in page["results"] + rest["results"]]
    assert seen == [event.id for event in reversed(events)]
    assert (len(page["results"]), rest["next"]) == (3, None)


@pytest.mark.parametrize("query", ["", "orderId=", "orderId=1&limit=x", "order=1", "orderId=%00"])
def test_a_wrong_query_is_refused(api: Caller, query: str) -> None:
    answer = api("GET", f"/notifications/events?{query}")

    assert (answer.status, answer.code) == (400, "INVALID")


def test_a_wrong_cursor_is_refused(api: Caller) -> None:
    answer = api("GET", "/notifications/events?orderId=1&cursor=nonsense")

    assert (answer.status, answer.fields) == (400, {"cursor": "Not a cursor; take the address in `next` as it is."})


def test_the_inbox_is_read(api: Caller, ada: User) -> None:
    messages = [
        InboxMessage.objects.create(user_id=ada.id, delivery_id=uuid4(), title=f"{i}", created_at=at(i))
        for i in range(3)
    ]
    InboxMessage.objects.create(user_id=uuid4(), delivery_id=uuid4(), title="not hers")

    page = api("GET", f"/notifications/inbox?userId={ada.id}&limit=2").body
    rest = api("GET", page["next"]).body
    first, again = (api("POST", f"/notifications/inbox/{messages[0].id}/read") for _ in range(2))

    assert [row["title"] for row in page["results"] + rest["results"]] == ["2", "1", "0"]
    assert page["results"][0]["readAt"] is None
    assert (first.status, again.body["readAt"]) == (200, first.body["readAt"])
    assert first.body["readAt"] is not None
    assert InboxMessage.objects.exclude(read_at=None).count() == 1
    assert api("POST", f"/notifications/inbox/{uuid4()}/read").code == "NOT_FOUND"
    assert list(api("GET", "/notifications/inbox").fields) == ["userId"]


@pytest.mark.parametrize(
    "body",
    [{"orderId": "ORD1"}, {"userId": "{ada.id}"}, {"email": "ada@mail.example"}, {"phone": "+49 151 12345678"}],
)
def test_events_are_sought_by_one_thing_page_by_page(api: Caller, ada: User, body: dict[str, str]) -> None:
    events = [make_event(ada, recorded_at=at(i)) for i in range(3)]
    body = {name: text.format(ada=ada) for name, text in body.items()}

    page = api("POST", "/notifications/events/search", {**body, "limit": 2}).body
    rest = api("POST", "/notifications/events/search", {**body, "limit": 2, "cursor": page["next"]}).body

    seen = [UUID(event["eventId"]) for event in page["results"] + rest["results"]]
    assert (seen, rest["next"]) == ([event.id for event in reversed(events)], None)


@pytest.mark.parametrize(
    ("body", "field"),
    [({}, "orderId"), ({"orderId": "1", "email": "a@b.example"}, "orderId"), ({"phone": "0151"}, "phone")],
)
def test_a_search_names_one_thing(api: Caller, body: dict[str, str], field: str) -> None:
    answer = api("POST", "/notifications/events/search", body)

    assert (answer.status, list(answer.fields)) == (400, [field])


def test_the_answer_is_what_the_page_says(api: Caller, story: NotificationEvent) -> None:
    BreakerChange.objects.create(channel="SMS", provider="twilio", state="OPEN", at=at(3), reason="5 of 5 failed")
    body = api("GET", f"/notifications/events/{story.id}").body

    assert body["answer"].startswith("SMS to +49•••78 was not delivered: twilio refused the message (HTTP 503) at ")
    assert "EMAIL to a•••@mail.example was accepted at" in body["answer"]
    assert "; LETTER is held until " in body["answer"]
    assert body["answer"].endswith("(5 of 5 failed), so its calls failed for others too.")
    sms = next(delivery for delivery in body["deliveries"] if delivery["channel"] == "SMS")
    assert [attempt["durationMs"] for attempt in sms["attempts"]] == [500, 500]
    (left_alone,) = (one for one in body["decisions"] if one["decision"] == "BREAKER_OPEN")
    assert (left_alone["channel"], left_alone["reason"], left_alone["until"]) == ("SMS", "twilio", None)
