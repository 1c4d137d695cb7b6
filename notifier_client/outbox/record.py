"""Write an event into the outbox, in the transaction of the change that it tells of."""

from __future__ import annotations

from uuid import UUID

from django.db import router, transaction

from notifier_client.outbox.configuration import configuration
from notifier_client.outbox.models import OutboxEvent
from notifier_client.payload import Event
from notifier_client.trigger import Guest, Trigger


def record(event: Event, *, user_id: UUID | str | None = None, recipient: Guest | None = None) -> OutboxEvent:
    """To be sent once the transaction commits; one that is rolled back tells nobody anything.

    For a user, for a guest, or for staff. One INSERT; nothing leaves the process before the commit, and nothing that
    happens to it after the commit reaches the caller. Raises TypeError where the event holds what JSON cannot.
    """
    return record_trigger(Trigger.of(event, user_id=user_id, recipient=recipient))


def record_trigger(trigger: Trigger) -> OutboxEvent:
    """The same for any event type. The row's id is the key, whatever key the trigger has."""
    body = trigger.as_json()
    body.pop("idempotencyKey")
    row = OutboxEvent.objects.create(event_type=body.pop("eventType"), order_id=trigger.order_id[:255], body=body)
    transaction.on_commit(_after_commit, using=router.db_for_write(OutboxEvent), robust=True)
    return row


def _after_commit() -> None:
    configuration().after_commit()
