"""Claim due events of one lane, plan them, and say what is to be published."""

from __future__ import annotations

import enum
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from django.conf import settings
from django.db import transaction

from channels import registry
from notifier.catalogue import Priority, event_types
from notifier.failpoints import hit
from notifier.models import Delivery, NotificationEvent
from notifier.plan import Planned, plan
from notifier.recipients import recipients


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


def dispatch(lane: Lane) -> Round:
    """Start a round for up to DISPATCH_BATCH due events. One short transaction; nothing is sent in it."""
    limit: int = settings.DISPATCH_BATCH
    with transaction.atomic():
        events = NotificationEvent.objects.claim_due(lane.value, limit, settings.EVENT_LEASE)
        if not events:
            return Round(lane)
        _plan_new(event for event in events if event.round == 1)
        ready = Delivery.objects.ready([event.id for event in events])
        hit("dispatch.planned")
    hit("dispatch.committed")
    deliveries: dict[str, list[str]] = defaultdict(list)
    for delivery_id, _, channel in ready:
        deliveries[channel].append(str(delivery_id))
    return Round(lane, deliveries, [(str(e.id), e.round) for e in events], full=len(events) == limit)


def _plan_new(events: Iterable[NotificationEvent]) -> None:
    new = list(events)
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
