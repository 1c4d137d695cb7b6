"""Customers, their orders, and the steps that each order has taken."""

from __future__ import annotations

import secrets
from datetime import date, timedelta
from decimal import Decimal
from uuid import uuid4

from django.db import models
from django.utils import timezone

CURRENCY = "EUR"


class Step(models.TextChoices):
    """What happens to an order; each is one of Notifier's event types (examples/shop/orders.py)."""

    PLACED = "PLACED", "Placed"
    CONFIRMED = "CONFIRMED", "Paid"
    PACKED = "PACKED", "Packed"
    SHIPPED = "SHIPPED", "Shipped"
    DELAYED = "DELAYED", "Delayed"
    DELIVERED = "DELIVERED", "Delivered"
    CANCELLED = "CANCELLED", "Cancelled"


LIFE = (Step.PLACED, Step.CONFIRMED, Step.PACKED, Step.SHIPPED, Step.DELIVERED)


class Customer(models.Model):
    """Whom Notifier knows by this id; or a guest, whose addresses travel with each event."""

    id = models.UUIDField(primary_key=True, default=uuid4)
    name = models.CharField(max_length=100)
    note = models.CharField(max_length=100, blank=True)
    #: {"email", "phone", "locale", "timeZone"}; None for those with an account
    guest = models.JSONField(null=True, blank=True)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


def new_number() -> str:
    return f"ORD-{secrets.randbelow(9_000_000) + 1_000_000}"


class Order(models.Model):
    """An order; its steps say where it stands."""

    number = models.CharField(max_length=20, unique=True, default=new_number)
    customer = models.ForeignKey(Customer, models.PROTECT, related_name="orders")
    placed_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("-placed_at",)

    def __str__(self) -> str:
        return self.number

    @property
    def total(self) -> Decimal:
        return sum((line.amount for line in self.lines.all()), Decimal())

    @property
    def taken(self) -> dict[str, TakenStep]:
        """The steps it has taken, in order."""
        return {step.step: step for step in self.steps.all()}

    @property
    def latest(self) -> Step:
        return Step(list(self.taken)[-1])

    @property
    def next_steps(self) -> list[Step]:
        """Where it may go: on, or off its way while that makes sense."""
        taken = self.taken
        if Step.CANCELLED in taken or Step.DELIVERED in taken:
            return []
        further = [step for step in LIFE if step not in taken][:1]
        if Step.CONFIRMED in taken and Step.DELAYED not in taken:
            further.append(Step.DELAYED)
        return further if Step.SHIPPED in taken else [*further, Step.CANCELLED]

    @property
    def shipment(self) -> str:
        return f"SHP-{self.number.removeprefix('ORD-')}"

    @property
    def expected(self) -> date:
        return (self.placed_at + timedelta(days=6 if Step.DELAYED in self.taken else 3)).date()


class Line(models.Model):
    """What was ordered, at the price of that day."""

    order = models.ForeignKey(Order, models.CASCADE, related_name="lines")
    name = models.CharField(max_length=100)
    quantity = models.PositiveIntegerField()
    price = models.DecimalField(max_digits=10, decimal_places=2)

    class Meta:
        ordering = ("id",)

    def __str__(self) -> str:
        return f"{self.quantity} {self.name}"

    @property
    def amount(self) -> Decimal:
        return self.price * self.quantity


class TakenStep(models.Model):
    """When an order took a step; each once."""

    order = models.ForeignKey(Order, models.CASCADE, related_name="steps")
    step = models.CharField(max_length=10, choices=Step)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("at", "id")
        constraints = [models.UniqueConstraint(fields=["order", "step"], name="each_step_once")]

    def __str__(self) -> str:
        return self.step
