"""What every page shows."""

from __future__ import annotations

from django.db.models import Count
from django.http import HttpRequest

from notifier_client.outbox.models import OutboxEvent, State


def outbox(_request: HttpRequest) -> dict[str, int]:
    """How many events wait to be told, and how many were refused."""
    counts = dict(OutboxEvent.objects.exclude(state=State.SENT).values_list("state").annotate(Count("id")).order_by())
    return {"outbox_waiting": counts.get(State.WAITING, 0), "outbox_refused": counts.get(State.REFUSED, 0)}
