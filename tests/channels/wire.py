"""Small real servers on loopback that answer, or fail to, exactly as a test says."""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.parser import BytesParser
from itertools import takewhile
from typing import TypeVar

LINGER_ZERO = struct.pack("ii", 1, 0)  # closing then sends RST in place of FIN
DEADLINE = 20.0

_ServerT = TypeVar("_ServerT", bound="_Server")


@dataclass(frozen=True)
class Call:
    """A request that arrived; `port` is the caller's, so it names the connection."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    port: int


class _Server(socketserver.ThreadingTCPServer):
    request_queue_size = 128

    def __init__(self, handler: type[socketserver.BaseRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.released = threading.Event()

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class Wire(_Server):
    """An HTTP server. `act` is what it does with each request, `calls` what arrived."""

    def __init__(self) -> None:
        super().__init__(HttpHandler)
        self.act: Act = answer(200)
        self.calls: list[Call] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class HttpHandler(socketserver.StreamRequestHandler):
    server: Wire

    def handle(self) -> None:
        while (start := self.rfile.readline()) and self._serve(start):
            pass

    def _serve(self, start: bytes) -> bool:
        lines = takewhile(bytes.strip, self.rfile)  # ends at an empty line, or with the connection
        headers = dict(BytesParser().parsebytes(b"".join(lines)).items())
        body = self.rfile.read(int(headers.get("Content-Length", 0)))
        self.call = Call(start.split()[1].decode(), headers, body, self.client_address[1])
        self.server.calls.append(self.call)
        return self.server.act(self)


Act = Callable[[HttpHandler], bool]  # whether the connection stays open


def answer(status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Act:
    def act(handler: HttpHandler) -> bool:
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        handler.wfile.write("\r\n".join([*lines, "", ""]).encode() + body)
        return True

    return act


def echo(handler: HttpHandler) -> bool:
    """Answers with the request's path as the body."""
    return answer(200, handler.call.path.encode())(handler)


def reset(handler: HttpHandler) -> bool:
    """The request was read, then RST."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
    handler.connection.close()
    return False


def hang_up(handler: HttpHandler) -> bool:
    """The request was read, then FIN."""
    return False


def stop_half_way(handler: HttpHandler) -> bool:
    handler.wfile.write(b'HTTP/1.1 201 X\r\nContent-Length: 1000\r\n\r\n{"sid": ')
    return False


def never_answer(handler: HttpHandler) -> bool:
    handler.server.released.wait(DEADLINE)
    return False


@contextmanager
def running(server: _ServerT) -> Iterator[_ServerT]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()  # waits for the handlers
        thread.join()


@contextmanager
def deaf() -> Iterator[str]:
    """The address of a server whose queue of connections is full: a further one is never answered."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        callers = [socket.socket() for _ in range(4)]
        for caller in callers:
            caller.setblocking(False)
            caller.connect_ex(server.getsockname())
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            for caller in callers:
                caller.close()


def unused() -> str:
    """An address where nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


@dataclass
class Mailbox:
    """What an SMTP server took: the envelope's recipient and the mail."""

    recipient: str
    mail: bytes


@dataclass
class Replies:
    """An SMTP server's replies by command ("END" is the end of the mail); a command in `cut` gets none, but FIN.

    A list of replies is given out one at a time, then the usual one follows.
    """

    by_command: dict[str, deque[str]] = field(default_factory=dict)
    cut: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)
    login: bool = False

    def set(self, command: str, *replies: str) -> None:
        self.by_command[command] = deque(replies)

    def get(self, command: str) -> str:
        queue = self.by_command.get(command)
        return queue.popleft() if queue else USUAL.get(command, "250 ok")


USUAL = {"HELLO": "220 ready", "DATA": "354 go on", "QUIT": "221 bye", "AUTH": "235 ok"}


class Smtp(_Server):
    """An SMTP server as far as a client that sends needs one."""

    def __init__(self) -> None:
        super().__init__(_SmtpHandler)
        self.replies = Replies()
        self.mails: list[Mailbox] = []
        self.connections = 0


class _SmtpHandler(socketserver.StreamRequestHandler):
    server: Smtp

    def handle(self) -> None:
        self.server.connections += 1
        self._recipient = ""
        if self._reply("HELLO"):
            while (line := self.rfile.readline()) and self._serve(line.decode().strip()):
                pass

    def _serve(self, line: str) -> bool:
        command = line.split(" ", maxsplit=1)[0].upper()
        if command == "EHLO" and self.server.replies.login:
            self.wfile.write(b"250-hello\r\n250 AUTH PLAIN\r\n")
            return True
        if command == "RCPT":
            self._recipient = line.partition("<")[2].partition(">")[0]
        if command == "DATA":
            return self._take()
        return self._reply(command) and command != "QUIT"

    def _take(self) -> bool:
        refused = "DATA" in self.server.replies.by_command
        if not self._reply("DATA") or refused:
            return refused
        mail = b"".join(takewhile(lambda line: line != b".\r\n", self.rfile))
        # kept before the answer, as a server does that accepts and then loses the connection
        self.server.mails.append(Mailbox(self._recipient, mail))
        return self._reply("END")

    def _reply(self, command: str) -> bool:
        if command in self.server.replies.silent:
            self.server.released.wait(DEADLINE)
            return False
        if command in self.server.replies.cut:
            return False
        self.wfile.write(self.server.replies.get(command).encode() + b"\r\n")
        return True


def never() -> threading.Event:
    """An event that nobody sets."""
    return threading.Event()
