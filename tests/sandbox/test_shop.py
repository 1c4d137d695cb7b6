"""The shop counter calls Notifier as an order service would, and says readably when it cannot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router

from sandbox.app import create_app
from sandbox.shop import Order, Shop
from tests.sandbox.conftest import Client, serving

CUSTOMERS: list[dict[str, Any]] = [
    {"id": "u1", "name": "Ada", "note": "all on"},
    {"name": "Gina", "recipient": {"email": "g@mail.example"}},
]
BASKET = {"lamp": 1, "notebook": 3}


class Notifier:
    """The far end of the wire: keeps what it is asked, and answers what it is told to."""

    def __init__(self) -> None:
        self.triggers: list[tuple[dict[str, Any], str]] = []
        self.status = 202
        self.app = Router(
            [
                Route("/notifications/trigger", self.trigger, methods=["POST"]),
                Route("/notifications/events", self.listing),
                Route("/notifications/inbox", self.listing),
            ]
        )

    async def trigger(self, request: Request) -> Response:
        assert request.headers["Authorization"] == "Api-Key key"
        self.triggers.append((await request.json(), request.headers["Idempotency-Key"]))
        if self.status >= 400:
            return JSONResponse({"error": {"code": "NO", "message": "not today", "fields": {}}}, self.status)
        return JSONResponse({"eventId": "e1", "status": "QUEUED"}, self.status)

    async def listing(self, request: Request) -> Response:
        return JSONResponse({"results": [dict(request.query_params)], "next": None})


@pytest.fixture
def notifier() -> Notifier:
    return Notifier()


@pytest.fixture
def counter(notifier: Notifier) -> Iterator[Client]:
    with serving(notifier.app) as far:
        environment = {"NOTIFIER_URL": far.url, "NOTIFIER_API_KEY": "key", "NOTIFIER_CUSTOMERS": json.dumps(CUSTOMERS)}
        with serving(create_app(environment)) as near:
            yield near


def test_an_order_is_placed_and_moved_along(counter: Client, notifier: Notifier) -> None:
    order = counter.json("POST", "/shop/orders", {"customer": 0, "basket": BASKET})
    assert (order["total"], order["nextSteps"]) == ("126.50", ["confirmed", "cancelled"])
    path = f"/shop/orders/{order['id']}"
    for step in ("confirmed", "packed", "shipped", "delayed", "delivered"):
        order = counter.json("POST", f"{path}/steps", {"step": step})
    assert order["nextSteps"] == []
    assert [key for _, key in notifier.triggers][:2] == [f"{order['id']}:placed", f"{order['id']}:confirmed"]
    assert {body["userId"] for body, _ in notifier.triggers} == {"u1"}
    shipped = notifier.triggers[3][0]
    assert shipped["eventType"] == "ORDER_SHIPPED"
    assert "trackingUrl" in str(shipped["metadata"])
    assert counter.json("GET", f"{path}/timeline") == {"results": [{"orderId": order["id"]}]}
    assert counter.json("GET", f"{path}/inbox")["results"] == [{"userId": "u1"}]
    assert [known["id"] for known in counter.json("GET", "/shop/state")["orders"]] == [order["id"]]


def test_a_guest_is_addressed_directly_and_has_no_inbox(counter: Client, notifier: Notifier) -> None:
    order = counter.json("POST", "/shop/orders", {"customer": 1, "basket": BASKET})
    assert notifier.triggers[0][0]["recipient"] == CUSTOMERS[1]["recipient"]
    assert counter.json("GET", f"/shop/orders/{order['id']}/inbox") == {"results": []}


@pytest.mark.parametrize(
    "order",
    [
        {"customer": 9, "basket": BASKET},
        {"customer": 0, "basket": {}},
        {"customer": 0, "basket": {"gold": 1}},
        {"customer": 0, "basket": {"lamp": 0}},
        "nothing",
    ],
)
def test_a_senseless_order_is_refused(counter: Client, notifier: Notifier, order: object) -> None:
    assert counter.json("POST", "/shop/orders", order)["error"]["message"]
    assert notifier.triggers == []


def test_a_step_is_not_taken_out_of_turn(counter: Client) -> None:
    order = counter.json("POST", "/shop/orders", {"customer": 0, "basket": BASKET})
    path = f"/shop/orders/{order['id']}/steps"
    assert counter.call("POST", path, b'{"step": "delivered"}').status == 409
    assert counter.call("POST", path, b"{").status == 400
    assert counter.call("POST", "/shop/orders/none/steps", b'{"step": "confirmed"}').status == 404


def test_notifiers_refusal_is_passed_on_and_the_step_not_taken(counter: Client, notifier: Notifier) -> None:
    order = counter.json("POST", "/shop/orders", {"customer": 0, "basket": BASKET})
    notifier.status = 409
    refused = counter.call("POST", f"/shop/orders/{order['id']}/steps", b'{"step": "confirmed"}')
    assert (refused.status, refused.json()["error"]["message"]) == (409, "not today")
    notifier.status = 202
    again = counter.json("POST", f"/shop/orders/{order['id']}/steps", {"step": "confirmed"})
    assert again["steps"] == ["placed", "confirmed"]


def test_a_provider_is_switched_off_and_on(counter: Client) -> None:
    def states() -> list[bool]:
        return [provider["on"] for provider in counter.json("GET", "/shop/state")["providers"]]

    counter.json("PUT", "/shop/providers/twilio", {"on": False})
    assert states() == [True, False, True]
    assert counter.text().status == 503
    counter.json("PUT", "/shop/providers/twilio", {"on": True})
    assert states() == [True, True, True]
    assert counter.call("PUT", "/shop/providers/pigeon", b'{"on": true}').status == 404


def test_without_notifier_the_counter_says_so(sandbox: Client) -> None:
    assert "No Notifier is connected" in sandbox.json("GET", "/shop/state")["trouble"]


def test_a_notifier_that_is_away_is_a_readable_error() -> None:
    environment = {
        "NOTIFIER_URL": "http://127.0.0.1:9",
        "NOTIFIER_API_KEY": "key",
        "NOTIFIER_CUSTOMERS": json.dumps(CUSTOMERS),
    }
    with serving(create_app(environment)) as counter:
        answer = counter.call("POST", "/shop/orders", json.dumps({"customer": 0, "basket": BASKET}).encode())
    assert (answer.status, answer.json()["error"]["code"]) == (502, "NOTIFIER_UNREACHABLE")


def test_customers_may_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "customers.json"
    shop = Shop({"NOTIFIER_URL": "http://n.example", "NOTIFIER_API_KEY": "key", "NOTIFIER_CUSTOMERS": str(path)})
    assert "no customers" in shop.trouble()
    path.write_text(json.dumps(CUSTOMERS))
    assert (shop.trouble(), len(shop.customers())) == ("", 2)


def test_an_order_may_leave_its_way_while_that_makes_sense() -> None:
    def further(*steps: str) -> list[str]:
        return Order("ORD-1", {"name": "Ada"}, [], list(steps)).next_steps

    assert further() == ["placed"]
    assert further("placed", "confirmed", "delayed") == ["packed", "cancelled"]
    assert further("placed", "confirmed", "packed", "shipped") == ["delivered", "delayed"]
    assert further("placed", "cancelled") == []
