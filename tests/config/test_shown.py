"""What of a message's arguments who watches tasks is shown: what leads on, and nothing of people, whoever sent it."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.celery import app
from config.consumer import QuietRequest
from config.shown import shown

MARK = "ada.archer@mail.example"
IDS = [str(UUID(int=n)) for n in range(1, 501)]
WORDS = st.sampled_from([MARK, "+49 151 5550123", "Ada", "Ada Archer, 1 Market Street", "ada@x", ""])
# what a task may get in the place of anything it takes
TRIGGERED = st.fixed_dictionaries(
    {},
    optional={
        "event_type": WORDS,
        "eventType": WORDS,
        "idempotency_key": WORDS,
        "metadata": WORDS | st.fixed_dictionaries({"orderId": WORDS}),
    },
)
ANYTHING = (
    st.none()
    | WORDS
    | TRIGGERED
    | st.lists(WORDS, max_size=3)
    | st.lists(TRIGGERED, max_size=3)
    | st.lists(st.lists(WORDS, max_size=2), max_size=2)
)
KWARGS = TRIGGERED | st.fixed_dictionaries({"events": ANYTHING}) | ANYTHING


@pytest.mark.parametrize(
    ("task", "args", "kwargs", "expected"),
    [
        (
            "trigger",
            [],
            {
                "event_type": "ORDER_SHIPPED",
                "recipient": {"email": MARK},
                "metadata": {"orderId": "ORD123", "reason": MARK},
                "idempotency_key": "ORD123:shipped",
            },
            "ORDER_SHIPPED order ORD123 key ORD123:shipped",
        ),
        ("trigger", ["ORDER_PLACED", IDS[0], {"orderId": 77}], {}, "ORDER_PLACED order 77"),
        (
            "trigger",
            [],
            {"event_type": MARK, "metadata": {"orderId": MARK}, "idempotency_key": "Ada"},
            "… order … key …",
        ),
        (
            "trigger_many",
            [],
            {"events": [{"event_type": "ORDER_PLACED", "metadata": {"orderId": f"O-{n}"}} for n in range(100)]},
            "events (100): ORDER_PLACED order O-0, ORDER_PLACED order O-1, ORDER_PLACED order O-2, …",
        ),
        ("trigger_many", [MARK], {}, "events (1): …"),
        ("deliver", ["EMAIL", IDS], {"urgent": True}, f"EMAIL, urgent, deliveries (500): {', '.join(IDS[:3])}, …"),
        ("deliver", ["SMS", IDS[:1]], {"alone": True, "urgent": MARK}, f"SMS, alone, deliveries (1): {IDS[0]}"),
        ("settle", [[[IDS[0], 1], [IDS[1], 2]]], {}, f"events (2): {IDS[0]}/1, {IDS[1]}/2"),
        ("fall_back", [[[IDS[0], 3]]], {}, f"events (1): {IDS[0]}/3"),
        ("dispatch", [MARK], {"a": MARK}, ""),
    ],
)
def test_what_is_shown(task: str, args: Any, kwargs: Any, expected: str) -> None:
    assert shown(f"notifier.{task}", args, kwargs) == expected


# slow is the machine at times, and not what is tried
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    task=st.sampled_from(["trigger", "trigger_many", "deliver", "settle", "fall_back"]),
    args=st.lists(ANYTHING, max_size=4) | ANYTHING,
    kwargs=KWARGS,
)
def test_nothing_of_people_is_shown_whatever_comes(task: str, args: object, kwargs: object) -> None:
    line = shown(f"notifier.{task}", args, kwargs).lower()
    assert "ada" not in line
    assert "@" not in line
    assert "5550123" not in line


def test_a_workers_request_shows_that_and_not_what_the_producer_wrote() -> None:
    """As a message of a foreign producer comes: its own descriptions of the arguments are in the headers."""
    kwargs = {"event_type": "ORDER_PLACED", "recipient": {"email": MARK}, "metadata": {"orderId": "ORD1"}}
    headers = {"id": "1", "task": "notifier.trigger", "argsrepr": MARK, "kwargsrepr": repr(kwargs), "shadow": MARK}
    payload = [[], kwargs, {}]
    message = SimpleNamespace(
        headers=headers,
        body=json.dumps(payload),
        payload=payload,
        content_type="application/json",
        content_encoding="utf-8",
        delivery_info={},
        properties={},
    )
    app.loader.import_default_modules()
    request = QuietRequest(message, app=app)
    told = [request.argsrepr, request.kwargsrepr, request.info()["args"], request.info()["kwargs"]]
    assert request.name == request.info()["name"] == "notifier.trigger"
    assert told == ["ORDER_PLACED order ORD1", "", "ORDER_PLACED order ORD1", ""]
