"""Claim due events of one lane, plan them, and say what is to be published."""

from __future__ import annotations

import enum
import logging
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import orjson
from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction

from channels import registry
from notifier import backoff
from notifier.catalogue import Priority, event_types
from notifier.failpoints import hit
from notifier.models import DeadLetter, Delivery, NotificationEvent
from notifier.plan import Planned, plan
from notifier.querysets.deliveries import Postponed
from notifier.recipients import recipients
from notifier.states import EventStatus

log = logging.getLogger(__name__)

MAX_PLAN_FAILURES = 9
PLAN_AGAIN = 5.0  # seconds until an event that could not be planned is tried again, doubling: 21 minutes in all
_CONNECTION_LOST = (OperationalError, InterfaceError)  # not the event's fault


class Lane(enum.Enum):
    """Urgent messages have queues of their own; bulk waits behind normal within one lane."""

    URGENT = (Priority.URGENT,)
    STANDARD = (Priority.NORMAL, Priority.BULK)


@dataclass(frozen=True, slots=True)
class Round:
    """One chord to publish: deliveries by channel, and the events (id, round) to settle after it."""

    lane: Lane
    deliveries: Mapping[str, list[str]] = field(default_factory=dict)
    events: list[tuple[str, int]] = field(default_factory=list)
    full: bool = False  # there may be more: ring again


def dispatch(lane: Lane, channels: Collection[str] | None = None) -> Round:
    """Start a round for up to DISPATCH_BATCH due events. One short transaction; nothing is sent in it.

    `channels` are those whose queues have room (None: all); the others' deliveries become due a little later.
    """
    limit: int = settings.DISPATCH_BATCH
    with transaction.atomic():
        events = NotificationEvent.objects.claim_due(lane.value, limit, settings.EVENT_LEASE)
        if not events:
            return Round(lane)
        broken = _plan_new([event for event in events if event.round - event.plan_failures == 1])
        events = [event for event in events if event.id not in broken]
        ready = Delivery.objects.ready([event.id for event in events])
        if channels is not None:
            _hold_back([(delivery_id, waited) for delivery_id, channel, waited in ready if channel not in channels])
            ready = [row for row in ready if row[1] in channels]
        hit("dispatch.planned")
    hit("dispatch.committed")
    deliveries: dict[str, list[str]] = defaultdict(list)
    for delivery_id, channel, _ in ready:
        deliveries[channel].append(str(delivery_id))
    full = len(events) + len(broken) == limit
    return Round(lane, deliveries, [(str(e.id), e.round) for e in events], full=full)


def _hold_back(rows: Sequence[tuple[UUID, float]]) -> None:
    """Put off (id, seconds waited): the longer it has waited, the longer, so that a backlog does not run in circles."""
    if rows:
        Delivery.objects.postpone([Postponed(i, backoff.poll(0, waited), "waits: queue full") for i, waited in rows])


def _plan_new(new: Sequence[NotificationEvent]) -> set[UUID]:
    """Insert the deliveries of new events; those that could not be planned, which is no other event's trouble."""
    try:
        with transaction.atomic():
            _insert_plans(new)
    except _CONNECTION_LOST:
        raise
    except Exception as error:  # noqa: BLE001 - whichever event it is, it is found one by one
        log.warning("planning %d events together failed: %s", len(new), type(error).__name__)
        return {event.id for event in new if not _planned_alone(event)}
    return set()


def _planned_alone(event: NotificationEvent) -> bool:
    try:
        with transaction.atomic():
            _insert_plans([event])
    except _CONNECTION_LOST:
        raise
    except Exception as error:  # noqa: BLE001
        _plan_failed(event, error)
        return False
    return True


def _plan_failed(event: NotificationEvent, error: Exception) -> None:
    """Try again later: a worker of a newer version may know the type. After the last time it is a dead letter."""
    log.error("event %s cannot be planned: %r", event.id, error)
    if event.plan_failures + 1 < MAX_PLAN_FAILURES:
        NotificationEvent.objects.plan_again([(event.id, PLAN_AGAIN * 2.0**event.plan_failures)])
        return
    NotificationEvent.objects.conclude([(event.id, EventStatus.FAILED.value)])
    user_id = event.user_id and str(event.user_id)
    body = {"eventType": event.event_type, "userId": user_id, "metadata": event.metadata, "recipient": event.recipient}
    DeadLetter.objects.create(
        source=event.source,
        event_type=event.event_type,
        cause="PLANNING",
        last_error=repr(error)[:500],
        payload=orjson.dumps(body),
    )


def _insert_plans(new: Sequence[NotificationEvent]) -> None:
    people = recipients(new)
    kinds = registry.address_kinds()
    rows = [
        as_row(event, planned)
        for event in new
        for planned in plan(event_types()[event.event_type], people[event.id], kinds)
    ]
    Delivery.objects.bulk_create(rows, ignore_conflicts=True)


def as_row(event: NotificationEvent, planned: Planned) -> Delivery:
    """The row of a planned delivery, not saved yet."""
    return Delivery(
        event=event,
        channel=planned.channel,
        status=planned.status,
        skip_reason=planned.skip_reason,
        fallback_of=planned.fallback_of,
        detail=planned.detail,
    )
