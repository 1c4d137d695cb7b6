"""Plain JSON and CloudEvents, as foreign producers write them."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest

from notifier.events_in.decode import Undecodable, decode, event_attributes, event_key
from notifier.trigger import OutOfBounds

BODY = {"eventType": "ORDER_PLACED", "metadata": {"orderId": "ORD1"}}
EVENT = {"specversion": "1.0", "id": "17", "source": "/orders", "type": "com.shop.order.ORDER_SHIPPED"}
KEY = "/orders 17"


def test_plain_json_has_no_key_of_its_own() -> None:
    assert decode(orjson.dumps(BODY), {"content-type": "application/json"}) == (BODY, None)


def test_a_structured_event() -> None:
    assert decode(orjson.dumps({**EVENT, "data": BODY}), {}) == (BODY, KEY)


def test_a_structured_event_with_binary_data() -> None:
    data = base64.b64encode(orjson.dumps(BODY)).decode()
    assert decode(orjson.dumps({**EVENT, "data_base64": data}), {}) == (BODY, KEY)


@pytest.mark.parametrize("prefix", ["ce_", "ce-", "cloudevents:", "cloudevents_"])
def test_a_binary_event(prefix: str) -> None:
    headers = {f"{prefix}{name}": value for name, value in EVENT.items()}
    assert decode(orjson.dumps(BODY), headers) == (BODY, KEY)


def test_the_type_of_a_cloud_event_stands_in_for_the_event_type() -> None:
    body = {"metadata": BODY["metadata"]}
    assert decode(orjson.dumps({**EVENT, "data": body}), {}) == ({**body, "eventType": "ORDER_SHIPPED"}, KEY)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "The message is empty."),
        (b"\xff", "The message is not JSON: "),
        (b"[" * 3000, "The message is not JSON: "),
        (orjson.dumps({**EVENT, "specversion": "0.3", "data": BODY}), "Not a CloudEvent that is known here."),
        (orjson.dumps({"specversion": "1.0", "data": BODY}), "Not a CloudEvent."),
        (orjson.dumps({**EVENT, "id": 17, "data": BODY}), "Not a CloudEvent."),
        (orjson.dumps({**EVENT, "data_base64": "?"}), "The CloudEvent's data_base64 is no JSON in base 64."),
        (orjson.dumps({**EVENT, "data_base64": 7}), "The CloudEvent's data_base64 is no JSON in base 64."),
        (orjson.dumps({**EVENT, "data_base64": "AAAA"}), "The CloudEvent's data_base64 is no JSON in base 64."),
    ],
    ids=["empty", "bytes", "deep", "version", "no id", "id no text", "no base64", "base64 no text", "base64 no JSON"],
)
def test_what_cannot_be_read_says_why(data: bytes, problem: str) -> None:
    with pytest.raises(Undecodable) as caught:
        decode(data, {})
    assert str(caught.value).startswith(problem)


def test_an_event_without_what_names_it_says_what_is_missing() -> None:
    with pytest.raises(Undecodable) as caught:
        decode(b"{}", {"ce_specversion": "1.0", "ce_type": "ORDER_PLACED"})
    assert caught.value.fields == dict.fromkeys(["id", "source"], "Required, as text.")


def test_what_is_too_large_is_not_even_read() -> None:
    with pytest.raises(OutOfBounds):
        decode(b" " * (64 * 1024 + 1), {})


@pytest.mark.parametrize("data", [None, 7, [BODY]])
def test_data_that_is_no_object_is_left_to_the_parser(data: Any) -> None:
    assert decode(orjson.dumps({**EVENT, "data": data}), {}) == (data, KEY)


def test_an_id_counts_within_its_source_and_a_long_one_is_shortened() -> None:
    assert event_key("/a", "1") != event_key("/b", "1")
    assert len(event_key("/a", "1" * 300)) == 64


def test_only_what_an_event_is_read_by_is_kept_of_its_headers() -> None:
    headers = {"ce_id": "17", "ce_subject": "a@shop.example", "authorization": "secret", "content-type": "text/plain"}
    assert event_attributes(headers) == {"id": "17"}
