"""A port for probes and scrapers: /health/live, /health/ready and /metrics of a consumer, in a thread of its own."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

STUCK = 120.0  # seconds without a turn of the loop: longer than any statement and any answer that it waits for


class Pulse:
    """What the loop tells of itself. `waits_for` says why it takes nothing now; "": it does."""

    def __init__(self) -> None:
        self._turned = time.monotonic()
        self.waits_for = "bus"

    def beat(self) -> None:
        self._turned = time.monotonic()

    @property
    def silence(self) -> float:
        """Seconds since its last turn."""
        return time.monotonic() - self._turned


@contextmanager
def serving(port: int, pulse: Pulse, metrics: CollectorRegistry) -> Iterator[None]:
    """Answer until the block ends; port 0: nothing is served. Raises OSError where the port is taken."""
    if not port:
        yield
        return
    pages: dict[str, Callable[[], tuple[int, str, bytes]]] = {
        "/health/live": lambda: _told(pulse.silence < STUCK, f"{pulse.silence:.0f} s since the last turn"),
        "/health/ready": lambda: _told(not pulse.waits_for, pulse.waits_for and f"waits for the {pulse.waits_for}"),
        "/metrics": lambda: (HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(metrics)),
    }

    class Pages(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            page = pages.get(self.path, lambda: (HTTPStatus.NOT_FOUND, "text/plain", b""))
            status, kind, body = page()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Probes come every few seconds."""

    with ThreadingHTTPServer(("", port), Pages) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, name="health", daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()


def _told(good: bool, detail: str) -> tuple[int, str, bytes]:
    status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
    return (
        status,
        "application/json",
        json.dumps({"status": "ok" if good else "unavailable", "detail": detail}).encode(),
    )
