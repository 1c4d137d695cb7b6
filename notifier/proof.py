"""Was something about an order sent to an address? Answered by fingerprints, also after the person was forgotten."""

from __future__ import annotations

from collections.abc import Sequence

from notifier.fingerprint import fingerprint
from notifier.models import Attempt, NotificationEvent


def attempts_to(address: str, order_id: str) -> Sequence[Attempt]:
    """The attempts about an order that went to an address in its one form, oldest first. Walks event_order."""
    events = NotificationEvent.objects.of_order(order_id).values_list("id", flat=True)
    found = Attempt.objects.filter(delivery__event__in=list(events), address_hash=fingerprint(address))
    return list(found.select_related("delivery__event").order_by("started_at"))
