"""A sandbox on a free loopback port, served by uvicorn in a thread, and callers that speak as the SDKs do."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import pytest
import urllib3
import uvicorn
from starlette.types import ASGIApp

from sandbox import credentials
from sandbox.app import create_app

ACCOUNT = f"/2010-04-01/Accounts/{credentials.TWILIO_ACCOUNT_SID}"
MAIL: Mapping[str, Any] = {
    "personalizations": [{"to": [{"email": "ada@mail.example"}], "custom_args": {"delivery_id": "d1"}}],
    "from": {"email": "hello@shop.example", "name": "Shop"},
    "subject": "Thank you",
    "content": [{"type": "text/plain", "value": "Hello"}, {"type": "text/html", "value": "<p>Hello</p>"}],
}
TEXT: Mapping[str, str] = {
    "To": "+4915112345678",
    "From": credentials.TWILIO_FROM,
    "Body": "On its way",
    "StatusCallback": "https://notifier.example/webhooks/twilio?d=d2",
}
PUSH: Mapping[str, Any] = {
    "token": "device-1",
    "notification": {"title": "Shipped", "body": "On its way"},
    "data": {"delivery_id": "d3", "order_id": "ORD1", "event_type": "ORDER_SHIPPED"},
}


class Client:
    """Calls one server. No call is ever repeated by the client itself."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.pool = urllib3.PoolManager(retries=False, timeout=5)

    def call(self, method: str, path: str, body: bytes | None = None, **headers: str) -> urllib3.BaseHTTPResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.pool.request(method, self.url + path, body=body, headers=named)

    def json(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        answer = self.call(method, path, None if body is None else json.dumps(body).encode(), **headers)
        return answer.json() if answer.data else None

    def mail(self, mail: Mapping[str, Any] = MAIL, key: str = credentials.SENDGRID_API_KEY, **headers: str) -> Any:
        body = json.dumps(mail).encode()
        return self.call("POST", "/v3/mail/send", body, Authorization=f"Bearer {key}", **headers)

    def text(self, text: Mapping[str, str] = TEXT, token: str = credentials.TWILIO_AUTH_TOKEN, **headers: str) -> Any:
        body = urlencode(text).encode()
        return self.call("POST", f"{ACCOUNT}/Messages.json", body, Authorization=twilio_login(token), **headers)

    def push(self, push: object = PUSH, token: str = credentials.FCM_ACCESS_TOKEN, **headers: str) -> Any:
        path = f"/v1/projects/{credentials.FCM_PROJECT_ID}/messages:send"
        body = json.dumps({"message": push}).encode()
        return self.call("POST", path, body, Authorization=f"Bearer {token}", **headers)

    def fault(self, provider: str, **options: Any) -> Any:
        return self.json("PUT", "/faults", {"provider": provider, **options})

    def messages(self, query: str = "") -> list[dict[str, Any]]:
        results: list[dict[str, Any]] = self.json("GET", f"/messages?{query}")["results"]
        return results


def twilio_login(token: str = credentials.TWILIO_AUTH_TOKEN) -> str:
    return f"Basic {base64.b64encode(f'{credentials.TWILIO_ACCOUNT_SID}:{token}'.encode()).decode()}"


@contextmanager
def serving(app: ASGIApp) -> Iterator[Client]:
    """Serve an app until the block ends. The socket listens before the server does, so nobody has to wait."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    client = Client(f"http://127.0.0.1:{listener.getsockname()[1]}")
    try:
        yield client
    finally:
        client.pool.clear()
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture
def sandbox() -> Iterator[Client]:
    with serving(create_app({})) as client:
        yield client
