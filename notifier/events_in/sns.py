"""A message that came to its queue by SNS: the envelope is taken off.

SNS without raw message delivery wraps what was published in JSON with `Type`, `TopicArn`, `MessageId`, `Message`,
`Timestamp` and `MessageAttributes` (Amazon SNS developer guide, "Parsing Amazon SNS message formats", read 2026-11-25).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from notifier.events_in.bus import Incoming


def unwrapped(message: Incoming) -> Incoming:
    """What was published, under the topic's MessageId: SNS may put the same into the queue twice.

    What is no such envelope comes back as it is.
    """
    found = _envelope(message.body)
    if found is None:
        return message
    attributes = found.get("MessageAttributes")
    headers = {str(name).lower(): _text(value) for name, value in attributes.items()} if attributes else {}
    topic = str(found["TopicArn"]).rpartition(":")[2]
    return replace(
        message,
        body=found["Message"].encode("utf-8", "surrogatepass"),
        key=f"{topic}-{found['MessageId']}"[:200],
        place={**message.place, "topic": topic[:200], "messageId": found["MessageId"][:100]},
        headers=headers,
    )


def _envelope(body: bytes) -> Mapping[str, Any] | None:
    if b'"TopicArn"' not in body:
        return None
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    is_one = isinstance(found, dict) and found.get("Type") == "Notification"
    texts = is_one and all(isinstance(found.get(name), str) for name in ("TopicArn", "MessageId", "Message"))
    return found if texts and isinstance(found.get("MessageAttributes", {}), dict) else None


def _text(attribute: Any) -> str:
    return str(attribute.get("Value", "")) if isinstance(attribute, dict) else ""
