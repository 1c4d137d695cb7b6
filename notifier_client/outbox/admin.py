"""The outbox in the shop's admin: what waits, what was refused and why; refused events can be sent again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from notifier_client.outbox.models import OutboxEvent
from notifier_client.outbox.sweep import send_again

if TYPE_CHECKING:
    _Admin = admin.ModelAdmin[OutboxEvent]
else:
    _Admin = admin.ModelAdmin  # has no [] at run time


@admin.register(OutboxEvent)
class OutboxEventAdmin(_Admin):
    list_display = ("event_type", "order_id", "state", "tries", "recorded_at", "cause")
    list_filter = ("state", "event_type")
    search_fields = ("order_id", "id")
    actions = ("send_again",)

    def has_add_permission(self, _request: HttpRequest) -> bool:
        """Only the code that changes an order writes here."""
        return False

    def get_readonly_fields(self, _request: HttpRequest, _event: OutboxEvent | None = None) -> list[str]:
        return [field.name for field in OutboxEvent._meta.fields]

    @admin.action(description="Send again", permissions=["change"])
    def send_again(self, request: HttpRequest, chosen: QuerySet[OutboxEvent]) -> None:
        number = send_again(list(chosen.values_list("id", flat=True)))
        self.message_user(request, f"{number} refused events wait for the next sweep.")
