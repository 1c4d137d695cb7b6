"""The HTTP way: what it tries again and what not, against real servers; exactly one event whatever happened."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from notifier.models import ApiKey, NotificationEvent
from notifier_client import Accepted, Guest, HttpNotifier, NotAuthorised, Refused, Trigger, Unavailable
from notifier_client.events import FraudAlert, OrderPlaced, OrderShipped
from notifier_client.over_http import BULK_BYTES, Patience, _chunks
from preferences.models import User
from tests.client import front as fronts
from tests.client.front import HANG, LOSE, Answer
from tests.ports import free_port

Customer = Callable[..., User]
SHIPPED = OrderShipped(order_id="ORD1", tracking_url="https://track.example/1")
AWAY = Answer(503, headers={"Retry-After": "1"})


def client(url: str, key: str = "k", **options: Any) -> HttpNotifier:
    return HttpNotifier(url, key, **{"timeout": 0.3, "connect_timeout": 0.3, **options})


def test_it_tries_again_until_there_is_exactly_one_event(notifier: str, key: str, customer: Customer) -> None:
    """Away for a second, silent, silent though it had recorded the event, cut off: then it answers."""
    with fronts.running([AWAY, HANG, LOSE, Answer(502, b"<html>")], behind=notifier) as front:
        accepted = client(front.url, key, timeout=2).trigger(SHIPPED, user_id=customer().id)
    event = NotificationEvent.objects.get()
    assert accepted == Accepted(str(event.idempotency_key), (str(event.id),), "QUEUED", new=False)
    assert len({json.loads(body)["idempotencyKey"] for _, body, _ in front.requests}) == 1
    assert len(front.requests) == 5
    assert front.arrived[1] - front.arrived[0] >= 1  # Retry-After


def test_a_new_event_and_its_timeline(notifier: str, key: str, customer: Customer) -> None:
    user = customer()
    with client(notifier, key, timeout=5) as sender:
        accepted = sender.trigger(SHIPPED, user_id=user.id, idempotency_key="mine")
        again = sender.trigger(SHIPPED, user_id=user.id, idempotency_key="mine")
        assert (accepted.new, again.new) == (True, False)
        assert accepted.event_id == again.event_id
        assert [event["eventId"] for event in sender.events_of_order("ORD1")] == [accepted.event_id]
        assert sender.event(str(accepted.event_id))["decisions"][0]["decision"] == "RECORDED"
        with pytest.raises(Refused) as conflict:
            sender.trigger(OrderPlaced(order_id="ORD2"), user_id=user.id, idempotency_key="mine")
        assert conflict.value.code == "IDEMPOTENCY_CONFLICT"
        assert sender.trigger(FraudAlert(reason="odd")).event_ids == ()


def test_what_is_refused_says_why_and_is_not_tried_again(notifier: str, key: str, customer: Customer) -> None:
    with fronts.running(behind=notifier) as front:
        sender = client(front.url, key, timeout=5)
        with pytest.raises(Refused) as refused:
            sender.trigger(OrderShipped(order_id="O", tracking_url="ftp://x"), user_id=customer().id)
        assert refused.value.fields == {"metadata.trackingUrl": "Must match ^https?://."}
        assert "metadata.trackingUrl: Must match" in str(refused.value)
        with pytest.raises(Refused) as unknown:
            sender.trigger(SHIPPED, user_id="01920000-0000-7000-8000-0000000000ff")
        assert unknown.value.code == "UNKNOWN_USER"
    assert len(front.requests) == 2
    assert not NotificationEvent.objects.exists()


def test_a_key_that_may_not_is_not_tried_again(notifier: str, key: str, customer: Customer) -> None:
    reader = ApiKey.issue("reader", ["read"])[1]
    with fronts.running(behind=notifier) as front:
        for wrong, code in (("nk_wrong", "UNAUTHENTICATED"), (reader, "FORBIDDEN")):
            with pytest.raises(NotAuthorised) as refused:
                client(front.url, wrong, timeout=5).trigger(SHIPPED, user_id=customer(email=f"{code}@x.example").id)
            assert refused.value.code == code
    assert len(front.requests) == 2


def test_many_at_once_and_one_of_them_refused(notifier: str, key: str, customer: Customer) -> None:
    good = [Trigger.of(OrderPlaced(order_id=f"O{n}"), user_id=customer(email=f"{n}@x.example").id) for n in range(3)]
    bad = Trigger(event_type="ORDER_LOST", metadata={"orderId": "O9"}, recipient=Guest(email="g@x.example").as_json())
    limited = ApiKey.issue("limited", ["trigger"], event_types=["ORDER_PLACED"])[1]
    forbidden = Trigger.of(SHIPPED, user_id=good[0].user_id)
    sender = client(notifier, limited, timeout=10)
    for _ in range(2):  # the same triggers again are the same events
        results = sender.send_many([good[0], bad, good[1], forbidden, good[2]])
        assert [type(result) for result in results] == [Accepted, Refused, Accepted, NotAuthorised, Accepted]
    assert isinstance(results[1], Refused)
    assert "eventType" in results[1].fields
    keys = NotificationEvent.objects.values_list("idempotency_key", flat=True)
    assert sorted(map(str, keys)) == sorted(one.idempotency_key for one in good)
    assert sender.send_many([]) == []


def test_an_event_of_many_whose_recipient_had_too_many_may_be_sent_later() -> None:
    error = {"code": "RATE_LIMITED", "message": "Too many.", "fields": {"userId": "Too many."}}
    results = [{"index": 0, "status": "QUEUED", "eventId": "e1"}, {"index": 1, "status": "REFUSED", "error": error}]
    with fronts.running([Answer(202, json.dumps({"results": results}).encode())]) as front:
        outcomes = client(front.url).send_many([Trigger.of(SHIPPED, user_id="u"), Trigger.of(SHIPPED, user_id="u")])
    assert [type(outcome) for outcome in outcomes] == [Accepted, Unavailable]


def test_calls_take_no_more_than_the_api_does() -> None:
    small = [Trigger.of(OrderPlaced(order_id=f"O{n}")) for n in range(2500)]
    large = [Trigger.of(OrderPlaced(order_id="O", extra={"note": "x" * 60_000})) for _ in range(100)]
    assert [len(chunk) for chunk in _chunks(small)] == [1000, 1000, 500]
    sizes = [sum(len(encoded) for _, encoded in chunk) for chunk in _chunks(large)]
    assert len(sizes) == 2
    assert max(sizes) <= BULK_BYTES
    assert list(_chunks([])) == []


def test_it_gives_up_after_its_tries_and_says_what_was_said() -> None:
    with fronts.running([Answer(503)] * 5) as front, pytest.raises(Unavailable) as away:
        client(front.url, tries=3).trigger(SHIPPED, user_id="u")
    assert (len(front.requests), away.value.code, str(away.value)) == (3, "UNAVAILABLE", "Away.")


def test_patience_ends_the_tries() -> None:
    """Who is told to come back in a minute, and has ten seconds, knows at once."""
    began = time.monotonic()
    with fronts.running([Answer(429, headers={"Retry-After": "60"})]) as front, pytest.raises(Unavailable) as away:
        client(front.url, patience=10).trigger(SHIPPED, user_id="u")
    assert (len(front.requests), away.value.retry_after) == (1, 60)
    with pytest.raises(Unavailable, match="does not answer"):
        client(f"http://127.0.0.1:{free_port()}", tries=100, patience=0.5).trigger(SHIPPED, user_id="u")
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(("given", "asked"), [("Wed, 25 Nov 2099 12:00:00 GMT", True), ("soon", False), ("", False)])
def test_when_to_come_back_may_be_a_date(given: str, asked: bool) -> None:
    headers = {"Retry-After": given} if given else {}
    with fronts.running([Answer(503, headers=headers)]) as front, pytest.raises(Unavailable) as away:
        client(front.url, tries=1).trigger(SHIPPED, user_id="u")
    assert (away.value.retry_after is not None) == asked


def test_waits_double_and_leave_half_to_chance() -> None:
    retries = Patience(total=10, status_forcelist=[503])
    waits = []
    for _ in range(10):
        retries = retries.increment("POST", "/", error=None, response=None, _pool=None)
        waits.append([retries.get_backoff_time() for _ in range(50)])
    for place, some in enumerate(waits):
        longest = min(20.0, 0.3 * 2**place)
        assert all(longest / 2 <= wait <= longest for wait in some)
        assert len(set(some)) > 40
    assert all(min(later) >= min(sooner) / 2 for sooner, later in pairwise(waits))


def test_silence_is_unavailable() -> None:
    with fronts.running([HANG, HANG]) as front, pytest.raises(Unavailable, match="ReadTimeoutError"):
        client(front.url, tries=2).trigger(SHIPPED, user_id="u")
    assert len(front.requests) == 2


@pytest.mark.parametrize(
    "answer",
    [
        Answer(404, b"<h1>Not found</h1>"),
        Answer(301, b"", {"Location": "https://elsewhere.example/"}),
        Answer(200, b"OK"),
    ],
)
def test_whatever_else_is_at_the_address_accepts_nothing_and_refuses_nothing(answer: Answer) -> None:
    with fronts.running([answer]) as front, pytest.raises(Unavailable, match="is the url right"):
        client(front.url).trigger(SHIPPED, user_id="u")
    assert len(front.requests) == 1


@pytest.mark.parametrize(("url", "key", "named"), [("notifier:8000", "k", "url"), ("http://n", "", "api_key")])
def test_a_wrong_address_or_key_is_said_at_once(url: str, key: str, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        HttpNotifier(url, key)
