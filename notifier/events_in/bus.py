"""What a bus is to Notifier: messages in batches, which are committed once they are stored, and not before.

A bus is one class here, one entry in settings.BUSES (config/buses.py) and one stage in tests/events_in:

    BUSES = {
        "kafka": {
            "BUS": "notifier.events_in.kafka.KafkaBus",
            "CLIENT": "confluent-kafka",
            "SOURCE": "order-events",
            "OPTIONS": {…},
        },
    }

CLIENT is the package that the class needs, SOURCE the source of its events, OPTIONS the class's keyword arguments.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string


class BusError(Exception):
    """The connection is of no use any more: the process ends, and whoever started it starts another."""


class DeadLetterQueueError(Exception):
    """So many refused messages did not reach the bus's own dead letters; they are in the database all the same."""

    def __init__(self, problem: str, missed: int) -> None:
        super().__init__(problem)
        self.missed = missed


@dataclass(frozen=True, slots=True)
class Incoming:
    """One message as it came.

    `headers` go by names in small letters. `key` names the message for good: two messages never share one, and one
    that comes again has the same. `place` says where it came from, as {"topic", "partition", "offset"} or as {"queue",
    "messageId"}; it is kept with the event. `published_at`: seconds since 1970, by the producer's or the broker's
    clock. `raw`: the client's own.
    """

    body: bytes
    key: str
    place: Mapping[str, str | int]
    headers: Mapping[str, str] = field(default_factory=dict)
    published_at: float | None = None
    raw: Any = None


@dataclass(frozen=True, slots=True)
class Refused:
    """A message that was not recorded; `cause` as in the dead letters, `problem` without any value of the message."""

    message: Incoming
    cause: str
    problem: str


class Bus(ABC):
    """One connection, used by one thread. A broker that is away is waited for inside: nothing raises but BusError.

    A message that was fetched and neither committed nor given back comes again after a crash, and may come twice.
    """

    paused = False
    #: called by a bus whose broker confirms commits later, with the seconds that it took; None: `commit` waits for it
    on_confirmed: Callable[[float], None] | None = None

    @abstractmethod
    def fetch(self, limit: int, wait: float) -> Sequence[Incoming]:
        """Up to `limit` messages, at once when there are some; none after `wait` seconds without one, or a few more.

        It keeps the place in the group, so it is called at least every few seconds, also while paused: then it waits
        and gives none.
        """

    @abstractmethod
    def commit(self, batch: Sequence[Incoming]) -> None:
        """These are stored: never again. Where the broker did not take that, they may come again."""

    @abstractmethod
    def give_back(self, batch: Sequence[Incoming]) -> None:
        """These could not be stored: `fetch` gives them again, once it is not paused."""

    @abstractmethod
    def dead_letter(self, refused: Sequence[Refused]) -> None:
        """Copy these to the bus's own dead letters, where there are any. Raises DeadLetterQueueError."""

    @abstractmethod
    def close(self) -> None:
        """Leave the group; what is not committed goes to others at once."""

    def pause(self) -> None:
        """Take no more messages, and stay in the group."""
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def is_connected(self) -> bool:
        """Whether the broker gives us work, as far as is known."""
        return True

    def lag(self) -> int | None:
        """Messages that wait for this process; None where the broker does not tell."""
        return None


def names() -> tuple[str, ...]:
    """The configured buses."""
    return tuple(settings.BUSES)


def source(name: str) -> str:
    """The source of the bus's events. Raises ImproperlyConfigured for one that is not configured."""
    return str(_entry(name)["SOURCE"])


def connect(name: str) -> Bus:
    """The bus, connected. Raises ImproperlyConfigured with one line that says what is wrong and what to do."""
    entry = _entry(name)
    try:
        bus: type[Bus] = import_string(entry["BUS"])
    except ImportError as error:
        problem = f"The bus {name} needs a client that is not installed: pip install {entry['CLIENT']} ({error})."
        raise ImproperlyConfigured(problem) from error
    return bus(**entry["OPTIONS"])


def _entry(name: str) -> Mapping[str, Any]:
    if name not in settings.BUSES:
        known = ", ".join(names()) or "none"
        problem = f"The bus {name!r} is not configured; there is {known}. docs/event-bus.md says what to set."
        raise ImproperlyConfigured(problem)
    entry: Mapping[str, Any] = settings.BUSES[name]
    return entry
