"""The sandbox as a process of its own, on a free loopback port, as tests and their workers see it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from tests.ports import free_port

START_DEADLINE = 20.0


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A running sandbox."""

    url: str

    def fault(self, provider: str, **options: Any) -> None:
        """Have a provider misbehave (PUT /faults)."""
        self.call("PUT", "/faults", {"provider": provider, **options})

    def heal(self, provider: str = "") -> None:
        """End the faults of one provider, or of all."""
        self.call("DELETE", f"/faults?provider={provider}" if provider else "/faults")

    def clear(self) -> None:
        self.call("DELETE", "/messages")

    def messages(self) -> list[dict[str, Any]]:
        """What arrived and was accepted, oldest first."""
        return cast("list[dict[str, Any]]", self.call("GET", "/messages")["results"][::-1])

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Any call of its API; raises urllib's errors."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text else None


@contextmanager
def running() -> Iterator[Sandbox]:
    """Start it, wait until it answers, and stop it at the end."""
    port = free_port()
    options = ["--port", str(port), "--log-level", "warning", "--no-access-log"]
    command = [sys.executable, "-m", "uvicorn", "sandbox.app:app", *options]
    with subprocess.Popen(command) as process:
        try:
            sandbox = Sandbox(f"http://127.0.0.1:{port}")
            _wait(sandbox, process)
            yield sandbox
        finally:
            process.terminate()


def _wait(sandbox: Sandbox, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_DEADLINE
    while True:
        try:
            sandbox.messages()
        except OSError:
            if time.monotonic() > deadline or process.poll() is not None:
                raise
            time.sleep(0.05)
        else:
            return
