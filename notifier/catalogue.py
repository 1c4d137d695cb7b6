"""The event catalogue: what kinds of events there are, and what each means for its recipients.

The data is the project's own (config/event_types.py, named by settings.EVENT_CATALOGUE); this module gives it
its type and its look-up.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

DEFAULT_FALLBACK: Mapping[str, tuple[str, ...]] = {"SMS": ("EMAIL",), "PUSH": ("EMAIL", "SMS"), "EMAIL": ("SMS",)}


class Priority(enum.IntEnum):
    """Lower goes first."""

    URGENT = 0
    NORMAL = 1
    BULK = 2


class Audience(enum.StrEnum):
    CUSTOMER = "customer"
    STAFF = "staff"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and over how long a delivery is tried.

    `max_tries` counts the tries that reached for a provider; waiting for one counts none, and the three runs that a
    chord makes within seconds count as one. Between two lie `first_wait`
    seconds, doubling up to `longest_wait`, with jitter. `fallback_after`, counted from when the delivery was first due,
    ends the wait where another channel can stand in.
    """

    max_tries: int
    first_wait: float
    longest_wait: float
    fallback_after: timedelta


#: By priority: urgent types give up sooner (about 90 s; normal ones 15 min, bulk ones 40 min), and fall back sooner.
RETRIES: Mapping[Priority, RetryPolicy] = {
    Priority.URGENT: RetryPolicy(8, 1.0, 30.0, timedelta(seconds=3)),
    Priority.NORMAL: RetryPolicy(7, 15.0, 900.0, timedelta(minutes=5)),
    Priority.BULK: RetryPolicy(8, 20.0, 3600.0, timedelta(minutes=30)),
}


@dataclass(frozen=True, slots=True)
class EventType:
    """One kind of event.

    `mandatory` channels cannot be turned off by the recipient. `stage` is the order's step that the event marks;
    a message is superseded once an event of stage `superseded_from` or later was recorded for the same order and
    recipient. `schema` is the JSON Schema (2020-12) of the metadata, `sample` metadata that meets it. `fallback`
    gives for a channel that failed for good the channels to try instead, in order. `retries` gives for a channel a
    policy of its own in place of the priority's. `dedupe_within`: a second event of the same order, recipient and
    `shipmentId` within this time of the first is answered as the first, and not recorded; None: all are recorded.
    `escalation`: of a staff type, the groups that are told one after the other while nobody acknowledges it
    (settings.ESCALATE_AFTER).

    For the customer's preference page, in English (config/locale translates): `topic` groups types there, `meaning`
    says when such a message comes, `why_mandatory` why it cannot be turned off.
    """

    name: str
    label: str
    channels: tuple[str, ...]
    priority: Priority
    time_to_live: timedelta
    schema: Mapping[str, Any]
    sample: Mapping[str, Any]
    audience: Audience = Audience.CUSTOMER
    group: str = ""
    mandatory: frozenset[str] = frozenset()
    stage: int | None = None
    superseded_from: int | None = None
    fallback: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: DEFAULT_FALLBACK)
    retries: Mapping[str, RetryPolicy] = field(default_factory=dict)
    dedupe_within: timedelta | None = None
    escalation: tuple[str, ...] = ()
    topic: str = ""
    meaning: str = ""
    why_mandatory: str = ""

    def retry_policy(self, channel: str) -> RetryPolicy:
        return self.retries.get(channel) or RETRIES[self.priority]

    @property
    def reachable_channels(self) -> tuple[str, ...]:
        """Every channel this type can go out by: its own and those of its chains, without repeats."""
        chained = (target for channel in self.channels for target in self.fallback.get(channel, ()))
        further = (target for first in chained for target in (first, *self.fallback.get(first, ())))
        return tuple(dict.fromkeys((*self.channels, *further)))


#: Stands for a type that has left the catalogue: what was planned goes its way, and nothing falls back.
GONE = EventType("", "", (), Priority.NORMAL, timedelta(), {}, {}, fallback={})


@cache
def event_types() -> Mapping[str, EventType]:
    """The catalogue by name."""
    types: tuple[EventType, ...] = import_string(settings.EVENT_CATALOGUE)
    return {event_type.name: event_type for event_type in types}


def may_trigger(named: Collection[str], event_type: str) -> bool:
    """Is the type among those that a key or a source is limited to? None named is all."""
    return not named or event_type in named


def _forget(*, setting: str, **_: object) -> None:
    if setting == "EVENT_CATALOGUE":
        event_types.cache_clear()


setting_changed.connect(_forget)  # only tests change settings
