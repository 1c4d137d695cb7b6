"""Which event types a source without an API key may trigger: Celery callers, and buses. Keys have their own."""

from __future__ import annotations

from collections.abc import Collection

from django.conf import settings

from notifier.catalogue import may_trigger
from notifier.trigger import Trigger, TriggerError


class Forbidden(TriggerError):  # noqa: N818 - named after what the caller reads
    """The source may not trigger this type."""

    code = "FORBIDDEN"


def check_source(source: str, trigger: Trigger) -> None:
    """Raises Forbidden for a type that settings.SOURCES does not name for the source; one without an entry may all."""
    named: Collection[str] = settings.SOURCES.get(source, ())
    if not may_trigger(named, trigger.event_type.name):
        problem = f"The source {source!r} may trigger {', '.join(named)} only."
        raise Forbidden(f"{trigger.event_type.name} is not allowed.", {"eventType": problem})
