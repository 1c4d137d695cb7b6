"""Repair what a crash, a flush or a lost message left behind. Works from Postgres alone: it is the guarantee."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction

from notifier import counts
from notifier.failpoints import hit
from notifier.models import Delivery, NotificationEvent, new_id
from notifier.querysets.deliveries import AttemptRow, DeliveryResult
from notifier.states import AttemptOutcome, DeliveryStatus

SWEEP_LOCK = 0x5EE9  # pg_try_advisory_xact_lock: one sweeper at a time, whoever runs it
BATCH = 500


@dataclass(frozen=True, slots=True)
class Swept:
    """What to settle next: events (id, round) whose round was lost, and whether sends were freed."""

    lost_rounds: list[tuple[UUID, int]] = field(default_factory=list)
    freed: int = 0

    @property
    def more(self) -> bool:
        """Whether one sweep could not take in everything."""
        return max(len(self.lost_rounds), self.freed) >= BATCH


def sweep(*, messages_lost: bool = False) -> Swept:
    """Free sends whose process is gone, and find rounds that were never settled.

    `messages_lost`: a worker died, or Redis lost its data. Which rounds that took along nobody knows, so none is
    waited for any longer: what is still in a queue or under way is claimed by whoever comes first, as always.
    """
    with transaction.atomic():
        if not _alone():
            return Swept()
        if messages_lost:
            NotificationEvent.objects.end_leases()
        freed = _free_sends()
        hit("sweep.freeing")
        return Swept(NotificationEvent.objects.lease_expired(BATCH, settings.EVENT_LEASE), freed)


def _alone() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [SWEEP_LOCK])
        return bool(cursor.fetchone()[0])


def _free_sends() -> int:
    """Nobody knows whether they went out: write that down, and make their events due at once."""
    orphans = Delivery.objects.lease_expired(BATCH)
    if not orphans:
        return 0
    results = [_crashed(delivery) for delivery in orphans]
    Delivery.objects.finish(results)
    for delivery, result in zip(orphans, results, strict=True):
        transaction.on_commit(partial(counts.crashed, delivery.channel, result))
    ids = sorted({delivery.event_id for delivery in orphans})
    events = NotificationEvent.objects.lock_unsettled(ids)
    NotificationEvent.objects.wait_until([(event.id, None, False) for event in events])
    return len(orphans)


def _crashed(delivery: Delivery) -> DeliveryResult:
    hopeless = delivery.crashes + 1 >= settings.MAX_CRASHES
    status = DeliveryStatus.FAILED if hopeless else DeliveryStatus.RETRYING
    detail = "the process that sent it ended before it could say how it went"
    started_at = (delivery.lease_until or delivery.due_at) - settings.DELIVERY_LEASE
    attempt = AttemptRow(
        id=new_id(),
        delivery_id=delivery.id,
        number=delivery.attempt,
        address_id="",
        provider=delivery.provider,
        started_at=started_at,
        outcome=AttemptOutcome.UNKNOWN.value,
        detail=detail,
        maybe_duplicate=True,
    )
    return DeliveryResult(
        id=delivery.id,
        attempt=delivery.attempt,
        status=status.value,
        counted=True,
        cause="CRASHED",
        detail=detail,
        unknown=True,
        started_at=started_at,
        attempts=[attempt],
    )
