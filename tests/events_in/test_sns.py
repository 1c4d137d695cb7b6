"""Messages as SNS wraps them for a queue of SQS."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from notifier.events_in.bus import Incoming
from notifier.events_in.sns import unwrapped

PLACE = {"queue": "order-events", "messageId": "of-sqs"}
ENVELOPE: dict[str, Any] = {  # as Amazon's developer guide shows it
    "Type": "Notification",
    "MessageId": "dc1e94d9-56c5-5e96-808d-cc7f68faa162",
    "TopicArn": "arn:aws:sns:us-east-2:111122223333:orders",
    "Message": '{"eventType": "ORDER_PLACED"}',
    "Timestamp": "2021-02-16T21:41:19.978Z",
    "SignatureVersion": "1",
    "MessageAttributes": {"ce_Id": {"Type": "String", "Value": "17"}},
}


def incoming(body: bytes) -> Incoming:
    return Incoming(body, "order-events-of-sqs", PLACE, {"own": "1"})


def test_the_envelope_is_taken_off() -> None:
    found = unwrapped(incoming(orjson.dumps(ENVELOPE)))
    assert found.body == b'{"eventType": "ORDER_PLACED"}'
    assert found.key == "orders-dc1e94d9-56c5-5e96-808d-cc7f68faa162"
    assert found.headers == {"ce_id": "17"}
    assert found.place == {"queue": "order-events", "topic": "orders", "messageId": ENVELOPE["MessageId"]}


def test_the_same_that_is_in_the_queue_twice_has_one_key() -> None:
    again = Incoming(orjson.dumps(ENVELOPE), "order-events-another", PLACE)
    assert unwrapped(again).key == unwrapped(incoming(orjson.dumps(ENVELOPE))).key


def test_without_attributes() -> None:
    plain = {name: value for name, value in ENVELOPE.items() if name != "MessageAttributes"}
    assert unwrapped(incoming(orjson.dumps(plain))).headers == {}


@pytest.mark.parametrize(
    "body",
    [
        b'{"eventType": "ORDER_PLACED"}',
        b'{"TopicArn": ',
        orjson.dumps({**ENVELOPE, "Type": "SubscriptionConfirmation"}),
        orjson.dumps({**ENVELOPE, "Message": 1}),
        orjson.dumps({**ENVELOPE, "MessageId": None}),
        orjson.dumps({**ENVELOPE, "MessageAttributes": []}),
        orjson.dumps([ENVELOPE]),
    ],
)
def test_what_is_none_stays_as_it_is(body: bytes) -> None:
    assert unwrapped(incoming(body)) == incoming(body)
