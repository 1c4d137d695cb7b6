"""What the people who run this are told as an event of their own: DELIVERY_FAILED."""

from __future__ import annotations

from collections.abc import Sequence

from notifier.catalogue import event_types
from notifier.record import record_for_staff

DELIVERY_FAILED = "DELIVERY_FAILED"


def tell_operations(channel: str, cause: str, window: str, *, count: int = 1, order_ids: Sequence[str] = ()) -> bool:
    """Once for each channel and cause within a window, which is any text that names it. True where it was told now."""
    if DELIVERY_FAILED not in event_types():
        return False
    metadata = {"channel": channel, "cause": cause, "count": count, "orderIds": list(order_ids)}
    key = f"{channel}:{cause}:{window}"
    return record_for_staff(DELIVERY_FAILED, metadata, source="notifier", idempotency_key=key) > 0
