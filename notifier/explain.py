"""What would become of a trigger: what is sent, where, when, and why not elsewhere. Writes nothing, sends nothing.

By the functions that decide when it is in earnest: record.foreseen, plan.plan_now, cap, borders, render. What a
provider will say, and what happens between now and then, nobody knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone

from channels import registry
from channels.base import BREAKER_OPEN, Channel
from channels.breaker import State
from notifier import borders, cap, serving, switches
from notifier.catalogue import EventType
from notifier.content import rendered
from notifier.models import NotificationEvent
from notifier.plan import Planned, can_stand_in, capped, counted, obstacle, plan_now
from notifier.querysets.events import NewEvent
from notifier.record import Recorded, foreseen
from notifier.render import RenderError
from notifier.states import DeliveryStatus, HoldReason, SkipReason
from notifier.trigger import Trigger
from preferences import resolve
from preferences.addresses import masked
from preferences.resolve import DEVICE, EMAIL, NOBODY, PHONE, USER, Recipient

PLANNED = "PLANNED"  # a channel of the chain has a delivery of its own
_NAMES = {EMAIL: "email address", PHONE: "phone number", DEVICE: "device with the app", USER: "account"}


@dataclass(frozen=True, slots=True)
class Target:
    """Where one message goes: `address` is masked; `id` names a device, and is empty otherwise."""

    kind: str
    address: str
    id: str = ""


@dataclass(frozen=True, slots=True)
class Option:
    """A channel that a delivery may fall back to. `obstacle`: a skip reason, PLANNED, or empty where nothing is in the
    way.
    """

    channel: str
    obstacle: str


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a delivery would become. QUEUED: it goes out at `due_at`. FAILED: it cannot be rendered.

    `fallbacks` is the channel's chain in order, which is due after so many seconds (None: no channel could stand in).
    `content`: its parts by name, empty where nothing is sent.
    """

    channel: str
    status: DeliveryStatus
    skip_reason: SkipReason
    hold_reason: HoldReason
    fallback_of: str
    detail: str
    due_at: datetime | None
    targets: Sequence[Target] = ()
    fallbacks: Sequence[Option] = ()
    fallback_after_seconds: float | None = None
    content: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unplanned:
    """A channel without a delivery: `stands_in_for` names those it may replace; `obstacle` as Option has it."""

    channel: str
    stands_in_for: Sequence[str]
    obstacle: str
    detail: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """For one recipient. `same_as`: the trigger came before as this event, so nothing new would happen."""

    recipient: Recipient
    expires_at: datetime
    same_as: Recorded | None = None
    deliveries: Sequence[Outlook] = ()
    unplanned: Sequence[Unplanned] = ()


@dataclass(frozen=True, slots=True)
class _Case:
    """One event as it would be recorded and claimed at `now`."""

    event_type: EventType
    row: NewEvent
    recipient: Recipient
    now: datetime
    kinds: Mapping[str, str] = field(default_factory=registry.address_kinds)
    disturbing: frozenset[str] = field(default_factory=registry.disturbing)

    @property
    def expires_at(self) -> datetime:
        return self.now + timedelta(seconds=self.row.time_to_live)


def explain(trigger: Trigger, source: str = "") -> list[Explanation]:
    """What would become of it now, for its recipient, or for each active member of a staff type's group.

    `source`: whose idempotency keys count. Raises UnknownUser or KeyConflict.
    """
    serving.refresh()
    switches.refresh()
    found = foreseen(trigger, source)
    now = timezone.now()
    users = resolve.load({row.user_id for row, _ in found if row.user_id})
    guest = resolve.guest(trigger.recipient) if trigger.recipient else NOBODY
    return [
        _explained(
            _Case(trigger.event_type, row, users.get(row.user_id, NOBODY) if row.user_id else guest, now), answer
        )
        for row, answer in found
    ]


def _explained(case: _Case, answer: Recorded) -> Explanation:
    if not answer.created:
        return Explanation(case.recipient, case.expires_at, same_as=answer)
    claimed = list(_claimed(case, _planned(case)))
    going = [delivery.channel for delivery, _ in claimed if not delivery.skip_reason]
    outlooks = [_outlook(case, delivery, overtaken, going) for delivery, overtaken in claimed]
    taken = [delivery.channel for delivery, _ in claimed]
    return Explanation(case.recipient, case.expires_at, None, outlooks, list(_unplanned(case, taken, going)))


def _planned(case: _Case) -> list[Planned]:
    """What dispatch would insert."""
    live = case.row.time_to_live
    planned = plan_now(case.event_type, case.recipient, case.kinds, case.disturbing, now=case.now, seconds_to_live=live)
    channels = counted(case.event_type, planned, case.disturbing)
    full = cap.full([cap.place(case.recipient, channel, case.kinds[channel]) for channel in channels])
    over = [channel for index, channel in enumerate(channels) if index in full]
    return capped(planned, over, case.now, live) if over else planned


def _claimed(case: _Case, planned: Sequence[Planned]) -> Iterator[tuple[Planned, str]]:
    """What the claim would make of each when it is due, and the event that overtakes it, if one does."""
    stage = case.event_type.superseded_from
    overtaken = (
        NotificationEvent.objects.overtaken_by(case.row.order_id, case.row.recipient_key, stage)
        if stage is not None
        else ""
    )
    for delivery in planned:
        if delivery.skip_reason:
            yield delivery, ""
        elif delivery.due_in >= case.row.time_to_live:
            yield replace(delivery, skip_reason=SkipReason.EXPIRED), ""
        elif overtaken:
            yield replace(delivery, skip_reason=SkipReason.SUPERSEDED), overtaken
        elif borders.keeps_out(registry.get(delivery.channel)):
            yield replace(delivery, skip_reason=SkipReason.STAGING), ""
        else:
            yield delivery, ""


def _outlook(case: _Case, delivery: Planned, overtaken: str, going: Sequence[str]) -> Outlook:
    goes = not delivery.skip_reason
    outlook = Outlook(
        channel=delivery.channel,
        status=delivery.status,
        skip_reason=delivery.skip_reason,
        hold_reason=delivery.hold_reason,
        fallback_of=delivery.fallback_of,
        detail=_why(case, delivery, overtaken),
        due_at=case.now + timedelta(seconds=delivery.due_in) if goes or delivery.hold_reason else None,
    )
    return _going(case, outlook, going) if goes else outlook


def _going(case: _Case, outlook: Outlook, going: Sequence[str]) -> Outlook:
    channel, policy = registry.get(outlook.channel), case.event_type.retry_policy(outlook.channel)
    stands_in = can_stand_in(case.event_type, channel.name, case.recipient, case.kinds)
    outlook = replace(
        outlook,
        detail="; ".join(filter(None, (outlook.detail, "" if outlook.hold_reason else _waits(channel)))),
        targets=_targets(case.recipient, channel),
        fallbacks=_fallbacks(case, channel.name, going),
        fallback_after_seconds=policy.fallback_after.total_seconds() if stands_in else None,
    )
    try:
        return replace(outlook, content=rendered(channel, case.event_type, case.row, case.now, case.recipient))
    except RenderError as error:
        return replace(outlook, status=DeliveryStatus.FAILED, detail=str(error))


def _waits(channel: Channel) -> str:
    states = [provider.gate.status() for provider in channel.providers if provider.gate]
    away = bool(states) and all(status and status.state == State.OPEN for status in states)
    return f"waits: {BREAKER_OPEN}" if away else ""


def _targets(recipient: Recipient, channel: Channel) -> list[Target]:
    kind = channel.address
    found = borders.destinations(recipient, kind)
    # a push token is no use to people, and in the wrong hands it is one
    return [Target(kind, masked(a.value) if kind in (EMAIL, PHONE) else "", a.id) for a in found]


def _fallbacks(case: _Case, channel: str, going: Sequence[str]) -> list[Option]:
    chain = case.event_type.fallback.get(channel, ())
    return [Option(c, PLANNED if c in going else _obstacle(case, c)) for c in chain]


def _obstacle(case: _Case, channel: str) -> SkipReason:
    return obstacle(case.event_type, channel, case.recipient, case.kinds)


def _unplanned(case: _Case, taken: Sequence[str], going: Sequence[str]) -> Iterator[Unplanned]:
    named = dict.fromkeys((*case.event_type.reachable_channels, *registry.names()))
    for channel in (name for name in named if name not in taken):
        instead_of = [c for c in going if channel in case.event_type.fallback.get(c, ())]
        found = _obstacle(case, channel) if instead_of else SkipReason.NONE
        unused = f"{case.event_type.name} does not go by it"
        detail = f"only if {' or '.join(instead_of)} fails" if instead_of else unused
        told = f"{detail}; then not, as {_why_not(case, channel, found)}" if found else detail
        yield Unplanned(channel, tuple(instead_of), found, told)


def _why(case: _Case, delivery: Planned, overtaken: str) -> str:
    """In a few words, for people."""
    if delivery.skip_reason == SkipReason.SUPERSEDED:
        return f"overtaken by {overtaken}"
    if delivery.skip_reason == SkipReason.EXPIRED:
        return f"{_why_held(case, delivery)}, and its time to live ends before"
    if delivery.skip_reason:
        return _why_not(case, delivery.channel, delivery.skip_reason)
    own = "cannot be turned off" if case.recipient.turned_off_by(case.event_type.name, delivery.channel) else ""
    return "; ".join(filter(None, (delivery.detail, own, _why_held(case, delivery) if delivery.hold_reason else "")))


def _why_held(case: _Case, delivery: Planned) -> str:
    if delivery.hold_reason == HoldReason.CAP:
        return f"{settings.DAILY_CAP} messages went there today"
    quiet = case.recipient.quiet_hours
    return f"quiet hours from {quiet.start:%H:%M} until {quiet.end:%H:%M}, {quiet.time_zone}" if quiet else ""


def _why_not(case: _Case, channel: str, reason: SkipReason) -> str:
    name = _NAMES.get(case.kinds.get(channel, ""), "address")
    return {
        SkipReason.CHANNEL_DISABLED: "the channel is not configured",
        SkipReason.OPTED_OUT: f"its recipient turned off {_turned_off(case, channel)}",
        SkipReason.NO_ADDRESS: f"no {name} is known",
        SkipReason.SUPPRESSED: f"the {name} is suppressed: it does not exist, or its owner said stop",
        SkipReason.COUNTRY: f"the {name} is outside SMS_REGIONS",
        SkipReason.STAGING: "this is staging, and STAGING_RECIPIENTS does not name it",
    }[reason]


def _turned_off(case: _Case, channel: str) -> str:
    event_type, by = case.recipient.turned_off_by(case.event_type.name, channel) or ("", "")
    if event_type and by:
        return f"{event_type} by {by}"
    return f"everything by {by}" if by else event_type or "everything"
