"""Dead letters for tests, written down as the engine would have left them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

from django.db import connection
from django.utils import timezone

from notifier.models import DeadLetter, Delivery, NotificationEvent, new_id

HOUR = timedelta(hours=1)


def make_event(event_type: str = "ORDER_SHIPPED", status: str = "FAILED", **fields: Any) -> NotificationEvent:
    """A settled event that has an hour to live."""
    now = timezone.now()
    given = {
        "order_id": f"ORD-{uuid4()}",
        "recipient_key": "somebody",
        "priority": 1,
        "expires_at": now + HOUR,
        "settled_at": None if status in {"QUEUED", "DISPATCHED"} else now,
    }
    return NotificationEvent.objects.create(
        event_type=event_type,
        status=status,
        source="shop",
        body_hash=b"x" * 32,
        due_at=None,
        round=1,
        **(given | fields),
    )


def make_letter(event: NotificationEvent, channel: str = "SMS", **fields: Any) -> DeadLetter:
    """A delivery of the event that failed for good, and its letter; `fallback_of` is the delivery's."""
    stands_in_for = fields.pop("fallback_of", "")
    delivery = Delivery.objects.create(
        event=event, channel=channel, status="FAILED", tries=6, fallback_of=stands_in_for, finished_at=timezone.now()
    )
    return DeadLetter.objects.create(
        delivery=delivery, event_type=event.event_type, channel=channel, **({"cause": "ProviderUnavailable"} | fields)
    )


def make_refused(payload: bytes | None, **fields: Any) -> DeadLetter:
    """What a Celery caller sent and nobody could record."""
    return DeadLetter.objects.create(**({"source": "celery", "cause": "INVALID_TRIGGER", "payload": payload} | fields))


def make_many(number: int) -> None:
    """So many events that failed by SMS, each with its letter, in three statements."""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMPORARY TABLE made ON COMMIT DROP AS SELECT * FROM unnest(%s::uuid[]) AS made(id)",
            [[new_id() for _ in range(number)]],
        )
        cursor.execute(
            """
            INSERT INTO notifier_notificationevent (id, source, body_hash, event_type, priority, recipient_key,
                order_id, metadata, status, round, expires_at, settled_at, due_at)
            SELECT id, 'shop', 'x', 'ORDER_SHIPPED', 1, id, '', '{}', 'FAILED', 1,
                   statement_timestamp() + interval '1 day', statement_timestamp(), NULL
            FROM made
            """
        )
        cursor.execute(
            """
            WITH failed AS (
                INSERT INTO notifier_delivery (id, event_id, channel, status, skip_reason, hold_reason, detail,
                    fallback_of, attempt, tries, crashes, provider, provider_message_id)
                SELECT gen_random_uuid(), id, 'SMS', 'FAILED', '', '', '', '', 1, 1, 0, '', '' FROM made
                RETURNING id
            )
            INSERT INTO notifier_deadletter (id, delivery_id, source, event_type, channel, cause, last_error, status)
            SELECT gen_random_uuid(), id, '', 'ORDER_SHIPPED', 'SMS', 'ProviderUnavailable', '', 'OPEN' FROM failed
            """
        )
        # as autovacuum would: a plan made for empty tables read all of them for each letter, past the statement's time
        cursor.execute("ANALYZE notifier_notificationevent, notifier_delivery, notifier_deadletter")
