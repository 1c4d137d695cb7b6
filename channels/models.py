"""What the in-app channel delivers into: one row a message that a person sees in their inbox."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models.functions import Now
from uuid_utils.compat import uuid7


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

    class Meta:
        ordering = ("-created_at",)
        indexes = [
            models.Index(fields=["user_id", "-created_at"], name="inbox_newest_first"),  # GET /notifications/inbox
        ]

    def __str__(self) -> str:
        return f"{self.event_type} {self.delivery_id}"
