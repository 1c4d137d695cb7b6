"""Claim due events of one lane, plan them, and say what is to be published."""

from __future__ import annotations

import enum
import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

import orjson
from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction

from channels import registry
from notifier import backoff, cap, counts, switches
from notifier.catalogue import Priority, event_types
from notifier.failpoints import hit
from notifier.models import DeadLetter, Delivery, NotificationEvent
from notifier.operations import tell_operations
from notifier.plan import Planned, capped, counted, plan_now
from notifier.querysets.deliveries import Postponed, Ready
from notifier.querysets.events import DueEvent
from notifier.states import EventStatus, HoldReason, SkipReason
from preferences.resolve import comes_whole

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
    """One chord to publish: deliveries by channel, and the events (id, round) to settle after it.

    `alone`: deliveries whose last attempt crashed; each goes out by itself.
    """

    lane: Lane
    deliveries: Mapping[str, list[str]] = field(default_factory=dict)
    alone: Mapping[str, list[str]] = field(default_factory=dict)
    events: list[tuple[str, int]] = field(default_factory=list)
    full: bool = False  # there may be more: ring again


def lanes_due() -> list[Lane]:
    """The lanes in which something is due, urgent first."""
    due = NotificationEvent.objects.lanes_due([priority for lane in Lane for priority in lane.value])
    return [lane for lane in Lane if due & set(lane.value)]


def dispatch(lane: Lane, channels: Collection[str] | None = None) -> Round:
    """Start a round for up to DISPATCH_BATCH due events. One short transaction; nothing is sent in it.

    `channels` are those whose queues have room (None: all); the others' deliveries become due a little later.
    """
    try:
        started = _dispatch(lane, channels, savepoints=False)
    except _CONNECTION_LOST:
        raise
    except Exception as error:  # noqa: BLE001 - whichever event it is, it is found one by one
        log.warning("planning a batch failed: %s", type(error).__name__)
        started = _dispatch(lane, channels, savepoints=True)
    hit("dispatch.committed")
    return started


def _dispatch(lane: Lane, channels: Collection[str] | None, *, savepoints: bool) -> Round:
    """`savepoints`: each new event is planned in one of its own, so that one that breaks it is no other's trouble."""
    limit: int = settings.DISPATCH_BATCH
    switches.refresh()
    with transaction.atomic():
        whole = lane is Lane.URGENT or comes_whole(limit)
        events = NotificationEvent.objects.claim_due(lane.value, limit, settings.EVENT_LEASE, whole=whole)
        if not events:
            return Round(lane)
        ready, broken = _plan_each(events) if savepoints else (_plan(events), set())
        ready = _without_disabled(ready)
        if channels is not None:
            _hold_back([(row.id, row.waited) for row in ready if row.channel not in channels])
            ready = [row for row in ready if row.channel in channels]
        hit("dispatch.planned")
    rounds = [(str(event.id), event.round) for event in events if event.id not in broken]
    alone = _by_channel(row for row in ready if row.crashed)
    return Round(lane, _by_channel(row for row in ready if not row.crashed), alone, rounds, full=len(events) == limit)


def _by_channel(rows: Iterable[Ready]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        found[row.channel].append(str(row.id))
    return dict(found)


def _without_disabled(rows: Sequence[Ready]) -> list[Ready]:
    """A channel that was switched off meanwhile carries nothing any more: no worker would ever take its messages."""
    if disabled := [row for row in rows if row.channel not in registry.names()]:
        Delivery.objects.disable([row.id for row in disabled])
        for row in disabled:
            transaction.on_commit(partial(counts.skipped, row.channel, [SkipReason.CHANNEL_DISABLED.value]))
    return [row for row in rows if row.channel in registry.names()]


def _hold_back(rows: Sequence[tuple[UUID, float]]) -> None:
    """Put off (id, seconds waited): the longer it has waited, the longer, so that a backlog does not run in circles."""
    if rows:
        Delivery.objects.postpone([Postponed(i, backoff.poll(0, waited), "waits: queue full") for i, waited in rows])


def _plan(events: Sequence[DueEvent]) -> list[Ready]:
    """Insert the deliveries of new events; what may be claimed now, of these and of the others."""
    kinds, disturbing = registry.address_kinds(), registry.disturbing()
    fresh = [(event, _planned(event, kinds, disturbing)) for event in events if event.is_new]
    planned = [(event.id, delivery) for event, some in _capped(fresh, kinds, disturbing) for delivery in some]
    transaction.on_commit(partial(counts.planned, [delivery for _, delivery in planned]))
    return Delivery.objects.plan(planned, [event.id for event in events if not event.is_new])


def _capped(
    fresh: Sequence[tuple[DueEvent, list[Planned]]], kinds: Mapping[str, str], disturbing: Collection[str]
) -> list[tuple[DueEvent, list[Planned]]]:
    """The same, where what is over its recipient's daily cap is held; operations are told."""
    counting = [
        (index, channel, cap.place(event.recipient, channel, kinds[channel]))
        for index, (event, planned) in enumerate(fresh)
        if str(event.recipient.user_id) != settings.SYNTHETIC_USER  # who gets hundreds a day by our own will
        for channel in counted(event_types()[event.event_type], planned, disturbing)
    ]
    over: dict[int, list[str]] = defaultdict(list)
    for at in cap.over([place for _, _, place in counting]):
        index, channel, _ = counting[at]
        over[index].append(channel)
    result = list(fresh)
    for index, channels in over.items():
        event, planned = fresh[index]
        result[index] = (event, capped(planned, channels, event.now, event.seconds_to_live))
    if over:
        _tell_of_cap([(fresh[index][0], channels) for index, channels in over.items()])
    return result


def _tell_of_cap(over: Sequence[tuple[DueEvent, list[str]]]) -> None:
    """Once an hour for each channel."""
    hour = over[0][0].now.strftime("%Y-%m-%dT%H")
    for channel, count in Counter(channel for _, channels in over for channel in channels).items():
        tell_operations(channel, HoldReason.CAP, hour, count=count)


def _planned(event: DueEvent, kinds: Mapping[str, str], disturbing: Collection[str]) -> list[Planned]:
    event_type, live = event_types()[event.event_type], event.seconds_to_live
    return plan_now(event_type, event.recipient, kinds, disturbing, now=event.now, seconds_to_live=live)


def _plan_each(events: Sequence[DueEvent]) -> tuple[list[Ready], set[UUID]]:
    """The same one by one; and the events that could not be planned."""
    ready, broken = [], set()
    for event in events:
        try:
            with transaction.atomic():
                ready += _plan([event])
        except _CONNECTION_LOST:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this event's alone
            broken.add(event.id)
            _plan_failed(NotificationEvent.objects.get(pk=event.id), error)
    return ready, broken


def _plan_failed(event: NotificationEvent, error: Exception) -> None:
    """Try again later: a worker of a newer version may know the type. After the last time it is a dead letter."""
    log.error("event %s cannot be planned: %r", event.id, error)
    if event.plan_failures + 1 < MAX_PLAN_FAILURES:
        NotificationEvent.objects.plan_again([(event.id, PLAN_AGAIN * 2.0**event.plan_failures)])
        return
    concluded = NotificationEvent.objects.conclude([(event.id, EventStatus.FAILED.value)])
    transaction.on_commit(partial(counts.settled, concluded))
    user_id = event.user_id and str(event.user_id)
    body = {"eventType": event.event_type, "userId": user_id, "metadata": event.metadata, "recipient": event.recipient}
    DeadLetter.objects.create(
        source=event.source,
        event_type=event.event_type,
        cause="PLANNING",
        last_error=repr(error)[:500],
        payload=orjson.dumps(body),
    )
    transaction.on_commit(partial(counts.refused, ["PLANNING"]))
