"""The shop's event catalogue: seven things that happen to an order, and three that staff must hear of.

Plain data. To add an event type, add an entry here and its message templates; `manage.py check` says what is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from notifier.catalogue import Audience, EventType, Priority

TEXT = {"type": "string", "maxLength": 500}
AMOUNT = {"type": ["number", "string"], "pattern": r"^-?\d+(\.\d+)?$"}
ITEM = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": TEXT, "quantity": {"type": ["number", "string"]}, "price": AMOUNT},
}

#: What every customer type may carry; other keys are stored and ignored, so that a producer's new field breaks nothing.
ORDER_FIELDS: Mapping[str, Any] = {
    "orderId": {"type": "string", "minLength": 1, "maxLength": 100},
    "items": {"type": "array", "items": ITEM, "maxItems": 200},
    "total": AMOUNT,
    "currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
    "eta": {"type": "string", "maxLength": 40},
    "carrier": TEXT,
    "shipmentId": TEXT,
    "reason": TEXT,
    "trackingUrl": {"type": "string", "pattern": "^https?://", "maxLength": 2000},
}

ORDER = {
    "orderId": "ORD123",
    "items": [
        {"name": "Walnut desk lamp", "quantity": 1, "price": "89.00"},
        {"name": "Linen notebook", "quantity": 3, "price": "12.50"},
    ],
    "total": "126.50",
    "currency": "EUR",
}
PARCEL = {
    "carrier": "DHL",
    "shipmentId": "SHP-77120",
    "trackingUrl": "https://track.example/SHP-77120",
    "eta": "2026-12-01",
}


def _metadata(*required: str) -> Mapping[str, Any]:
    return {"type": "object", "required": ["orderId", *required], "properties": ORDER_FIELDS}


def _report(required: list[str], properties: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"type": "object", "required": required, "properties": properties}


EVENT_TYPES: tuple[EventType, ...] = (
    EventType(
        name="ORDER_PLACED",
        label="Order placed",
        topic="Your order",
        meaning="When we have received your order.",
        why_mandatory="It is your receipt.",
        channels=("EMAIL", "PUSH", "IN_APP"),
        priority=Priority.NORMAL,
        time_to_live=timedelta(hours=24),
        mandatory=frozenset({"EMAIL"}),  # it is the receipt, and never superseded for the same reason
        stage=1,
        schema=_metadata(),
        sample=ORDER,
    ),
    EventType(
        name="ORDER_CONFIRMED",
        label="Order confirmed",
        topic="Your order",
        meaning="When we have checked your order and begin with it.",
        channels=("EMAIL", "PUSH", "IN_APP"),
        priority=Priority.NORMAL,
        time_to_live=timedelta(hours=12),
        stage=2,
        superseded_from=3,
        schema=_metadata(),
        sample=ORDER | {"eta": "2026-12-01"},
    ),
    EventType(
        name="ORDER_PACKED",
        label="Order packed",
        topic="Delivery",
        meaning="When your parcel is packed.",
        channels=("PUSH", "IN_APP"),
        priority=Priority.BULK,
        time_to_live=timedelta(hours=6),
        stage=3,
        superseded_from=4,
        schema=_metadata(),
        sample=ORDER,
    ),
    EventType(
        name="ORDER_SHIPPED",
        label="Order shipped",
        topic="Delivery",
        meaning="When your parcel is on its way, with a link to follow it.",
        channels=("EMAIL", "SMS", "PUSH", "IN_APP"),
        priority=Priority.NORMAL,
        time_to_live=timedelta(hours=24),
        stage=4,
        superseded_from=5,
        schema=_metadata("trackingUrl"),
        sample=ORDER | PARCEL,
    ),
    EventType(
        name="ORDER_DELIVERED",
        label="Order delivered",
        topic="Delivery",
        meaning="When your parcel has arrived.",
        channels=("EMAIL", "SMS", "PUSH", "IN_APP"),
        priority=Priority.NORMAL,
        time_to_live=timedelta(hours=12),
        stage=5,
        schema=_metadata(),
        sample=ORDER | PARCEL,
    ),
    EventType(
        name="ORDER_DELAYED",
        label="Order delayed",
        topic="Delivery",
        meaning="When your parcel will be late.",
        channels=("EMAIL", "SMS", "PUSH", "IN_APP"),
        priority=Priority.URGENT,
        time_to_live=timedelta(hours=12),
        superseded_from=5,
        schema=_metadata(),
        sample=ORDER | {"eta": "2026-12-04", "reason": "heavy snow in the mountains"},
    ),
    EventType(
        name="ORDER_CANCELLED",
        label="Order cancelled",
        topic="Your order",
        meaning="When your order is cancelled.",
        why_mandatory="You must be able to rely on hearing of it.",
        channels=("EMAIL", "SMS", "PUSH", "IN_APP"),
        priority=Priority.URGENT,
        time_to_live=timedelta(hours=24),
        mandatory=frozenset({"EMAIL"}),
        stage=6,
        schema=_metadata(),
        sample=ORDER | {"reason": "you asked us to"},
    ),
    EventType(
        name="FRAUD_ALERT",
        label="Fraud alert",
        audience=Audience.STAFF,
        group="fraud",
        escalation=("administrators",),
        channels=("EMAIL", "SMS", "IN_APP"),
        priority=Priority.URGENT,
        time_to_live=timedelta(hours=1),
        mandatory=frozenset({"EMAIL", "SMS", "IN_APP"}),
        schema=_report([], {"orderId": ORDER_FIELDS["orderId"], "reason": TEXT}),
        sample={"orderId": "ORD123", "reason": "card used in two countries within an hour"},
    ),
    EventType(
        name="DELIVERY_FAILED",
        label="Delivery failed",
        audience=Audience.STAFF,
        group="operations",
        channels=("EMAIL", "IN_APP"),
        priority=Priority.NORMAL,
        time_to_live=timedelta(hours=24),
        mandatory=frozenset({"EMAIL", "IN_APP"}),
        schema=_report(
            ["channel", "cause"],
            {
                "channel": TEXT,
                "cause": TEXT,
                "count": {"type": "integer"},
                "orderIds": {"type": "array", "items": {"type": "string"}},
            },
        ),
        sample={"channel": "SMS", "cause": "ProviderUnavailable", "count": 1, "orderIds": ["ORD123"]},
    ),
    EventType(
        name="CHANNEL_DEGRADED",
        label="Channel degraded",
        audience=Audience.STAFF,
        group="operations",
        escalation=("administrators",),
        channels=("EMAIL", "SMS", "IN_APP"),
        priority=Priority.URGENT,
        time_to_live=timedelta(hours=1),
        mandatory=frozenset({"EMAIL", "SMS", "IN_APP"}),
        schema=_report(
            ["channel"],
            {
                "channel": TEXT,
                "provider": TEXT,
                "failureRate": {"type": "number"},
                "state": {"type": "string", "enum": ["degraded", "recovered"]},
                "reason": TEXT,
                "url": TEXT,
            },
        ),
        sample={"channel": "SMS", "provider": "twilio", "failureRate": 0.42},
    ),
)
