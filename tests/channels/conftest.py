"""Servers for the channels' tests: the sandbox as a process of its own, and wires that fail as told."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest

from channels.base import Message
from channels.providers import http
from sandbox import credentials
from tests.channels.wire import Smtp, Wire, running

START_DEADLINE = 30.0


@dataclass(frozen=True)
class Sandbox:
    """The running sandbox, spoken to over HTTP."""

    url: str
    account: Path

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.url + path, data=data, method=method)
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.loads(answer.read() or b"null")

    def fail(self, provider: str, mode: str, **fault: Any) -> None:
        self.call("PUT", "/faults", {"provider": provider, "mode": mode, **fault})

    def accepted(self) -> list[dict[str, Any]]:
        """What it took, oldest first."""
        messages = self.call("GET", "/messages")
        rows = messages["results"] if isinstance(messages, dict) else messages
        return sorted((row for row in rows if row["accepted"]), key=lambda row: str(row["id"]))


@pytest.fixture(scope="session")
def sandbox_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    account = tmp_path_factory.mktemp("fcm") / "account.json"
    found = Sandbox(f"http://127.0.0.1:{port}", account)
    credentials.write_service_account(account, f"{found.url}/token")
    command = [sys.executable, "-m", "uvicorn", "sandbox.app:app", "--port", str(port), "--log-level", "warning"]
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(command, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}) as process:
        try:
            _wait_for(found, process)
            yield found
        finally:
            process.terminate()


def _wait_for(sandbox: Sandbox, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_DEADLINE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            sandbox.call("GET", "/faults")
        except URLError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError("the sandbox did not start")


@pytest.fixture
def sandbox(sandbox_process: Sandbox) -> Sandbox:
    """Healed and empty."""
    sandbox_process.call("DELETE", "/faults")
    sandbox_process.call("DELETE", "/messages")
    return sandbox_process


@pytest.fixture
def wire() -> Iterator[Wire]:
    with running(Wire()) as server:
        yield server
        http.close()  # the server waits for its connections to end


@pytest.fixture
def smtp() -> Iterator[Smtp]:
    with running(Smtp()) as server:
        yield server


@pytest.fixture
def mail() -> Message:
    return Message(
        delivery_id="01900000-0000-7000-8000-000000000001",
        attempt=2,
        address="ada@example.com",
        parts={"subject": "Your order", "html": "<p>On its way</p>", "text": "On its way"},
        event_type="ORDER_SHIPPED",
    )


@pytest.fixture
def sms() -> Message:
    return Message("01900000-0000-7000-8000-000000000002", 1, "+12025550123", {"text": "Grüße & mehr"})


@pytest.fixture
def push() -> Message:
    return Message(
        delivery_id="01900000-0000-7000-8000-000000000003",
        attempt=1,
        address="device-token",
        parts={"title": "Shipped", "body": "On its way"},
        address_id="device-1",
        event_type="ORDER_SHIPPED",
        data={"url": "https://shop.example/orders/1"},
    )
