"""Which channels carry an event to its recipient, and why not the others. Pure, but for settings and switches."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache

from notifier import cap, switches
from notifier.borders import refusal
from notifier.catalogue import Audience, EventType, Priority
from notifier.states import DeliveryStatus, HoldReason, SkipReason
from preferences.resolve import Recipient


@dataclass(frozen=True, slots=True)
class Planned:
    """One delivery to insert: QUEUED, or SKIPPED with its reason. It is due in `due_in` seconds, later where held."""

    channel: str
    skip_reason: SkipReason = SkipReason.NONE
    fallback_of: str = ""
    detail: str = ""
    hold_reason: HoldReason = HoldReason.NONE
    due_in: float = 0.0

    @property
    def status(self) -> DeliveryStatus:
        return DeliveryStatus.SKIPPED if self.skip_reason else DeliveryStatus.QUEUED


def obstacle(event_type: EventType, channel: str, recipient: Recipient, address_kinds: Mapping[str, str]) -> SkipReason:
    """Why the channel cannot carry this type to this recipient; NONE when it can.

    `address_kinds` holds the configured channels, each with the kind of address it needs.
    """
    if channel not in address_kinds:
        return SkipReason.CHANNEL_DISABLED
    share = switches.current().rollouts.get(channel)
    if share and event_type.audience is Audience.CUSTOMER and not share.includes(recipient):
        return SkipReason.ROLLOUT
    if channel not in event_type.mandatory and not recipient.allows(event_type.name, channel):
        return SkipReason.OPTED_OUT
    return refusal(recipient, address_kinds[channel])


def plan(event_type: EventType, recipient: Recipient, address_kinds: Mapping[str, str]) -> list[Planned]:
    """The deliveries of an event: its type's channels, and a stand-in when none of them can be used."""
    planned = [_planned(c, obstacle(event_type, c, recipient, address_kinds)) for c in event_type.channels]
    if any(not delivery.skip_reason for delivery in planned):
        return planned
    for skipped in planned:
        stand_in = next_fallback(event_type, skipped.channel, recipient, address_kinds, taken=event_type.channels)
        # who opted out of a channel is not chased down another one
        if stand_in and skipped.skip_reason != SkipReason.OPTED_OUT:
            detail = f"stands in for {skipped.channel}: {skipped.skip_reason.value}"
            return [*planned, Planned(stand_in, fallback_of=skipped.channel, detail=detail)]
    return planned


def plan_now(
    event_type: EventType,
    recipient: Recipient,
    address_kinds: Mapping[str, str],
    disturbing: Collection[str],
    *,
    now: datetime,
    seconds_to_live: float,
) -> list[Planned]:
    """The same as of `now`: what would disturb the recipient's quiet hours, by these channels, is held, and what is
    paused.
    """
    planned = plan(event_type, recipient, address_kinds)
    if quiet := quiet_for(event_type, recipient, now):
        planned = held(planned, disturbing, min(quiet, seconds_to_live))
    if paused := switches.current().held(event_type.name, address_kinds):
        planned = held(planned, paused, min(switches.RECHECK, seconds_to_live), HoldReason.PAUSED)
    return planned


def counted(event_type: EventType, planned: Sequence[Planned], disturbing: Collection[str]) -> list[str]:
    """The channels of these that count against their recipient's daily cap."""
    if event_type.audience is Audience.STAFF:
        return []
    return [delivery.channel for delivery in planned if delivery.channel in disturbing and not delivery.skip_reason]


def capped(
    planned: Sequence[Planned], channels: Collection[str], now: datetime, seconds_to_live: float
) -> list[Planned]:
    """The same, where what would go by these channels is over the cap, and held."""
    return held(planned, channels, min(cap.wait(now), seconds_to_live), HoldReason.CAP)


@cache
def _planned(channel: str, skip_reason: SkipReason) -> Planned:
    """As most deliveries are planned; there are few such values, and each is made once."""
    return Planned(channel, skip_reason)


def quiet_for(event_type: EventType, recipient: Recipient, now: datetime) -> float:
    """Seconds for which the recipient's quiet hours keep this type from disturbing; 0 when they do not."""
    if event_type.priority == Priority.URGENT or not recipient.quiet_hours:
        return 0.0
    end = recipient.quiet_hours.end_after(now)
    return (end - now).total_seconds() if end else 0.0


def held(
    planned: Sequence[Planned], channels: Collection[str], due_in: float, reason: HoldReason = HoldReason.QUIET_HOURS
) -> list[Planned]:
    """The same, where what would go by these channels is held for so many seconds, or for longer as before."""
    return [
        replace(delivery, hold_reason=reason, due_in=max(due_in, delivery.due_in))
        if delivery.channel in channels and not delivery.skip_reason
        else delivery
        for delivery in planned
    ]


def can_stand_in(event_type: EventType, channel: str, recipient: Recipient, address_kinds: Mapping[str, str]) -> bool:
    """Whether any channel of the chain could reach the recipient instead."""
    return bool(next_fallback(event_type, channel, recipient, address_kinds, taken=()))


def next_fallback(
    event_type: EventType,
    channel: str,
    recipient: Recipient,
    address_kinds: Mapping[str, str],
    taken: Collection[str],
) -> str:
    """The next channel of the chain that can be used and has no delivery yet; empty when there is none."""
    for candidate in event_type.fallback.get(channel, ()):
        if candidate not in taken and not obstacle(event_type, candidate, recipient, address_kinds):
            return candidate
    return ""
