"""One table: what is to be told, what was told, and what Notifier refused."""

from __future__ import annotations

from uuid import uuid4

from django.db import models
from django.utils import timezone

from notifier_client.trigger import Trigger


class State(models.TextChoices):
    WAITING = "WAITING", "waiting"
    SENT = "SENT", "sent"
    REFUSED = "REFUSED", "refused"


class OutboxEvent(models.Model):
    """An event that the shop's own transaction wrote. Its id is the idempotency key: sent twice, it is one event."""

    id = models.UUIDField(primary_key=True, default=uuid4, editable=False)
    event_type = models.CharField(max_length=64)
    order_id = models.CharField(max_length=255, blank=True)
    #: the trigger without its key; may hold a guest's address
    body = models.JSONField()
    state = models.CharField(max_length=10, choices=State, default=State.WAITING)
    tries = models.PositiveIntegerField(default=0)
    #: when it may be tried (again); while a sweep has it, when its lease ends
    due_at = models.DateTimeField(default=timezone.now)
    recorded_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)
    #: Notifier's id of the event; empty where the way there does not tell
    event_id = models.CharField(max_length=36, blank=True)
    #: why it was refused, or why the last try did not succeed; never a value of the event
    cause = models.TextField(blank=True)

    class Meta:
        app_label = "notifier_outbox"
        ordering = ("-recorded_at",)
        verbose_name = "outbox event"
        indexes = [
            # sweep._claim: what is due, the oldest first
            models.Index(fields=["recorded_at"], name="outbox_waiting", condition=models.Q(state="WAITING")),
            # sweep._claim: does an earlier event of the same order wait?
            models.Index(
                fields=["order_id", "recorded_at"], name="outbox_order_waiting", condition=models.Q(state="WAITING")
            ),
            # sweep.delete_old
            models.Index(fields=["finished_at"], name="outbox_sent", condition=models.Q(state="SENT")),
            # an order's page in the shop
            models.Index(fields=["order_id", "-recorded_at"], name="outbox_order"),
        ]

    def __str__(self) -> str:
        return f"{self.event_type} {self.order_id}".strip()

    def trigger(self) -> Trigger:
        """As it is sent; the same each time."""
        return Trigger(
            event_type=self.event_type,
            metadata=self.body["metadata"],
            user_id=self.body.get("userId"),
            recipient=self.body.get("recipient"),
            idempotency_key=str(self.id),
        )
