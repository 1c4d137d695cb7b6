"""What operators have switched, as the engine goes by it: what is paused, and how far a channel is brought in.

Each process reads it about once a second, so a switch counts everywhere a second later; what is with a provider by then
is not called back. notifier/pauses.py switches.
"""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import connection

from channels import registry
from channels.base import Channel
from preferences.resolve import EMAIL, PHONE, Recipient

AGE = 1.0  # seconds for which a process goes by what it has read
RECHECK = 600.0  # seconds after which what is held is looked at again, in case that a switch was missed
CHANNEL, EVENT_TYPE, PROVIDER, ROLLOUT = "CHANNEL", "EVENT_TYPE", "PROVIDER", "ROLLOUT"

_READ = """
SELECT kind, name, 0, NULL::uuid[] FROM notifier_pause
UNION ALL SELECT 'ROLLOUT', id, percent, users FROM notifier_rollout
"""


@dataclass(frozen=True, slots=True)
class Share:
    """Who gets a channel that is being brought in."""

    channel: str
    percent: int
    users: frozenset[UUID]

    def includes(self, recipient: Recipient) -> bool:
        """The same people at each call, others for each channel; a higher share adds some and drops none."""
        return recipient.user_id in self.users or place(self.channel, recipient) < self.percent


@dataclass(frozen=True, slots=True)
class Switches:
    """`channels` holds also those of which every provider is paused; `providers` goes by (channel, provider)."""

    channels: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()
    providers: frozenset[tuple[str, str]] = frozenset()
    rollouts: Mapping[str, Share] = field(default_factory=dict)
    paused: tuple[str, ...] = ()  # the names of all that is, for people

    def held(self, event_type: str, channels: Iterable[str]) -> frozenset[str]:
        """Those among these channels by which this type waits."""
        if event_type in self.types:
            return frozenset(channels)
        return self.channels.intersection(channels) if self.channels else self.channels

    def tell(self, channel: Channel) -> None:
        """The gate of a provider that is paused lets nothing through: the next one serves."""
        for provider in channel.providers:
            if gate := provider.gate:
                gate.paused = (gate.channel, gate.provider) in self.providers


@dataclass(slots=True)
class _Known:
    switches: Switches = field(default_factory=Switches)
    read_at: float = float("-inf")


_known = _Known()


def refresh(*, age: float = AGE) -> Switches:
    """The switches, at most so many seconds old. One query, or none."""
    if time.monotonic() - _known.read_at >= age:
        with connection.cursor() as cursor:
            cursor.execute(_READ)
            _known.switches = _switches(cursor.fetchall())
        _known.read_at = time.monotonic()
    return _known.switches


def current() -> Switches:
    """As they were last read: for what is asked about each delivery."""
    return _known.switches


def place(channel: str, recipient: Recipient) -> int:
    """0 to 99, always the same for a recipient and a channel."""
    addresses = (address for kind in (EMAIL, PHONE) for address in recipient.addresses.get(kind, ()))
    name = str(recipient.user_id or next((address.value.lower() for address in addresses), ""))
    return int.from_bytes(hashlib.sha256(f"{channel} {name}".encode()).digest()[:8]) % 100


def _switches(rows: Iterable[tuple[Any, ...]]) -> Switches:
    named: dict[str, set[str]] = defaultdict(set)
    rollouts = {}
    for kind, name, percent, users in rows:
        named[kind].add(name)
        if kind == ROLLOUT:
            rollouts[name] = Share(name, percent, frozenset(users))
    providers = frozenset(_provider(name) for name in named[PROVIDER])
    paused = tuple(name for kind in (CHANNEL, PROVIDER, EVENT_TYPE) for name in sorted(named[kind]))
    channels = frozenset(named[CHANNEL]) | _silent(providers)
    return Switches(channels, frozenset(named[EVENT_TYPE]), providers, rollouts, paused)


def _provider(name: str) -> tuple[str, str]:
    channel, _, provider = name.partition(":")
    return channel, provider


def _silent(paused: frozenset[tuple[str, str]]) -> frozenset[str]:
    """The channels of these providers that have no other one."""
    names = {channel for channel, _ in paused if channel in registry.names()}
    return frozenset(name for name in names if all(one in paused for one in _providers(name)))


def _providers(channel: str) -> list[tuple[str, str]]:
    gates = [(provider, provider.gate) for provider in registry.get(channel).providers]
    return [(channel, gate.provider if gate else provider.name) for provider, gate in gates]


def forget() -> None:
    """Go by nothing that was read before: for tests, which change what the database holds."""
    _known.switches, _known.read_at = Switches(), float("-inf")
