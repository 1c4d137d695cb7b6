"""What a bus message says: the JSON of a trigger, plain or as a CloudEvent.

CloudEvents 1.0, as its JSON format and its bindings for Kafka, AMQP, Pub/Sub and HTTP write it: structured, as one
JSON object with `specversion` and `data`, or binary, with the attributes in headers and the data as the body
(github.com/cloudevents/spec, v1.0.2, read 2026-11-25).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from typing import Any

import orjson

from notifier.trigger import KEY_LIMIT, SIZE_LIMIT, OutOfBounds, TriggerError

# Kafka writes ce_, Pub/Sub and HTTP ce-, AMQP cloudEvents: or cloudEvents_
_ATTRIBUTE = re.compile(r"(?:ce[_-]|cloudevents[:_])([a-z0-9]+)")
KEPT = ("specversion", "id", "source", "type", "datacontenttype")  # attributes that a dead letter keeps


class Undecodable(TriggerError):  # noqa: N818 - named after what the reader of a dead letter sees
    """The bytes are no JSON, or no CloudEvent that is known here."""

    code = "UNDECODABLE"


def decode(data: bytes, headers: Mapping[str, str]) -> tuple[Any, str | None]:
    """The trigger's body, to be parsed, and the key of a CloudEvent, made of its source and id; None for plain JSON.

    A CloudEvent's data is the trigger's body; where that has no `eventType`, the last word of the event's `type` is it.

    Raises Undecodable or OutOfBounds.
    """
    if len(data) > SIZE_LIMIT:
        raise OutOfBounds("TOO_LARGE", f"The message is larger than {SIZE_LIMIT // 1024} KiB.")
    found = _json(data)
    if headers and "specversion" in (attributes := event_attributes(headers)):
        return _event(attributes, found)
    if isinstance(found, dict) and "specversion" in found:
        return _event(found, _data(found))
    return found, None


def event_attributes(headers: Mapping[str, str]) -> dict[str, str]:
    """A binary CloudEvent's attributes, as far as we read them."""
    named = {match[1]: value for name, value in headers.items() if (match := _ATTRIBUTE.fullmatch(name))}
    return {name: named[name] for name in KEPT if name in named}


def _json(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        problem = f"The message is not JSON: {error.msg} at byte {error.pos}." if data else "The message is empty."
        raise Undecodable(problem) from error


def _data(event: Mapping[str, Any]) -> Any:
    encoded = event.get("data_base64")
    if encoded is None:
        return event.get("data")
    try:
        return _json(base64.b64decode(encoded, validate=True))
    except (binascii.Error, TypeError, ValueError) as error:
        raise Undecodable("The CloudEvent's data_base64 is no JSON in base 64.") from error


def _event(attributes: Mapping[str, Any], data: Any) -> tuple[Any, str]:
    wrong = {name: attributes.get(name) for name in ("id", "source", "type")}
    if missing := [name for name, value in wrong.items() if not isinstance(value, str) or not value]:
        raise Undecodable("Not a CloudEvent.", dict.fromkeys(missing, "Required, as text."))
    if attributes["specversion"] != "1.0":
        raise Undecodable("Not a CloudEvent that is known here.", {"specversion": "Must be 1.0."})
    if isinstance(data, dict) and "eventType" not in data:
        data = {**data, "eventType": str(attributes["type"]).rpartition(".")[2]}
    return data, event_key(attributes["source"], attributes["id"])


def event_key(source: str, event_id: str) -> str:
    """An id is unique within its source alone, as the specification says."""
    key = f"{source} {event_id}"
    return key if len(key) <= KEY_LIMIT else hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()
