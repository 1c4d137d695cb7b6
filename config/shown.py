"""What Flower, task events and inspection show of a task's arguments: ids that lead on, and nothing of people.

The message's own `argsrepr` and `kwargsrepr` are dropped, since a foreign producer's hold whatever it sent. What is
shown is read from the arguments: event types of the catalogue, names of channels, and what looks like an id. Nothing
else is let through, so that an address that stands in the place of an order id is not seen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.conf import settings

from notifier.catalogue import event_types

FIRST = 3  # of many, the first so many are named
# an id has a digit, which no name has, and neither the @ of a mail address nor the + and blanks of a phone number
ID = re.compile(r"(?=[^\d]*\d)[\w.:/#-]{1,64}", re.ASCII)
HIDDEN = "…"
TRIGGER = ("event_type", "user_id", "metadata", "idempotency_key", "recipient")  # as notifier.trigger takes them


def shown(task: str, args: object, kwargs: object) -> str:
    """In one line, for the arguments of any message, whoever made it; "" for a task without arguments. Never raises."""
    tell = TELLERS.get(task)
    if tell is None:
        return ""
    return tell(args if isinstance(args, list | tuple) else (), kwargs if isinstance(kwargs, Mapping) else {})


def _trigger(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    return _event({**dict(zip(TRIGGER, args, strict=False)), **kwargs})


def _trigger_many(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    given = args[0] if args else kwargs.get("events")
    events = given if isinstance(given, list) else [given]
    return _first("events", events, _event)


def _deliver(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    channel, ids = (*args, "", ())[:2]
    flags = [name for name in ("urgent", "alone") if kwargs.get(name) is True]
    named = channel if isinstance(channel, str) and channel in settings.CHANNELS else HIDDEN
    return ", ".join([named, *flags, _first("deliveries", ids, _id)])


def _settle(args: Sequence[Any], _kwargs: Mapping[str, Any]) -> str:
    return _first("events", args[0] if args else (), _round)


def _event(given: object) -> str:
    """Of a trigger in the tasks' names or the API's."""
    if not isinstance(given, Mapping):
        return HIDDEN
    event_type = given.get("event_type", given.get("eventType"))
    metadata = given.get("metadata")
    order = metadata.get("orderId") if isinstance(metadata, Mapping) else None
    key = given.get("idempotency_key", given.get("idempotencyKey"))
    known = isinstance(event_type, str) and event_type in event_types()
    return " ".join(
        [
            str(event_type) if known else HIDDEN,
            *([f"order {_id(order)}"] if order is not None else []),
            *([f"key {_id(key)}"] if key is not None else []),
        ]
    )


def _round(given: object) -> str:
    """An event's id and the number of its round."""
    pair = given if isinstance(given, list | tuple) else (given,)
    return "/".join(_id(part) for part in pair[:2])


def _id(given: object) -> str:
    text = str(given) if isinstance(given, str | int) else ""
    return text if ID.fullmatch(text) else HIDDEN


def _first(what: str, given: object, tell: Callable[[object], str]) -> str:
    many = given if isinstance(given, list | tuple) else ()
    told = ", ".join([*(tell(each) for each in many[:FIRST]), *([HIDDEN] if len(many) > FIRST else [])])
    return f"{what} ({len(many)}): {told}"


TELLERS: Mapping[str, Callable[[Sequence[Any], Mapping[str, Any]], str]] = {
    "notifier.trigger": _trigger,
    "notifier.trigger_many": _trigger_many,
    "notifier.deliver": _deliver,
    "notifier.settle": _settle,
    "notifier.fall_back": _settle,
}
