"""A little HTTP server in front of Notifier, or of nothing, that fails as it is told."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; `hang`: none at all, `lose`: none, though what stands behind got the request."""

    status: int = 503
    body: bytes = b'{"error": {"code": "UNAVAILABLE", "message": "Away.", "fields": {}}}'
    headers: Mapping[str, str] = field(default_factory=dict)
    hang: bool = False
    lose: bool = False


HANG = Answer(hang=True)
LOSE = Answer(lose=True)


@dataclass(slots=True)
class Front:
    """Gives the answers of `script` in turn; afterwards it forwards to `behind`."""

    url: str = ""
    behind: str = ""
    script: list[Answer] = field(default_factory=list)
    requests: list[tuple[str, bytes, dict[str, str]]] = field(default_factory=list)
    arrived: list[float] = field(default_factory=list)  # of time.monotonic, one a request
    end: threading.Event = field(default_factory=threading.Event)

    def keys(self) -> list[str]:
        """Authorization headers that came."""
        return [headers["Authorization"] for _, _, headers in self.requests]

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        self.arrived.append(time.monotonic())
        self.requests.append((f"{handler.command} {handler.path}", body, dict(handler.headers)))
        told = self.script.pop(0) if self.script else None
        if told is None or told.lose:
            found = self._forward(handler, body)
        if told is not None and (told.hang or told.lose):
            self.end.wait(30)
            return
        _write(handler, *(found if told is None else (told.status, told.headers, told.body)))

    def _forward(self, handler: BaseHTTPRequestHandler, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        headers = {name: handler.headers[name] for name in ("Authorization", "Content-Type") if name in handler.headers}
        request = urllib.request.Request(self.behind + handler.path, body or None, headers, method=handler.command)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, {}, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, {}, error.read()


def _write(handler: BaseHTTPRequestHandler, status: int, headers: Mapping[str, str], body: bytes) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


@contextmanager
def running(script: Sequence[Answer] = (), behind: str = "") -> Iterator[Front]:
    """On a port of its own, until the end of the block."""
    front = Front(behind=behind, script=list(script))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            front.answer(self)

        do_POST = do_GET  # noqa: N815 - its name

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    front.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield front
    finally:
        front.end.set()
        server.shutdown()
        server.server_close()  # waits for the handlers' threads
        thread.join()
