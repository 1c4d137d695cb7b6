"""Decide from the rows what became of an event: final, a fallback, or due again. Idempotent; never reads results."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction

from channels import registry
from notifier import counts
from notifier.catalogue import GONE, EventType, event_types
from notifier.failpoints import hit
from notifier.models import Delivery, NotificationEvent
from notifier.operations import DELIVERY_FAILED, tell_operations
from notifier.plan import Planned, next_fallback
from notifier.recipients import recipients
from notifier.states import ACCEPTED, FINAL, LOST, DeliveryStatus, EventStatus
from preferences.resolve import NOBODY, Recipient

log = logging.getLogger(__name__)

PUT_OFF = timedelta(minutes=5)  # until an event whose settlement broke is tried again
_CONNECTION_LOST = (OperationalError, InterfaceError)  # not the event's fault


@dataclass(slots=True)
class Decisions:
    """What one settlement writes."""

    verdicts: list[tuple[UUID, str]] = field(default_factory=list)
    due: list[tuple[UUID, datetime | None, bool]] = field(default_factory=list)
    fallbacks: list[tuple[UUID, Planned]] = field(default_factory=list)
    unreached: list[tuple[NotificationEvent, Delivery]] = field(default_factory=list)


def settle(rounds: Iterable[tuple[UUID, int]], *, early: bool = False) -> bool:
    """Settle these events, given as (id, round); whether something became due at once.

    One that breaks the settlement is put off, and logged; the others are settled.

    `early`: a delivery failed for good while its round is still in flight: fall back, and leave the round alone.
    A verdict stands whoever finds it; only the event's own round may say when it is due again.
    """
    wanted = dict(rounds)
    if not early:
        _settle_sent(wanted)
    if not wanted:
        return False
    try:
        return _settle(wanted, early=early)
    except _CONNECTION_LOST:
        raise
    except Exception as error:  # noqa: BLE001 - whichever event it is, it is found one by one
        log.warning("settling %d events together failed: %s", len(wanted), type(error).__name__)
        settled = [_settle_alone(event, number, early=early) for event, number in wanted.items()]
        return any(settled)


def _settle_sent(wanted: dict[UUID, int]) -> None:
    """Conclude those of which everything was sent, as most are, and take them out."""
    hit("settle.deciding")
    concluded = NotificationEvent.objects.conclude_sent(list(wanted))
    for event in concluded:
        del wanted[event.id]
    hit("settle.committed")
    counts.settled(concluded)


def _settle_alone(event: UUID, number: int, *, early: bool) -> bool:
    try:
        return _settle({event: number}, early=early)
    except _CONNECTION_LOST:
        raise
    except Exception:
        log.exception("event %s cannot be settled", event)
        NotificationEvent.objects.put_off([event], PUT_OFF)
        return False


def _settle(wanted: Mapping[UUID, int], *, early: bool) -> bool:
    with transaction.atomic():
        events = NotificationEvent.objects.lock_unsettled(wanted)
        deliveries = _deliveries(events)
        decisions = Decisions()
        reachable = recipients([e for e in events if any(d.status in LOST for d in deliveries[e.id])])
        for event in events:
            current = event.round == wanted[event.id] and not early
            _decide(event, deliveries[event.id], reachable.get(event.id, NOBODY), decisions, current=current)
        hit("settle.deciding")
        rings = _write(decisions)
    hit("settle.committed")
    return rings


def status_of(event_type: EventType, deliveries: Sequence[Delivery]) -> EventStatus:
    """The final status of an event whose deliveries are all final."""
    states = {delivery.channel: DeliveryStatus(delivery.status) for delivery in deliveries}
    planned = [d.channel for d in deliveries if not d.fallback_of and d.status != DeliveryStatus.SKIPPED]
    if not planned:  # everything was skipped, or only a stand-in was left
        planned = [d.channel for d in deliveries if d.status != DeliveryStatus.SKIPPED]
    reached = [channel for channel in planned if _reached(event_type, channel, states)]
    if not planned:
        return EventStatus.SKIPPED
    if len(reached) == len(planned):
        return EventStatus.SENT
    anyone = any(state in ACCEPTED for state in states.values())
    return EventStatus.PARTIAL if anyone else EventStatus.FAILED


def _reached(event_type: EventType, channel: str, states: Mapping[str, DeliveryStatus]) -> bool:
    return any(states.get(c) in ACCEPTED for c in (channel, *event_type.fallback.get(channel, ())))


def stand_in(event_type: EventType, failed: str, states: Mapping[str, DeliveryStatus], recipient: Recipient) -> str:
    """The channel to try instead of a failed one; empty when one is under way or has arrived, or none is left."""
    chain = event_type.fallback.get(failed, ())
    if any(states[c] not in LOST and states[c] != DeliveryStatus.SKIPPED for c in chain if c in states):
        return ""
    return next_fallback(event_type, failed, recipient, registry.address_kinds(), taken=states)


def _deliveries(events: Sequence[NotificationEvent]) -> dict[UUID, list[Delivery]]:
    found: dict[UUID, list[Delivery]] = {event.id: [] for event in events}
    for delivery in Delivery.objects.filter(event_id__in=list(found)):
        found[delivery.event_id].append(delivery)
    return found


def _decide(
    event: NotificationEvent,
    deliveries: Sequence[Delivery],
    recipient: Recipient,
    decisions: Decisions,
    *,
    current: bool,
) -> None:
    event_type = event_types().get(event.event_type, GONE)
    fallbacks = _fall_back(event, event_type, deliveries, recipient)
    if fallbacks:
        decisions.fallbacks += fallbacks
        decisions.due.append((event.id, None, current))
    elif all(delivery.status in FINAL for delivery in deliveries):
        status = status_of(event_type, deliveries)
        decisions.verdicts.append((event.id, status.value))
        if status == EventStatus.FAILED:
            lost = next(d for d in deliveries if d.status in LOST)
            decisions.unreached.append((event, lost))
    elif current:
        decisions.due.append((event.id, _next_due(deliveries), True))


def _fall_back(
    event: NotificationEvent, event_type: EventType, deliveries: Sequence[Delivery], recipient: Recipient
) -> list[tuple[UUID, Planned]]:
    states = {delivery.channel: DeliveryStatus(delivery.status) for delivery in deliveries}
    made = []
    for delivery in deliveries:
        if delivery.status in LOST and (channel := stand_in(event_type, delivery.channel, states, recipient)):
            states[channel] = DeliveryStatus.QUEUED
            detail = f"stands in for {delivery.channel}: {delivery.detail}"[:500]
            made.append((event.id, Planned(channel, fallback_of=delivery.channel, detail=detail)))
    return made


def _next_due(deliveries: Sequence[Delivery]) -> datetime | None:
    """When the first open delivery can go on: its retry is due, or its lease ends."""
    times = (
        d.lease_until if d.status == DeliveryStatus.SENDING else d.due_at for d in deliveries if d.status not in FINAL
    )
    return min((at for at in times if at), default=None)


def _write(decisions: Decisions) -> bool:
    if decisions.fallbacks:
        Delivery.objects.plan(decisions.fallbacks)
        transaction.on_commit(partial(counts.planned, [planned for _, planned in decisions.fallbacks]))
    if decisions.verdicts:
        concluded = NotificationEvent.objects.conclude(decisions.verdicts)
        transaction.on_commit(partial(counts.settled, concluded))
    if decisions.due:
        NotificationEvent.objects.wait_until(decisions.due)
    told = [_tell_operations(event, lost) for event, lost in decisions.unreached]
    return bool(decisions.fallbacks) or any(told)


def _tell_operations(event: NotificationEvent, lost: Delivery) -> bool:
    """Raise DELIVERY_FAILED, once per channel and cause within a window; never about itself."""
    if event.event_type == DELIVERY_FAILED:
        return False
    cause = lost.dead_letters.order_by("-created_at").values_list("cause", flat=True).first() or lost.status
    window = int(event.recorded_at.timestamp() // settings.DELIVERY_FAILED_WINDOW.total_seconds())
    return tell_operations(lost.channel, cause, str(window), order_ids=[event.order_id] if event.order_id else [])
