"""Of dead letters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from django.db import connection, models

if TYPE_CHECKING:
    from notifier.models import DeadLetter  # noqa: F401 - names in generic bases


class DeadLetterQuerySet(models.QuerySet["DeadLetter"]):
    def replay(self, ids: Sequence[UUID]) -> list[UUID]:
        """FAILED -> QUEUED, closing the dead letter in the same statement; the events that are due again.

        What is past its time to live, or whose event reached its recipient after all, stays where it is.
        """
        with connection.cursor() as cursor:
            cursor.execute(_REPLAY, [list(ids)])
            return [row[0] for row in cursor.fetchall()]


_REPLAY = """
WITH letters AS (
    SELECT letter.id, letter.delivery_id FROM notifier_deadletter AS letter
    JOIN notifier_delivery AS delivery ON delivery.id = letter.delivery_id
    JOIN notifier_notificationevent AS event ON event.id = delivery.event_id
    WHERE letter.id = ANY(%s) AND letter.status = 'OPEN' AND delivery.status = 'FAILED'
      AND event.status IN ('FAILED', 'PARTIAL')
      AND event.expires_at > statement_timestamp()
    ORDER BY delivery.id FOR UPDATE OF letter, delivery SKIP LOCKED
), closed AS (
    UPDATE notifier_deadletter SET status = 'REPLAYED', closed_at = statement_timestamp()
    FROM letters WHERE notifier_deadletter.id = letters.id
), again AS (
    UPDATE notifier_delivery
    SET status = 'QUEUED', tries = 0, crashes = 0, due_at = statement_timestamp(), finished_at = NULL,
        first_due_at = statement_timestamp(), detail = 'replayed'
    FROM letters WHERE notifier_delivery.id = letters.delivery_id
    RETURNING notifier_delivery.event_id
)
UPDATE notifier_notificationevent
SET status = 'DISPATCHED', due_at = statement_timestamp(), settled_at = NULL
WHERE id IN (SELECT event_id FROM again) RETURNING id
"""
