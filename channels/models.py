"""What channels keep: the inbox that IN_APP delivers into, and what became of the providers' breakers."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection, models
from django.db.models.functions import Now
from uuid_utils.compat import uuid7


class InboxQuerySet(models.QuerySet["InboxMessage"]):
    def delete_old(self, before: datetime, after: UUID, below: UUID, limit: int) -> list[UUID]:
        """Delete up to `limit` messages that were made before then, read or not; their ids.

        Walks the primary key from `after` to `below`, the first id of that time.
        """
        with connection.cursor() as cursor:
            cursor.execute(
                """
                DELETE FROM notifier_channels_inboxmessage WHERE id = ANY(ARRAY(
                    SELECT id FROM notifier_channels_inboxmessage
                    WHERE id > %s AND id < %s AND created_at < %s ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED))
                RETURNING id
                """,
                [after, below, before, limit],
            )
            return [row[0] for row in cursor.fetchall()]


class InboxMessage(models.Model):
    """One in-app message. The ids are plain ones: this app knows neither people nor deliveries."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user_id = models.UUIDField()
    delivery_id = models.UUIDField(unique=True)  # a second send of the same delivery inserts nothing
    event_type = models.CharField(max_length=64, blank=True)
    title = models.TextField()
    body = models.TextField(blank=True)
    url = models.TextField(blank=True)
    created_at = models.DateTimeField(db_default=Now())
    read_at: models.DateTimeField[Any, Any] = models.DateTimeField(null=True, blank=True)

    objects = InboxQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at",)
        indexes = [
            models.Index(fields=["user_id", "-created_at"], name="inbox_newest_first"),  # GET /notifications/inbox
        ]

    def __str__(self) -> str:
        return f"{self.event_type} {self.delivery_id}"


class BreakerChange(models.Model):
    """A provider's breaker opened, was tried, or closed. Only ever added to, by the process that caused the change."""

    channel = models.CharField(max_length=32)
    provider = models.CharField(max_length=64)
    state = models.CharField(max_length=16)
    at = models.DateTimeField(db_default=Now())
    reason = models.CharField(max_length=200)

    class Meta:
        verbose_name_plural = "Providers"  # the admin's page shows their present state above the changes
        ordering = ("-at",)
        indexes = [
            models.Index(fields=["-at"], name="breaker_change_newest"),  # the admin's list
        ]

    def __str__(self) -> str:
        return f"{self.channel} {self.provider} {self.state}"
