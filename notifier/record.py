"""Write a trigger's event down: one short transaction, after which nothing is lost.

One path for HTTP, Celery callers and buses: `trigger.parse` reads the body, `record` stores what it found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from typing import Any
from uuid import UUID

from django.db import transaction

from notifier import alerts, counts
from notifier.catalogue import Audience, event_types
from notifier.models import NotificationEvent, new_id
from notifier.querysets.events import Likeness, NewEvent
from notifier.states import EventStatus
from notifier.trigger import KeyConflict, Trigger, TriggerError, UnknownUser
from preferences import resolve


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event in the ledger; `created` is False when the same trigger had come before."""

    event_id: UUID
    status: str
    created: bool


def record(trigger: Trigger, source: str) -> list[Recorded]:
    """Write one trigger down: one event, or for a staff type one a member of its group.

    Raises UnknownUser or KeyConflict; then nothing was written. The caller rings the doorbell after the commit.
    """
    results = record_many([trigger], source)[0]
    if isinstance(results, TriggerError):
        raise results
    return results


def record_many(triggers: Sequence[Trigger], source: str) -> list[list[Recorded] | TriggerError]:
    """The same for many in one statement; a trigger that is refused does not stop the others."""
    known = resolve.existing({t.user_id for t in triggers if t.user_id})
    rows = _rows_of(triggers, known)
    wanted = [row for some in rows if not isinstance(some, TriggerError) for row in some]
    if any(trigger.event_type.dedupe_within for trigger in triggers):
        with transaction.atomic():  # others with the same wait until it is there
            seen = _insert_once(source, wanted)
    else:
        seen = _insert(source, wanted)
    new = [row.event_type for row in wanted if row.id in seen.created]
    transaction.on_commit(partial(counts.recorded, new))
    alerts.note(_for_staff(triggers, rows, seen.created))
    return [some if isinstance(some, TriggerError) else _recorded(some, seen) for some in rows]


def _for_staff(
    triggers: Sequence[Trigger], rows: Sequence[list[NewEvent] | TriggerError], created: set[UUID]
) -> list[tuple[Trigger, UUID]]:
    """The staff triggers that are new, each with the id of its first event."""
    return [
        (trigger, some[0].id)
        for trigger, some in zip(triggers, rows, strict=True)
        if trigger.event_type.audience is Audience.STAFF
        and not isinstance(some, TriggerError) and some and some[0].id in created
    ]  # fmt: skip


def foreseen(trigger: Trigger, source: str) -> list[tuple[NewEvent, Recorded]]:
    """The rows that `record` would write, each with its answer; nothing is written, and nobody waits.

    Raises UnknownUser or KeyConflict.
    """
    (rows,) = _rows_of([trigger], resolve.existing([trigger.user_id] if trigger.user_id else []))
    if isinstance(rows, TriggerError):
        raise rows
    stored = _stored(source, [row.idempotency_key for row in rows if row.idempotency_key])
    fresh = [row for row in rows if row.idempotency_key not in stored]
    likenesses = {row.id: found for row in fresh if (found := _likeness(row))}
    first = NotificationEvent.objects.alike(set(likenesses.values())) if likenesses else {}
    alike = {row_id: first[likeness] for row_id, likeness in likenesses.items() if likeness in first}
    answers = _recorded(rows, _Seen({row.id for row in fresh}, stored, alike))
    if isinstance(answers, TriggerError):
        raise answers
    return list(zip(rows, answers, strict=True))


@dataclass(frozen=True, slots=True)
class _Seen:
    """What became of rows: the ids that are new; by key, events that came before; by id, those that say the same."""

    created: set[UUID]
    stored: Mapping[str, tuple[UUID, str, bytes]]
    alike: Mapping[UUID, tuple[UUID, str]] = field(default_factory=dict)


def _insert(source: str, wanted: Sequence[NewEvent]) -> _Seen:
    created = NotificationEvent.objects.insert_new(source, wanted)
    repeated = [row.idempotency_key for row in wanted if row.idempotency_key and row.id not in created]
    return _Seen(created, _stored(source, repeated) if repeated else {})


def _insert_once(source: str, wanted: Sequence[NewEvent]) -> _Seen:
    """The same, without rows that say what another event, or an earlier row, has said not long ago.

    A key that came before goes first: it is answered with its own event, or as a conflict.
    """
    likenesses = {row.id: found for row in wanted if (found := _likeness(row))}
    first = NotificationEvent.objects.lock_alike(set(likenesses.values()))
    keys = [row.idempotency_key for row in wanted if row.id in likenesses and row.idempotency_key]
    taken: set[str | None] = set(_stored(source, keys)) if keys else set()
    fresh: dict[UUID, NewEvent] = {}
    alike: dict[UUID, tuple[UUID, str]] = {}
    for row in wanted:
        likeness = likenesses.get(row.id)
        if row.idempotency_key not in taken:
            if likeness and likeness in first:
                alike[row.id] = first[likeness]
                continue
            if likeness:
                first[likeness] = (row.id, EventStatus.QUEUED)
        fresh[row.id] = row
        if row.idempotency_key:
            taken.add(row.idempotency_key)
    seen = _insert(source, list(fresh.values()))
    return replace(seen, alike={row_id: _where(found, fresh, seen) for row_id, found in alike.items()})


def _where(found: tuple[UUID, str], fresh: Mapping[UUID, NewEvent], seen: _Seen) -> tuple[UUID, str]:
    """The event that a row is like. A row before it may have met its key, which somebody used at the same moment."""
    row = fresh.get(found[0])
    if row is None or row.id in seen.created or row.idempotency_key is None:
        return found
    event_id, status, _ = seen.stored[row.idempotency_key]
    return event_id, status


def _likeness(row: NewEvent) -> Likeness | None:
    within = event_types()[row.event_type].dedupe_within
    if not within or not row.order_id:
        return None
    shipment_id = str(row.metadata.get("shipmentId") or "")
    return Likeness(row.event_type, row.order_id, row.recipient_key, shipment_id, within.total_seconds())


def record_for_staff(event_type: str, metadata: Mapping[str, Any], *, source: str, idempotency_key: str) -> int:
    """Record a staff event of our own; how many were new."""
    trigger = Trigger(event_types()[event_type], metadata, idempotency_key=idempotency_key)
    found = record_many([trigger], source)[0]
    return 0 if isinstance(found, TriggerError) else sum(recorded.created for recorded in found)


def _rows_of(triggers: Sequence[Trigger], known: set[UUID]) -> list[list[NewEvent] | TriggerError]:
    """For each its rows, which keep their order; a group is looked up once."""
    groups = {t.event_type.group for t in triggers if t.event_type.audience is Audience.STAFF}
    members = {group: resolve.members(group) for group in groups}
    place = count()
    return [_rows(trigger, known, members, place) for trigger in triggers]


def _rows(
    trigger: Trigger, known: set[UUID], members: Mapping[str, list[UUID]], place: Iterator[int]
) -> list[NewEvent] | TriggerError:
    key = trigger.idempotency_key
    if trigger.event_type.audience is Audience.STAFF:
        group = members[trigger.event_type.group]
        return [_row(trigger, member, f"{key}:{member}" if key else None, next(place)) for member in group]
    if trigger.user_id and trigger.user_id not in known:
        return UnknownUser("No such user.", {"userId": "Unknown user."})
    return [_row(trigger, trigger.user_id, key, next(place))]


def _row(trigger: Trigger, user_id: UUID | None, key: str | None, place: int) -> NewEvent:
    event_type = trigger.event_type
    return NewEvent(
        id=new_id(),
        place=place,
        idempotency_key=key,
        origin=trigger.origin,
        body_hash=trigger.body_hash,
        event_type=event_type.name,
        priority=event_type.priority,
        stage=event_type.stage,
        user_id=user_id,
        recipient=trigger.recipient,
        recipient_key=trigger.recipient_key or str(user_id),
        order_id=trigger.metadata.get("orderId", ""),
        metadata=trigger.metadata,
        time_to_live=event_type.time_to_live.total_seconds() - trigger.age,
    )


def _stored(source: str, keys: Sequence[str]) -> dict[str, tuple[UUID, str, bytes]]:
    found = NotificationEvent.objects.filter(source=source, idempotency_key__in=keys)
    rows = found.values_list("idempotency_key", "id", "status", "body_hash")
    return {key: (event_id, status, bytes(body_hash)) for key, event_id, status, body_hash in rows if key}


def _recorded(rows: Sequence[NewEvent], seen: _Seen) -> list[Recorded] | TriggerError:
    results = []
    for row in rows:
        if row.id in seen.alike:
            results.append(Recorded(*seen.alike[row.id], created=False))
            continue
        if row.idempotency_key is None or row.id in seen.created:
            results.append(Recorded(row.id, EventStatus.QUEUED, created=True))
            continue
        event_id, status, body_hash = seen.stored[row.idempotency_key]
        if body_hash != row.body_hash:
            problem = "This key came before with another body."
            return KeyConflict(problem, {"idempotencyKey": problem})
        results.append(Recorded(event_id, status, created=False))
    return results
