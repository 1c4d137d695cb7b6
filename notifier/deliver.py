"""Send deliveries of one channel: claim, reconcile, send, record. The template method around every channel."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection

from channels import registry
from channels.base import Channel, Outcome, Receipt
from channels.errors import InvalidRecipient, ProviderUnavailable
from notifier import counts, tally
from notifier.claim import Claim, Claimed, claim
from notifier.failpoints import hit
from notifier.fingerprint import fingerprint
from notifier.measures import DATABASE, ERRORS
from notifier.models import Delivery, new_id
from notifier.querysets.deliveries import AttemptRow, DeliveryResult
from notifier.querysets.sql import storable
from notifier.reconcile import reconcile
from notifier.states import AttemptOutcome, DeliveryStatus
from notifier.verdict import Verdict, classify, judge
from preferences import resolve

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Report:
    """What a run did: events (id, round) in which a delivery failed for good, and whether the whole of it
    surely did not reach the provider."""

    failed: set[tuple[str, int]] = field(default_factory=set)
    unreachable: bool = False


def deliver(
    channel_name: str,
    ids: Sequence[UUID],
    *,
    urgent: bool = False,
    alone: bool = False,
    again: bool = False,
    last_run: bool = True,
) -> Report:
    """Send these deliveries in slices. `again`: a retry in the chord, which takes its rows before they are due.

    `alone`: their last attempts crashed, so each goes out by itself, and one cannot take others along.

    Unless `last_run`, a slice that surely did not reach the provider ends the run with `unreachable`, for the
    caller to try again. What does not fit into the time budget stays claimable for the next round.
    """
    channel, report = registry.get(channel_name), Report()
    if again:  # what the run before has sent needs no leave
        ids = Delivery.objects.still_open(ids)
    budget_ends = time.monotonic() + (settings.TASK_SOFT_TIME_LIMIT - settings.SLICE_TIMEOUT).total_seconds()
    size = 1 if alone else channel.slice_size
    for start in range(0, len(ids), size):
        if time.monotonic() > budget_ends:
            break
        lease_ends = time.monotonic() + settings.DELIVERY_LEASE.total_seconds()
        try:
            claimed = claim(channel, ids[start : start + size], early=again, alone=alone, urgent=urgent)
            _deliver_slice(channel, claimed, report, lease_ends, last_run=last_run)
        finally:
            channel.give_back()  # leave that was not used, whatever stood in its way
        if report.unreachable:
            break
    hit("deliver.recorded")
    return report


def _deliver_slice(channel: Channel, claimed: Claim, report: Report, lease_ends: float, *, last_run: bool) -> None:
    report.failed |= {(str(event), claimed.rounds[event]) for event in claimed.given_up}
    if not claimed.going:
        return
    hit("deliver.claimed")
    reconcile(channel, claimed.going)
    _send(channel, claimed.going, lease_ends)
    hit("deliver.sent")
    unreachable = _nothing_went_out(claimed.going) and not last_run
    report.failed |= _record(channel, claimed.going, in_chord=unreachable)
    report.unreachable = unreachable
    if channel.recovered():
        Delivery.objects.wake(channel.name, settings.WAKE_SPREAD)


def _send(channel: Channel, claimed: Iterable[Claimed], lease_ends: float) -> None:
    """Hand all messages over at once; each outcome goes back to its delivery."""
    going = [item for item in claimed if item.messages and not item.verdict]
    messages = [message for item in going for message in item.messages]
    if time.monotonic() > lease_ends - settings.SLICE_TIMEOUT.total_seconds():
        # this process stood still: when its lease ends, another one may send the same
        outcomes: Iterator[Outcome] = iter([ProviderUnavailable("not sent: its lease was nearly over")] * len(messages))
    else:
        found = channel.send(messages)  # also when it is none: leave for a trial goes back then
        channel.spend(found)
        outcomes = iter(found)
    for item in going:
        item.outcomes = [next(outcomes) for _ in item.messages]


def _nothing_went_out(claimed: Sequence[Claimed]) -> bool:
    return all(
        not item.verdict and isinstance(outcome, ProviderUnavailable) for item in claimed for outcome in item.outcomes
    )


def _record(channel: Channel, claimed: Sequence[Claimed], *, in_chord: bool) -> set[tuple[str, int]]:
    """Write down what happened; the events (id, round) in which a delivery failed for good."""
    results = [_result(item, in_chord=in_chord) for item in claimed]
    changed = _finish(results)
    counts.sent(channel.name, claimed, results, changed)
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
            tally.count(ERRORS, DATABASE)
            connection.close()
            time.sleep(0.5)


def _result(item: Claimed, *, in_chord: bool) -> DeliveryResult:
    decided = _decide(item, in_chord=in_chord)
    receipt = item.receipt or next((o for o in item.outcomes if isinstance(o, Receipt)), None)
    return DeliveryResult(
        id=item.row.id,
        attempt=item.row.attempt,
        status=decided.status.value,
        counted=decided.counted,
        due_in=float(decided.due_in),  # an array holds numbers of one type
        cause=decided.cause,
        detail=storable(decided.detail, 500),
        unknown=decided.unknown,
        started_at=item.row.now,
        provider=(receipt or next(iter(item.outcomes), Receipt(""))).provider,
        provider_message_id=storable(receipt.provider_message_id, 200) if receipt else "",
        attempts=item.attempts if item.verdict else _attempt_rows(item),
    )


def _decide(item: Claimed, *, in_chord: bool) -> Verdict:
    row = item.row
    decided = item.verdict or judge(item.outcomes, tries=row.tries, waited=item.waited, limits=item.limits)
    if decided.status != DeliveryStatus.RETRYING:
        return decided
    if in_chord:
        # the chord's runs count as one try, by the last; due only should the task's own retry be lost
        return replace(decided, counted=False, due_in=settings.RETRY_IN_CHORD_DUE.total_seconds())
    return replace(decided, due_in=min(decided.due_in, max(0.0, row.seconds_to_live)))


def _attempt_rows(item: Claimed) -> list[AttemptRow]:
    named = [(message.address_id, fingerprint(message.address)) for message in item.messages] or [("", "")]
    return [
        AttemptRow(
            id=new_id(),
            delivery_id=item.row.id,
            number=item.row.attempt,
            address_id=address_id,
            address_hash=address_hash,
            provider=outcome.provider,
            started_at=item.row.now,
            outcome=classify(outcome).value,
            code=storable(getattr(outcome, "code", ""), 64),
            http_status=outcome.status,
            detail=storable(getattr(outcome, "detail", ""), 500),
            provider_message_id=storable(getattr(outcome, "provider_message_id", ""), 200),
            maybe_duplicate=classify(outcome) == AttemptOutcome.UNKNOWN,
            template=item.template,
        )
        for (address_id, address_hash), outcome in zip(named, item.outcomes, strict=True)
    ]


def _mark_invalid(channel: Channel, item: Claimed) -> None:
    for message, outcome in zip(item.messages, item.outcomes, strict=False):
        if isinstance(outcome, InvalidRecipient):
            resolve.mark_invalid(channel.address, message.address)
