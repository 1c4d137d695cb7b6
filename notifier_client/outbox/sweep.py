"""Send what waits in the outbox. Any number may sweep at once, in threads, processes and machines.

A row is claimed with SKIP LOCKED and a lease, sent without a transaction open, and then marked. Whoever dies in between
leaves a row whose lease ends; that it was sent already does no harm, since its id is the idempotency key.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.db import connections, router, transaction
from django.db.models import Exists, F, OuterRef
from django.utils import timezone

from notifier_client.errors import NotAuthorised, NotifierError, Refused, Unavailable
from notifier_client.outbox.configuration import configuration, sender
from notifier_client.outbox.models import OutboxEvent, State
from notifier_client.sender import Accepted

log = logging.getLogger(__name__)

BATCH = 100  # events a call
DELETED_AT_ONCE = 1000
LEASE = timedelta(seconds=60)  # longer than a call may take
FIRST_WAIT, LONGEST_WAIT = 2.0, 300.0  # seconds

Outcome = Accepted | NotifierError


@dataclass(slots=True)
class Swept:
    """How many rows were sent, refused, and put off because Notifier is away or busy; how many old ones deleted."""

    sent: int = 0
    refused: int = 0
    put_off: int = 0
    deleted: int = 0


def sweep(batch: int = BATCH) -> Swept:
    """Send all that is due; stops where Notifier is away. What Notifier says is not raised but in each row's cause."""
    swept = Swept()
    while rows := _claim(batch):
        outcomes = _send(rows)
        for row, outcome in zip(rows, outcomes, strict=True):
            _conclude(row, outcome, swept)
        if all(isinstance(outcome, NotAuthorised | Unavailable) for outcome in outcomes):
            break
    return swept


def delete_old() -> int:
    """Delete what was sent longer than KEEP_SENT_DAYS ago; how many. What was refused stays until somebody looks."""
    old = OutboxEvent.objects.filter(state=State.SENT, finished_at__lt=timezone.now() - configuration().keep_sent)
    deleted = 0
    while ids := list(old.values_list("id", flat=True)[:DELETED_AT_ONCE]):
        deleted += OutboxEvent.objects.filter(id__in=ids).delete()[0]
    return deleted


def send_again(ids: Sequence[UUID | str]) -> int:
    """Have refused events tried once more, after their cause was mended; how many."""
    refused = OutboxEvent.objects.filter(id__in=ids, state=State.REFUSED)
    return refused.update(state=State.WAITING, due_at=timezone.now(), finished_at=None, tries=0)


def _claim(batch: int) -> list[OutboxEvent]:
    """What is due, at most one event an order: the next one goes when it is through, so that they keep their order."""
    alias = router.db_for_write(OutboxEvent)
    skip = connections[alias].features.has_select_for_update_skip_locked
    now = timezone.now()
    earlier = OutboxEvent.objects.filter(
        order_id=OuterRef("order_id"), state=State.WAITING, recorded_at__lt=OuterRef("recorded_at")
    ).exclude(order_id="")
    due = OutboxEvent.objects.using(alias).filter(state=State.WAITING, due_at__lte=now).exclude(Exists(earlier))
    with transaction.atomic(using=alias):
        rows = list(due.select_for_update(skip_locked=skip).order_by("recorded_at")[:batch])
        claimed = OutboxEvent.objects.using(alias).filter(id__in=[row.id for row in rows])
        claimed.update(due_at=now + LEASE, tries=F("tries") + 1)
    for row in rows:
        row.tries += 1
    return rows


def _send(rows: Sequence[OutboxEvent]) -> list[Outcome]:
    """One outcome a row. A batch that is refused as a whole goes row by row."""
    try:
        return sender().send_many([row.trigger() for row in rows])
    except Refused as error:
        return [error] if len(rows) == 1 else [outcome for row in rows for outcome in _send([row])]
    except (NotAuthorised, Unavailable) as error:
        log.warning("%d events wait in the outbox: %s", len(rows), error)
        return [error] * len(rows)


def _conclude(row: OutboxEvent, outcome: Outcome, swept: Swept) -> None:
    waiting = OutboxEvent.objects.filter(id=row.id, state=State.WAITING)
    ours = waiting.filter(tries=row.tries)  # another sweep has it since, where our lease ended
    now = timezone.now()
    match outcome:
        case Accepted():
            event_id = outcome.event_id or ""
            swept.sent += waiting.update(state=State.SENT, finished_at=now, event_id=event_id, cause="")
        case Refused():
            log.error("Notifier refused outbox event %s (%s): %s", row.id, row.event_type, outcome)
            swept.refused += ours.update(state=State.REFUSED, finished_at=now, cause=str(outcome))
        case _:
            swept.put_off += ours.update(due_at=now + _wait(row.tries, outcome), cause=str(outcome))


def _wait(tries: int, error: NotifierError) -> timedelta:
    """Doubling, with jitter, and no sooner than was asked for."""
    wait = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(tries - 1, 20)) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
    return timedelta(seconds=max(wait, getattr(error, "retry_after", None) or 0))
