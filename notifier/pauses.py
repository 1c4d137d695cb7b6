"""Pause and resume a channel, an event type or a provider.

What a pause holds waits in the ledger, and expires by its type's time to live. Once it has ended, the sweeper lets
it go, spread over some seconds, so that the provider is not run over.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.db.models.functions import Now

from channels import registry
from notifier.catalogue import event_types
from notifier.models import Delivery, EndedPause, Pause

log = logging.getLogger(__name__)

KNOWN_BY_ALL = timedelta(seconds=3)  # after a pause's end: until then a process may still hold by it
BATCH = 5_000  # deliveries that are let go in one statement


class UnknownNameError(LookupError):
    """There is nothing of this name to pause. Its text says what there is."""


def pausable() -> Mapping[str, list[str]]:
    """What can be paused, by kind."""
    return {
        Pause.Kind.CHANNEL: list(registry.names()),
        Pause.Kind.PROVIDER: _providers(),
        Pause.Kind.EVENT_TYPE: list(event_types()),
    }


def pause(kind: str, name: str, reason: str = "") -> tuple[Pause, bool]:
    """Hold it from about a second later on; its row, and whether it was not paused before. Raises UnknownNameError."""
    known = pausable()[kind]
    if name not in known:
        wanted = Pause.Kind(kind).label.lower()
        raise UnknownNameError(f"There is no {wanted} {name}; there are {', '.join(known) or 'none'}.")
    row, created = Pause.objects.update_or_create(kind=kind, name=name, defaults={"reason": reason})
    row.refresh_from_db()
    return row, created


def resume(kind: str, name: str) -> bool:
    """Let it go on; was it paused? What was held goes out within some ten seconds, and then by WAKE_SPREAD."""
    with transaction.atomic():
        ended, _ = Pause.objects.filter(kind=kind, name=name).delete()
        if ended:
            EndedPause.objects.create(kind=kind, name=name)
    return bool(ended)


def end_pauses() -> int:
    """The sweeper's: make due what pauses held that have ended; how many deliveries. What is still held by another
    pause is held anew by its claim.
    """
    return sum(map(_let_go, EndedPause.objects.filter(ended_at__lt=Now() - KNOWN_BY_ALL)))


def _let_go(ended: EndedPause) -> int:
    is_type = ended.kind == Pause.Kind.EVENT_TYPE
    channel, event_type = ("", ended.name) if is_type else (ended.name.partition(":")[0], "")
    number = Delivery.objects.release(channel, event_type, BATCH, settings.WAKE_SPREAD)
    log.info("%s is no longer paused: %d deliveries go on", ended, number)
    if number < BATCH:
        ended.delete()
    return number


def _providers() -> list[str]:
    try:
        return [f"{gate.channel}:{gate.provider}" for gate in registry.gates()]
    except ImproperlyConfigured:  # said at the start already
        return []
