"""The preference page's switches: what is shown of a person's choices, and what a posted form changes. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby

from notifier.catalogue import Audience, EventType
from preferences.resolve import Recipient

ALL = ""  # stands for every type, or every channel, as it does in a Preference


@dataclass(frozen=True, slots=True)
class Switch:
    """One checkbox. `name` is the form's: "ORDER_SHIPPED.SMS", or ".SMS" for the whole channel."""

    name: str
    channel: str
    on: bool
    mandatory: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A type with its switches, one a channel that it uses."""

    event_type: EventType
    switches: tuple[Switch, ...]


@dataclass(frozen=True, slots=True)
class Topic:
    name: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Changes:
    """What a form changes, by (type, channel): choices to make, and those to forget, which a wider one replaces."""

    made: Mapping[tuple[str, str], bool] = field(default_factory=dict)
    forgotten: frozenset[tuple[str, str]] = frozenset()


def channel_switches(person: Recipient, types: Iterable[EventType], channels: Collection[str]) -> list[Switch]:
    """One for each of these channels that some type uses, in their order."""
    used = {channel for kind in _shown(types) for channel in kind.channels}
    return [Switch(f".{channel}", channel, _whole_channel(person, channel)) for channel in channels if channel in used]


def topics(person: Recipient, types: Iterable[EventType], channels: Collection[str]) -> list[Topic]:
    """Customers' types by their topic, each with a switch for each of these channels that it uses."""
    order = list(dict.fromkeys(kind.topic for kind in _shown(types)))
    kinds = sorted(_shown(types), key=lambda kind: order.index(kind.topic))
    return [
        Topic(name, tuple(_row(person, kind, channels) for kind in grouped))
        for name, grouped in groupby(kinds, key=lambda kind: kind.topic)
    ]


def changes(
    person: Recipient, types: Mapping[str, EventType], seen: Collection[str], posted: Collection[str]
) -> Changes:
    """What a form asks for whose switches were `seen` on, and came back with those `posted`.

    Only what differs counts, so that a page that was open for long undoes nothing. A whole channel's switch rules
    over those of its types. What is unknown or mandatory is passed over.
    """
    made: dict[tuple[str, str], bool] = {}
    flipped = set(seen) ^ set(posted)
    whole = {name.removeprefix(".") for name in flipped if name.startswith(".")}
    for name in flipped:
        event_type, _, channel = name.rpartition(".")
        if not event_type and channel in whole and channel:
            made[ALL, channel] = name in posted
        elif channel not in whole and _may_choose(types.get(event_type), channel):
            made[event_type, channel] = name in posted
    forgotten = {choice for choice in person.choices if choice[0] and choice[1] in whole}
    return Changes(made, frozenset(forgotten))


def _shown(types: Iterable[EventType]) -> Iterator[EventType]:
    return (kind for kind in types if kind.audience is Audience.CUSTOMER)


def _row(person: Recipient, kind: EventType, channels: Collection[str]) -> Row:
    return Row(kind, tuple(_switch(person, kind, channel) for channel in kind.channels if channel in channels))


def _switch(person: Recipient, kind: EventType, channel: str) -> Switch:
    mandatory = channel in kind.mandatory
    return Switch(f"{kind.name}.{channel}", channel, mandatory or person.allows(kind.name, channel), mandatory)


def _whole_channel(person: Recipient, channel: str) -> bool:
    return person.choices.get((ALL, channel), person.choices.get((ALL, ALL), True))


def _may_choose(kind: EventType | None, channel: str) -> bool:
    return kind is not None and channel in kind.channels and channel not in kind.mandatory
