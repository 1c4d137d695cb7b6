"""What happens to orders: each change and its event in one transaction. This is what a shop would copy."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from django.db import transaction

from examples.shop.models import CURRENCY, Customer, Line, Order, Step, TakenStep
from notifier_client import Guest
from notifier_client.events import (
    Item,
    OrderCancelled,
    OrderConfirmed,
    OrderDelayed,
    OrderDelivered,
    OrderPacked,
    OrderPlaced,
    OrderShipped,
)
from notifier_client.outbox.record import record
from notifier_client.payload import Event

GOODS = {
    "lamp": ("Walnut desk lamp", Decimal("89.00")),
    "notebook": ("Linen notebook", Decimal("12.50")),
    "teapot": ("Stoneware teapot", Decimal("46.00")),
    "blanket": ("Merino blanket", Decimal("119.00")),
}
MOST = 99  # of each


class OrderError(ValueError):
    """The order cannot be placed, or cannot take this step; nothing was changed. The text is for people."""


@transaction.atomic
def place(customer: Customer, basket: Mapping[str, int]) -> Order:
    """A new order of so many of each of GOODS. Raises OrderError."""
    chosen = {key: quantity for key, quantity in basket.items() if quantity}
    if not chosen:
        raise OrderError("Choose something first.")
    if not all(0 < quantity <= MOST for quantity in chosen.values()):
        raise OrderError(f"Of each, between 1 and {MOST}.")
    order = Order.objects.create(customer=customer)
    for key, quantity in chosen.items():
        name, price = GOODS[key]
        Line.objects.create(order=order, name=name, quantity=quantity, price=price)
    _take(order, Step.PLACED)
    return order


@transaction.atomic
def take(number: str, step: Step) -> Order:
    """Move an order on. Raises OrderError, Order.DoesNotExist."""
    order = Order.objects.select_for_update().get(number=number)
    if step not in order.next_steps:
        raise OrderError(
            f"Order {order.number} is {order.latest.label.lower()} and cannot be {step.label.lower()} now."
        )
    _take(order, step)
    return order


def _take(order: Order, step: Step) -> None:
    TakenStep.objects.create(order=order, step=step)
    customer = order.customer
    if customer.guest:
        addresses = {"time_zone" if name == "timeZone" else name: value for name, value in customer.guest.items()}
        record(event_of(order, step), recipient=Guest(**addresses))
    else:
        record(event_of(order, step), user_id=customer.id)


def event_of(order: Order, step: Step) -> Event:
    """What Notifier is told of this step."""
    items = [Item(name=line.name, quantity=line.quantity, price=line.price) for line in order.lines.all()]
    about: Any = {"order_id": order.number, "items": items, "total": order.total, "currency": CURRENCY}
    url = f"https://track.example/{order.shipment}"
    parcel: Any = {"carrier": "DHL", "shipment_id": order.shipment, "tracking_url": url}
    expected = order.expected.isoformat()
    match step:
        case Step.PLACED:
            return OrderPlaced(**about)
        case Step.CONFIRMED:
            return OrderConfirmed(**about, eta=expected)
        case Step.PACKED:
            return OrderPacked(**about)
        case Step.SHIPPED:
            return OrderShipped(**about, **parcel, eta=expected)
        case Step.DELAYED:
            return OrderDelayed(**about, eta=expected, reason="heavy snow in the mountains")
        case Step.DELIVERED:
            return OrderDelivered(**about, **parcel)
        case Step.CANCELLED:
            refund = ", and your money is on its way back" if Step.CONFIRMED in order.taken else ""
            return OrderCancelled(**about, reason=f"you asked us to{refund}")
