"""`manage.py list_orders`: what every order has come to, for Notifier's `manage.py reconcile_orders`."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand

from examples.shop.models import Order, Step
from examples.shop.orders import event_of


class Command(BaseCommand):
    help = "Print every step of every order as a JSON object a line (docs/reconcile.md)."

    def handle(self, *_args: Any, **_options: Any) -> None:
        for order in Order.objects.select_related("customer").prefetch_related("lines", "steps").order_by("placed_at"):
            customer = order.customer
            whom = {"recipient": customer.guest} if customer.guest else {"userId": str(customer.id)}
            for step, row in order.taken.items():
                metadata = event_of(order, Step(step)).as_json()
                order_id = metadata.pop("orderId")
                line = {"orderId": order_id, "state": step, "time": row.at.isoformat(), **whom, "metadata": metadata}
                self.stdout.write(json.dumps(line))
