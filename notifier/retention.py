"""Delete what is older than settings.RETENTION: settled events and all that hangs on them, refused triggers, the inbox.

And of the history of changes what is older than settings.HISTORY_RETENTION, where there is one.

Each batch is a short transaction of its own, so whatever ends a run half-way leaves whole events.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction

from channels.models import InboxMessage
from notifier.failpoints import hit
from notifier.models import Alert, DeadLetter, NotificationEvent
from preferences import audit

log = logging.getLogger(__name__)

RETENTION_LOCK = 0x01D  # pg_try_advisory_xact_lock: one run at a time, whoever begins it
BATCH = 1000
BUDGET = 2.0  # seconds a run: the worker has urgent things to do, too


@dataclass(frozen=True, slots=True)
class Deleted:
    """How many rows went; `more`: the time was over before all of them were gone."""

    events: int = 0
    letters: int = 0
    messages: int = 0
    changes: int = 0
    more: bool = False


def delete_old() -> Deleted:
    """One run. It ends, with nothing more to do, where it meets another one."""
    before, ends = _cutoff(settings.RETENTION), time.monotonic() + BUDGET
    events = _in_batches(NotificationEvent.objects.delete_settled, before, ends)
    letters = _in_batches(DeadLetter.objects.delete_refused, before, ends)
    messages = _in_batches(InboxMessage.objects.delete_old, before, ends)
    Alert.objects.filter(opened_at__lt=before).exclude(healed_at=None, acknowledged_at=None).delete()  # there are few
    changes = _forget_history(ends)
    deleted = Deleted(events, letters, messages, changes, more=time.monotonic() >= ends)
    if events or letters or messages or changes:
        log.info(
            "retention: %d events, %d refused triggers, %d inbox messages, %d rows of the history deleted",
            events, letters, messages, changes,
        )  # fmt: skip
    return deleted


def _cutoff(period: timedelta) -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp() - %s * interval '1 second'", [period.total_seconds()])
        cutoff: datetime = cursor.fetchone()[0]
        return cutoff


def _in_batches(delete: Callable[[datetime, UUID, UUID, int], list[UUID]], before: datetime, ends: float) -> int:
    """Delete batch by batch; each goes on where the one before ended, past what is dead since."""
    last, below, total = UUID(int=0), first_id(before), 0
    while time.monotonic() < ends:
        with transaction.atomic():
            ids = delete(before, last, below, BATCH) if _alone() else []
            hit("retention.deleting")
        total += len(ids)
        if len(ids) < BATCH:
            break
        last = max(ids)
    return total


def _forget_history(ends: float) -> int:
    total = 0
    if not settings.HISTORY_RETENTION:
        return total
    before = _cutoff(settings.HISTORY_RETENTION)
    while time.monotonic() < ends:
        with transaction.atomic():
            forgotten = audit.forget(before, BATCH) if _alone() else 0
        total += forgotten
        if forgotten < BATCH:
            break
    return total


def first_id(at: datetime) -> UUID:
    """No UUIDv7 that was made then or later is smaller: its first 48 bits are milliseconds."""
    return UUID(int=int(at.timestamp() * 1000) << 80)


def _alone() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [RETENTION_LOCK])
        return bool(cursor.fetchone()[0])
