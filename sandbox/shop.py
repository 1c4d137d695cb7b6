"""The demo's shop counter: it plays the order service, and calls Notifier's HTTP API as a real one would.

Environment: NOTIFIER_URL and NOTIFIER_API_KEY (scopes trigger and read) say where; NOTIFIER_CUSTOMERS is a
JSON list `[{"id", "name", "note"}]`, or the path of a file that holds one. A customer with a "recipient" in
place of an "id" is a guest.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.faults import Fault, Faults

TIMEOUT = aiohttp.ClientTimeout(total=5)
PROVIDERS = {"sendgrid": "Email", "twilio": "SMS", "fcm": "Push"}
CURRENCY = "EUR"
GOODS = {
    "lamp": ("Walnut desk lamp", Decimal("89.00")),
    "notebook": ("Linen notebook", Decimal("12.50")),
    "teapot": ("Stoneware teapot", Decimal("46.00")),
    "blanket": ("Merino blanket", Decimal("119.00")),
}
STEPS = {
    "placed": "ORDER_PLACED",
    "confirmed": "ORDER_CONFIRMED",
    "packed": "ORDER_PACKED",
    "shipped": "ORDER_SHIPPED",
    "delayed": "ORDER_DELAYED",
    "delivered": "ORDER_DELIVERED",
    "cancelled": "ORDER_CANCELLED",
}
LIFE = ("placed", "confirmed", "packed", "shipped", "delivered")


@dataclass(slots=True)
class Order:
    """An order of this shop; `steps` are those it has taken, in order."""

    id: str
    customer: Mapping[str, Any]
    items: list[dict[str, Any]]
    steps: list[str] = field(default_factory=list)

    @property
    def total(self) -> Decimal:
        return sum((Decimal(item["price"]) * item["quantity"] for item in self.items), Decimal())

    @property
    def next_steps(self) -> list[str]:
        """Where the order may go: on, or off its way while that makes sense."""
        if not self.steps:
            return ["placed"]
        if {"delivered", "cancelled"} & set(self.steps):
            return []
        further = [step for step in LIFE if step not in self.steps][:1]
        if "confirmed" in self.steps and "delayed" not in self.steps:
            further.append("delayed")
        return further if "shipped" in self.steps else [*further, "cancelled"]

    def metadata(self, step: str) -> dict[str, Any]:
        """What the order service tells Notifier about a step."""
        shipment = f"SHP-{self.id.removeprefix('ORD-')}"
        soon, late = (f"{datetime.now(UTC) + timedelta(days=days):%Y-%m-%d}" for days in (3, 6))
        parcel = {
            "carrier": "DHL",
            "shipmentId": shipment,
            "trackingUrl": f"https://track.example/{shipment}",
        }
        extra: Mapping[str, Mapping[str, str]] = {
            "confirmed": {"eta": soon},
            "shipped": {**parcel, "eta": soon},
            "delivered": parcel,
            "delayed": {"eta": late, "reason": "heavy snow in the mountains"},
            "cancelled": {"reason": "you asked us to"},
        }
        order = {"orderId": self.id, "items": self.items, "total": str(self.total), "currency": CURRENCY}
        return order | dict(extra.get(step, {}))

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "customer": self.customer["name"],
            "items": self.items,
            "total": str(self.total),
            "currency": CURRENCY,
            "steps": self.steps,
            "nextSteps": self.next_steps,
        }


class NotifierError(Exception):
    """Notifier did not do what the shop asked; `status` and `code` are its own where it answered."""

    def __init__(self, message: str, status: int = 502, code: str = "NOTIFIER_UNREACHABLE") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Shop:
    """The counter: its orders, its customers, and its way to Notifier."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.url = environment.get("NOTIFIER_URL", "").rstrip("/")
        self._key = environment.get("NOTIFIER_API_KEY", "")
        self._customers = environment.get("NOTIFIER_CUSTOMERS", "")
        self._session: aiohttp.ClientSession | None = None
        self.orders: dict[str, Order] = {}

    async def close(self) -> None:
        if self._session:
            await self._session.close()

    def customers(self) -> list[dict[str, Any]]:
        """The customers at the counter; read anew each time, since the demo may still be making them."""
        source = self._customers.strip()
        try:
            found = json.loads(source if source.startswith("[") else Path(source).read_text() if source else "[]")
        except (OSError, ValueError):
            return []
        return [customer for customer in found if isinstance(customer, dict) and customer.get("name")]

    def trouble(self) -> str:
        """Why the counter cannot work; empty when it can."""
        if not self.url or not self._key:
            return "No Notifier is connected: run script/demo, or set NOTIFIER_URL and NOTIFIER_API_KEY."
        if not self.customers():
            return "There are no customers yet: NOTIFIER_CUSTOMERS names a JSON list, or a file that holds one."
        return ""

    async def call(self, method: str, path: str, **arguments: Any) -> Any:
        """Notifier's JSON answer; NotifierError says readably what went wrong."""
        if self._session is None:
            headers = {"Authorization": f"Api-Key {self._key}"}
            self._session = aiohttp.ClientSession(timeout=TIMEOUT, headers=headers)
        try:
            async with self._session.request(method, self.url + path, **arguments) as answer:
                return _checked(answer.status, await answer.read())
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NotifierError("Notifier does not answer. The order itself is safe: try the step again.") from error

    async def take(self, order: Order, step: str) -> Any:
        """Move an order on and tell Notifier. The same step told again is the same event, by its key."""
        person = _addressee(order.customer)
        body = {"eventType": STEPS[step], **person, "metadata": order.metadata(step)}
        headers = {"Idempotency-Key": f"{order.id}:{step}"}
        answer = await self.call("POST", "/notifications/trigger", json=body, headers=headers)
        order.steps.append(step)
        return answer

    async def timeline(self, order_id: str) -> list[Any]:
        """The latest events of an order with their deliveries and attempts, the newest first."""
        answer = await self.call("GET", "/notifications/events", params={"orderId": order_id})
        found: list[Any] = answer["results"]
        return found


def _checked(status: int, body: bytes) -> Any:
    try:
        answer = json.loads(body)
    except ValueError as error:
        raise NotifierError(f"Notifier answered {status} with something that is not JSON.") from error
    if status >= 400:
        error_body = answer.get("error", {}) if isinstance(answer, dict) else {}
        message = error_body.get("message") or f"Notifier answered {status}."
        raise NotifierError(message, status, error_body.get("code", "REFUSED"))
    return answer


def _addressee(customer: Mapping[str, Any]) -> dict[str, Any]:
    return {"recipient": customer["recipient"]} if "recipient" in customer else {"userId": customer["id"]}


async def state(request: Request) -> Response:
    """GET /shop/state: everything the page needs to draw itself."""
    shop: Shop = request.app.state.shop
    return JSONResponse(
        {
            "trouble": shop.trouble(),
            "notifierUrl": shop.url,
            "customers": [{"name": person["name"], "note": person.get("note", "")} for person in shop.customers()],
            "goods": [{"id": key, "name": name, "price": str(price)} for key, (name, price) in GOODS.items()],
            "currency": CURRENCY,
            "providers": _providers(request.app.state.faults),
            "orders": [order.as_json() for order in shop.orders.values()],
        }
    )


def _providers(faults: Faults) -> list[dict[str, Any]]:
    return [{"id": key, "name": name, "on": faults.get(key) is None} for key, name in PROVIDERS.items()]


async def place(request: Request) -> Response:
    """POST /shop/orders {"customer": position in the list, "basket": {goods id: quantity}}."""
    shop: Shop = request.app.state.shop
    body = await _body(request)
    customers = shop.customers()
    position = body.get("customer")
    if not isinstance(position, int) or not 0 <= position < len(customers):
        raise HTTPException(400, "no such customer")
    order = Order(f"ORD-{secrets.randbelow(900_000) + 100_000}", customers[position], _items(body.get("basket")))
    await shop.take(order, "placed")
    shop.orders[order.id] = order
    return JSONResponse(order.as_json(), 201)


def _items(basket: Any) -> list[dict[str, Any]]:
    if not isinstance(basket, dict) or not basket or not set(basket) <= set(GOODS):
        raise HTTPException(400, "the basket is empty, or holds what this shop does not sell")
    if not all(isinstance(quantity, int) and 0 < quantity < 100 for quantity in basket.values()):
        raise HTTPException(400, "a quantity must lie between 1 and 99")
    chosen = ((*GOODS[key], quantity) for key, quantity in basket.items())
    return [{"name": name, "quantity": quantity, "price": str(price)} for name, price, quantity in chosen]


async def step(request: Request) -> Response:
    """POST /shop/orders/{order}/steps {"step": "shipped"}."""
    order = _order(request)
    wanted = (await _body(request)).get("step")
    if wanted not in order.next_steps:
        raise HTTPException(409, "the order cannot take this step now")
    await request.app.state.shop.take(order, wanted)
    return JSONResponse(order.as_json())


async def timeline(request: Request) -> Response:
    """GET /shop/orders/{order}/timeline: Notifier's events of the order."""
    return JSONResponse({"results": await request.app.state.shop.timeline(_order(request).id)})


async def inbox(request: Request) -> Response:
    """GET /shop/orders/{order}/inbox: the in-app inbox of the order's customer; empty for a guest."""
    person = _order(request).customer
    if "recipient" in person:
        return JSONResponse({"results": []})
    return JSONResponse(
        await request.app.state.shop.call("GET", "/notifications/inbox", params={"userId": person["id"]})
    )


async def switch(request: Request) -> Response:
    """PUT /shop/providers/{provider} {"on": false}: switched off, it answers 503 to everything."""
    faults: Faults = request.app.state.faults
    provider = request.path_params["provider"]
    if provider not in PROVIDERS:
        raise HTTPException(404, "no such provider")
    if (await _body(request)).get("on"):
        faults.clear(provider)
    else:
        faults.put(Fault(provider))
    return JSONResponse({"providers": _providers(faults)})


def _order(request: Request) -> Order:
    orders: dict[str, Order] = request.app.state.shop.orders
    try:
        return orders[request.path_params["order"]]
    except KeyError as error:
        raise HTTPException(404, "no such order") from error


async def _body(request: Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError as error:
        raise HTTPException(400, "the body is not JSON") from error
    if not isinstance(body, dict):
        raise HTTPException(400, "the body must be an object")
    return body


async def explain(request: Request, error: Exception) -> Response:  # noqa: ARG001 - Starlette's shape
    """A NotifierError as the shop's own JSON error."""
    code = error.code if isinstance(error, NotifierError) else "ERROR"
    status = error.status if isinstance(error, NotifierError) else 500
    return JSONResponse({"error": {"code": code, "message": str(error), "fields": {}}}, status)


ROUTES = [
    Route("/shop/state", state),
    Route("/shop/orders", place, methods=["POST"]),
    Route("/shop/orders/{order}/steps", step, methods=["POST"]),
    Route("/shop/orders/{order}/timeline", timeline),
    Route("/shop/orders/{order}/inbox", inbox),
    Route("/shop/providers/{provider}", switch, methods=["PUT"]),
]
