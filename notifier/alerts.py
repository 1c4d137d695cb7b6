"""What staff are to see to: opened with what they are told, until somebody acknowledges it, or it heals.

A staff event that a shop or we ourselves record opens one (notifier/record.py), and so does a channel's trouble that
Beat finds (notifier/watch.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.db.models.functions import Now

from notifier.models import Alert
from notifier.trigger import Trigger

ORIGIN = "alert"  # in the origin of an event that tells of an alert: it opens none


def open_alerts() -> QuerySet[Alert]:
    """What has neither healed nor been acknowledged, the newest first."""
    return Alert.objects.filter(healed_at=None, acknowledged_at=None).order_by("-opened_at")


def note(recorded: Iterable[tuple[Trigger, UUID]]) -> None:
    """Open one for each staff trigger that was new, by the id of its first event."""
    rows = [
        Alert(kind=trigger.event_type.name, subject=str(event_id), text=_text(trigger), metadata=trigger.metadata)
        for trigger, event_id in recorded
        if ORIGIN not in (trigger.origin or {})
    ]
    if rows:
        Alert.objects.bulk_create(rows)


def acknowledge(ids: Iterable[UUID], by: str) -> int:
    """Somebody sees to these: nobody else is told. How many were open."""
    return open_alerts().filter(id__in=list(ids)).update(acknowledged_at=Now(), acknowledged_by=by[:150])


def _text(trigger: Trigger) -> str:
    """One line, of what is no personal data."""
    told = ", ".join(filter(None, (_word(trigger.metadata, name) for name in ("orderId", "channel", "cause"))))
    return f"{trigger.event_type.label}: {told}"[:500] if told else trigger.event_type.label


def _word(metadata: Mapping[str, Any], name: str) -> str:
    value = metadata.get(name)
    return value if isinstance(value, str) else ""
