"""Send deliveries of one channel: claim, guard, render, send, record. The template method around every channel."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, transaction

from channels import registry
from channels.base import Channel, Message, Outcome
from channels.errors import ChannelError, InvalidRecipient, MessageRejected, ProviderUnavailable
from notifier.catalogue import event_types
from notifier.failpoints import hit
from notifier.models import Attempt, Delivery, new_id
from notifier.plan import obstacle
from notifier.querysets.deliveries import AttemptRow, Candidate, DeliveryResult, Skip
from notifier.recipients import recipients
from notifier.render import MessageContext, RenderError, render
from notifier.states import AttemptOutcome, DeliveryStatus, SkipReason
from notifier.verdict import Limits, Verdict, classify, judge
from preferences import resolve
from preferences.resolve import Address, Recipient

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Report:
    """What a run did: events (id, round) in which a delivery failed for good, and whether the whole of it
    surely did not reach the provider."""

    failed: set[tuple[str, int]] = field(default_factory=set)
    unreachable: bool = False


@dataclass(slots=True)
class Claimed:
    """A delivery on its way out: its messages, and their outcomes in the same order."""

    row: Candidate
    attempt: int
    started_at: datetime
    messages: list[Message] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)


def deliver(channel_name: str, ids: Sequence[UUID], *, again: bool, last_run: bool) -> Report:
    """Send these deliveries in slices. `again`: a retry in the chord, which takes its rows before they are due.

    Unless `last_run`, a slice that surely did not reach the provider ends the run with `unreachable`, for the
    caller to try again. What does not fit into the time budget stays claimable for the next round.
    """
    channel, report = registry.get(channel_name), Report()
    budget_ends = time.monotonic() + (settings.TASK_SOFT_TIME_LIMIT - settings.SLICE_TIMEOUT).total_seconds()
    for slice_ids, crashed in _slices(ids):
        if time.monotonic() > budget_ends:
            break
        claimed = _claim(channel, slice_ids, again=again, crashed=crashed)
        if not claimed:
            continue
        hit("deliver.claimed")
        _send(channel, claimed)
        hit("deliver.sent")
        unreachable = _nothing_went_out(claimed)
        report.failed |= _record(channel, claimed, in_chord=unreachable and not last_run)
        if unreachable and not last_run:
            report.unreachable = True
            break
        hit("deliver.recorded")
    return report


def _slices(ids: Sequence[UUID]) -> Iterator[tuple[Sequence[UUID], bool]]:
    """Healthy rows together; those whose last attempt crashed alone, so that one cannot take others along."""
    crashed = set(Delivery.objects.filter(id__in=ids, crashes__gt=0).values_list("id", flat=True))
    healthy = [i for i in ids if i not in crashed]
    for start in range(0, len(healthy), settings.SLICE_SIZE):
        yield healthy[start : start + settings.SLICE_SIZE], False
    for poison in crashed:
        yield [poison], True


def _claim(channel: Channel, ids: Sequence[UUID], *, again: bool, crashed: bool) -> list[Claimed]:
    """Lock, guard and start, committed before anything leaves the house."""
    limits = {t.name: t.superseded_from for t in event_types().values() if t.superseded_from is not None}
    with transaction.atomic():
        rows = Delivery.objects.candidates(ids, waiting=again, crashed=crashed, superseded_from=limits)
        people = recipients(rows)
        skips = [skip for row in rows if (skip := _guard(row, people[row.id]))]
        if skips:
            Delivery.objects.skip(skips)
        skipped = {skip.id for skip in skips}
        rows = [row for row in rows if row.id not in skipped]
        started = Delivery.objects.start([row.id for row in rows], settings.DELIVERY_LEASE) if rows else {}
    claimed = [Claimed(row, *started[row.id]) for row in rows]
    tried = _tried_addresses(claimed) if channel.address == "device" else {}
    for item in claimed:
        _render(channel, item, people[item.row.id], tried.get(item.row.id, set()))
    return claimed


def _guard(row: Candidate, recipient: Recipient) -> Skip | None:
    """What has changed since it was planned: too late, overtaken, opted out, or without an address by now."""
    if row.expires_at <= row.now:
        return Skip(row.id, SkipReason.EXPIRED)
    if row.overtaken_by:
        return Skip(row.id, SkipReason.SUPERSEDED, f"overtaken by {row.overtaken_by}")
    reason = obstacle(event_types()[row.event_type], row.channel, recipient, registry.address_kinds())
    return Skip(row.id, reason) if reason else None


def _tried_addresses(claimed: Sequence[Claimed]) -> dict[UUID, set[str]]:
    """Devices that a retry leaves out: they accepted, or may have."""
    done = Attempt.objects.filter(
        delivery_id__in=[c.row.id for c in claimed],
        outcome__in=[AttemptOutcome.ACCEPTED, AttemptOutcome.UNKNOWN],
    ).exclude(address_id="")
    tried: dict[UUID, set[str]] = {}
    for delivery_id, address_id in done.values_list("delivery_id", "address_id"):
        tried.setdefault(delivery_id, set()).add(address_id)
    return tried


def _render(channel: Channel, item: Claimed, recipient: Recipient, tried: set[str]) -> None:
    """Make the messages; an error in rendering is that delivery's alone."""
    row = item.row
    context = MessageContext(
        order_id=row.order_id,
        metadata=row.metadata,
        recorded_at=row.recorded_at,
        locale=recipient.locale,
        time_zone=recipient.time_zone,
        event_id=str(row.event_id),
    )
    try:
        parts = render(channel.name, channel.parts, row.event_type, context)
    except RenderError as error:
        log.error("delivery %s cannot be rendered: %s", row.id, error)
        item.outcomes = [MessageRejected(str(error), code="RENDER")]
        return
    addresses = [a for a in recipient.addresses.get(channel.address, ()) if not a.suppressed]
    fresh = [a for a in addresses if a.id not in tried]
    item.messages = [_message(item, parts, address) for address in fresh]
    if not item.messages:
        item.outcomes = [MessageRejected("every address has been tried", code="NO_ADDRESS_LEFT")]


def _message(item: Claimed, parts: Mapping[str, str], address: Address) -> Message:
    row = item.row
    return Message(
        delivery_id=str(row.id),
        attempt=item.attempt,
        address=address.value,
        parts=parts,
        address_id=address.id,
        event_type=row.event_type,
        data={
            "order_id": row.order_id,
            "event_id": str(row.event_id),
            "url": str(row.metadata.get("trackingUrl", "")),  # where a tap on the message leads
        },
    )


def _send(channel: Channel, claimed: Sequence[Claimed]) -> None:
    """Hand all messages over at once; each outcome goes back to its delivery."""
    messages = [message for item in claimed for message in item.messages]
    outcomes = iter(channel.send(messages) if messages else [])
    for item in claimed:
        if item.messages:
            item.outcomes = [next(outcomes) for _ in item.messages]


def _nothing_went_out(claimed: Sequence[Claimed]) -> bool:
    return all(isinstance(outcome, ProviderUnavailable) for item in claimed for outcome in item.outcomes)


def _record(channel: Channel, claimed: Sequence[Claimed], *, in_chord: bool) -> set[tuple[str, int]]:
    """Write down what happened; the events (id, round) in which a delivery failed for good."""
    results = [_result(channel, item, in_chord=in_chord) for item in claimed]
    changed = _finish(results)
    for item in claimed:
        _mark_invalid(channel, item)
    rounds = {item.row.event_id: item.row.round for item in claimed}
    return {(str(event), rounds[event]) for event, status in changed if status == DeliveryStatus.FAILED}


def _finish(results: Sequence[DeliveryResult]) -> list[tuple[UUID, str]]:
    """What the provider accepted must reach the ledger: tried on fresh connections until the lease is nearly over."""
    gives_up = time.monotonic() + (settings.DELIVERY_LEASE - settings.SLICE_TIMEOUT).total_seconds()
    while True:
        try:
            return Delivery.objects.finish(results)
        except (OperationalError, InterfaceError) as error:  # anything else is a bug, and would only fail again
            if time.monotonic() > gives_up or connection.in_atomic_block:
                raise
            log.warning("outcomes not written yet, trying again: %s", type(error).__name__)
            connection.close()
            time.sleep(0.5)


def _result(channel: Channel, item: Claimed, *, in_chord: bool) -> DeliveryResult:
    row = item.row
    decided = judge(
        item.outcomes,
        tries=row.tries,
        priority=row.priority,
        waited=row.now - row.first_due_at,
        limits=_limits(channel, row),
    )
    if in_chord and decided.status == DeliveryStatus.RETRYING:
        due_in = settings.RETRY_IN_CHORD_DUE.total_seconds()  # only should the task's own retry be lost
        decided = Verdict(decided.status, decided.counted, due_in, decided.cause, decided.detail)
    accepted = next((o for o in item.outcomes if not isinstance(o, ChannelError)), None)
    return DeliveryResult(
        id=row.id,
        attempt=item.attempt,
        status=decided.status.value,
        counted=decided.counted,
        due_in=decided.due_in,
        cause=decided.cause,
        detail=decided.detail[:500],
        provider=item.outcomes[0].provider,
        provider_message_id=accepted.provider_message_id if accepted else "",
        attempts=_attempt_rows(item),
    )


def _limits(channel: Channel, row: Candidate) -> Limits:
    chain = event_types()[row.event_type].fallback.get(row.channel, ())
    after: timedelta | None = settings.FALLBACK_AFTER[row.priority] if chain else None
    return Limits(settings.MAX_ATTEMPTS, after, channel.resend_unknown)


def _attempt_rows(item: Claimed) -> list[AttemptRow]:
    named = [message.address_id for message in item.messages] or [""]
    return [
        AttemptRow(
            id=new_id(),
            delivery_id=item.row.id,
            number=item.attempt,
            address_id=address_id,
            provider=outcome.provider,
            started_at=item.started_at,
            outcome=classify(outcome).value,
            code=getattr(outcome, "code", ""),
            http_status=outcome.status,
            detail=getattr(outcome, "detail", ""),
            provider_message_id=getattr(outcome, "provider_message_id", ""),
            maybe_duplicate=classify(outcome) == AttemptOutcome.UNKNOWN,
        )
        for address_id, outcome in zip(named, item.outcomes, strict=True)
    ]


def _mark_invalid(channel: Channel, item: Claimed) -> None:
    for message, outcome in zip(item.messages, item.outcomes, strict=False):
        if isinstance(outcome, InvalidRecipient):
            resolve.mark_invalid(channel.address, message.address)
