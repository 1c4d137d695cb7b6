"""Take deliveries for sending: ask for leave, start, guard. Committed before anything leaves the house."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from django.conf import settings

from channels import registry
from channels.base import BREAKER_OPEN, Channel, Message, Outcome, Permit, Receipt
from channels.errors import MessageRejected, ProviderUnavailable
from notifier import backoff, borders, cap, counts, serving, switches
from notifier.catalogue import GONE, event_types
from notifier.links import NO_LINKS, Links, links
from notifier.models import Attempt, Delivery
from notifier.plan import can_stand_in, obstacle, quiet_for
from notifier.querysets.deliveries import AttemptRow, Candidate, GivenUp, Hold, Postponed, Skip
from notifier.render import MessageContext, RenderError
from notifier.states import AttemptOutcome, HoldReason, SkipReason
from notifier.verdict import Limits, Verdict
from preferences.resolve import Address, comes_whole

log = logging.getLogger(__name__)

# seconds that an answer is waited for, even where the fallback is due: longer than a healthy provider takes, or its
# breaker would open by our impatience
SHORTEST_CALL = 1.5
NO_LEAVE = Permit(0)
OVERTIME = 0.1  # seconds more, so that the fallback is surely due when the call is given up


@dataclass(slots=True)
class Claimed:
    """A delivery on its way out: its messages, and their outcomes in the same order."""

    row: Candidate
    limits: Limits
    messages: list[Message] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    claimed_at: float = field(default_factory=time.monotonic)
    verdict: Verdict | None = None  # where nothing is to be sent after all: an earlier attempt was cleared up
    receipt: Receipt | None = None
    attempts: Sequence[AttemptRow] = ()
    template: str = ""  # what its messages are rendered with, as Attempt has it

    @property
    def waited(self) -> timedelta:
        """Since it was first due, by the database's clock until the claim, and by ours since."""
        return timedelta(seconds=self.row.waited + time.monotonic() - self.claimed_at)


@dataclass(slots=True)
class Claim:
    """What may go now, and the events of deliveries that waited for their provider until their fallback was due."""

    going: list[Claimed] = field(default_factory=list)
    given_up: list[UUID] = field(default_factory=list)
    rounds: dict[UUID, int] = field(default_factory=dict)


def claim(channel: Channel, ids: Sequence[UUID], *, early: bool = False, alone: bool = False, urgent: bool) -> Claim:
    """Claim what may be sent of these. `early`: rows before they are due; `alone`: also one that crashed last time.

    What the provider has no room for is postponed, or fails where its fallback is due.
    """
    switched = switches.refresh()
    switched.tell(channel)
    permit = NO_LEAVE if channel.name in switched.channels else channel.permit(len(ids), urgent=urgent)
    rows, overtaken = Delivery.objects.claim(
        ids,
        room=permit.granted,
        early=early,
        alone=alone,
        superseded_from=_superseded_from(),
        lease=settings.DELIVERY_LEASE,
        whole=comes_whole(len(ids)),
    )
    counts.skipped(channel.name, overtaken)
    claimed, waiting, paused, kinds = [], [], [], registry.address_kinds()
    for row in rows:
        limits = _limits(channel, row, permit, kinds)
        if row.started:
            claimed.append(Claimed(row, limits))
        elif switched.held(row.event_type, [channel.name]):
            paused.append((row.id, min(switches.RECHECK, row.seconds_to_live)))
        else:
            waiting.append((row, limits))
    if paused:
        Delivery.objects.pause(paused)
        counts.held(HoldReason.PAUSED for _ in paused)
    given_up = _wait(channel, waiting, permit)
    going = _skip(channel, claimed, kinds)
    if channel.disturbs or switched.types:
        going = _hold(channel, going, kinds)
    serving.refresh()
    tried = _tried_addresses(going) if channel.address == "device" else {}
    patience = min(map(_patience, going), default=math.inf)
    for item in going:
        _render(channel, item, tried.get(item.row.id, set()), patience if urgent else _patience(item))
    return Claim(going, given_up, {row.event_id: row.round for row in rows})


def _superseded_from() -> dict[str, int]:
    return {t.name: t.superseded_from for t in event_types().values() if t.superseded_from is not None}


def _skip(channel: Channel, claimed: Sequence[Claimed], kinds: Mapping[str, str]) -> list[Claimed]:
    """Turn what its recipient does not want, or cannot be reached by, any more into SKIPPED; the others."""
    going, skips = [], []
    for item in claimed:
        if reason := SkipReason.STAGING if borders.keeps_out(channel) else _obstacle(item.row, kinds):
            skips.append(Skip(item.row.id, item.row.attempt, reason))
        else:
            going.append(item)
    if skips:
        Delivery.objects.skip(skips)
        counts.skipped(channel.name, [skip.reason for skip in skips])
    return going


def _hold(channel: Channel, claimed: Sequence[Claimed], kinds: Mapping[str, str]) -> list[Claimed]:
    """Put off what is paused, and what must not disturb its recipient now, as a retry or fallback; the others."""
    going, holds = [], []
    over = _over(claimed, kinds) if channel.disturbs else set()
    for item in claimed:
        row = item.row
        due_in, reason = _held_for(channel, row, capped=row.id in over)
        if due_in:
            holds.append(Hold(row.id, row.attempt, min(due_in, row.seconds_to_live), reason))
        else:
            going.append(item)
    if holds:
        Delivery.objects.hold(holds)
        counts.held(hold.reason for hold in holds)
    return going


def _held_for(channel: Channel, row: Candidate, *, capped: bool) -> tuple[float, HoldReason]:
    """Seconds for which it must not go, and why; 0 for none."""
    if row.event_type in switches.current().types:
        return switches.RECHECK, HoldReason.PAUSED
    if capped:
        return cap.wait(row.now), HoldReason.CAP
    if not channel.disturbs:
        return 0.0, HoldReason.NONE
    return quiet_for(event_types().get(row.event_type, GONE), row.recipient, row.now), HoldReason.QUIET_HOURS


def _over(claimed: Sequence[Claimed], kinds: Mapping[str, str]) -> set[UUID]:
    """Of what the plan found to be over the cap, and did not count, those for which there is still no room."""
    again = [item.row for item in claimed if item.row.hold_reason == HoldReason.CAP and not item.row.tries]
    places = [cap.place(row.recipient, row.channel, kinds[row.channel]) for row in again]
    return {again[index].id for index in cap.over(places)}


def _obstacle(row: Candidate, kinds: Mapping[str, str]) -> SkipReason:
    event_type = event_types().get(row.event_type)
    if event_type is None:
        return SkipReason.NONE
    return obstacle(event_type, row.channel, row.recipient, kinds)


def _limits(channel: Channel, row: Candidate, permit: Permit, kinds: Mapping[str, str]) -> Limits:
    event_type = event_types().get(row.event_type, GONE)
    stand_in = can_stand_in(event_type, row.channel, row.recipient, kinds)
    return Limits(event_type.retry_policy(row.channel), stand_in, channel.resend_unknown, permit.trial)


def _wait(channel: Channel, rows: Iterable[tuple[Candidate, Limits]], permit: Permit) -> list[UUID]:
    """Postpone what the provider has no room for now; the events of what has waited until its fallback was due."""
    postponed, lost, causes = [], [], {}
    for row, limits in rows:
        waited = timedelta(seconds=row.waited)
        left = limits.left(waited)
        if left is not None and left <= 0:
            cause = "ProviderUnavailable" if permit.reason == BREAKER_OPEN else "RateLimited"
            lost.append(GivenUp(row.id, row.attempt, cause, f"{permit.reason}, and its fallback is due"))
            causes[row.event_id] = cause
            continue
        due_in = backoff.poll(permit.wait, waited.total_seconds())
        due_in = min(due_in, row.seconds_to_live, due_in if left is None else left)
        postponed.append(Postponed(row.id, due_in, f"waits: {permit.reason}"))
    if postponed:
        Delivery.objects.postpone(postponed)
        counts.waited(channel.name, permit, len(postponed))
    given_up = Delivery.objects.give_up(lost) if lost else []
    counts.given_up(channel.name, [causes[event] for event in given_up])
    return given_up


def _tried_addresses(claimed: Sequence[Claimed]) -> dict[UUID, set[str]]:
    """Devices that a retry leaves out: they accepted, or may have, which only an operator's force overrules."""
    forced = {c.row.id for c in claimed if c.row.forced}
    if not (again := [c.row.id for c in claimed if c.row.attempt > 1]):
        return {}
    done = Attempt.objects.filter(
        delivery_id__in=again,
        outcome__in=[AttemptOutcome.ACCEPTED, AttemptOutcome.UNKNOWN],
    ).exclude(address_id="")
    tried: dict[UUID, set[str]] = {}
    for delivery_id, address_id, outcome in done.values_list("delivery_id", "address_id", "outcome"):
        if outcome == AttemptOutcome.ACCEPTED or delivery_id not in forced:
            tried.setdefault(delivery_id, set()).add(address_id)
    return tried


def _render(channel: Channel, item: Claimed, tried: set[str], patience: float) -> None:
    """Make the messages; whatever goes wrong here is that delivery's alone."""
    row, recipient = item.row, item.row.recipient
    if item.limits.trial and _left(item) <= 0:  # a provider that may still be away is nothing to wait for any more
        item.outcomes = [ProviderUnavailable("only on trial, and its fallback is due")]
        return
    if row.event_type not in event_types():  # a worker of an older version, or a type that was removed too early
        item.outcomes = [ProviderUnavailable("this worker does not know the event type", code="UNKNOWN_TYPE")]
        return
    try:
        found = _links(channel, row)
        shown = serving.render_message(channel.name, channel.parts, row.event_type, _context(row, found))
        parts, item.template = borders.marked(shown.parts), shown.template
        addresses = [a for a in borders.destinations(recipient, channel.address) if a.id not in tried]
        item.messages = [_message(item, parts, address, patience, found) for address in addresses]
    except RenderError as error:
        log.error("delivery %s cannot be rendered: %s", row.id, error)
        item.outcomes = [MessageRejected(str(error), code="RENDER")]
    except Exception as error:  # noqa: BLE001 - one broken message must not stop the others of its slice
        log.error("delivery %s cannot be rendered: %s", row.id, type(error).__name__)
        item.outcomes = [MessageRejected(type(error).__name__, code="RENDER")]
    else:
        if not item.messages:
            item.outcomes = [MessageRejected("every address has been tried", code="NO_ADDRESS_LEFT")]


def _links(channel: Channel, row: Candidate) -> Links:
    if not channel.links:
        return NO_LINKS
    return links(event_types()[row.event_type], channel.name, row.recipient.user_id, row.id)


def _context(row: Candidate, found: Links) -> MessageContext:
    return MessageContext(
        order_id=row.order_id,
        metadata=row.metadata,
        recorded_at=row.recorded_at,
        locale=row.recipient.locale,
        time_zone=row.recipient.time_zone,
        event_id=str(row.event_id),
        links=found,
    )


def _message(item: Claimed, parts: Mapping[str, str], address: Address, patience: float, found: Links) -> Message:
    row = item.row
    return Message(
        delivery_id=str(row.id),
        attempt=row.attempt,
        address=address.value,
        parts=parts,
        address_id=address.id,
        event_type=row.event_type,
        patience=patience,
        unsubscribe_url=found.unsubscribe,
        data={
            "order_id": row.order_id,
            "event_id": str(row.event_id),
            "url": str(row.metadata.get("trackingUrl", "")),  # where a tap on the message leads
        },
    )


def _patience(item: Claimed) -> float:
    """Seconds that its answer is worth waiting for. What goes out together is written down together, when the last
    answer has come: so of urgent messages the most urgent one says how long all are waited for.
    """
    return max(_left(item) + OVERTIME, SHORTEST_CALL)


def _left(item: Claimed) -> float:
    left = item.limits.left(item.waited)
    return math.inf if left is None else left
