"""Carries the providers' HTTP calls, many at once, over connections that are kept.

Opening a TLS connection a message costs more than the message. libcurl carries them, at a sixth of the CPU of an
event loop with a client in Python (docs/decisions.md). What can go wrong on the wire is told apart here, once.
"""

from __future__ import annotations

import email.utils
import io
import json
import math
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, TypeAlias

import certifi
import pycurl
from multidict import CIMultiDict

from channels.errors import (
    ChannelError,
    CredentialsRejected,
    MessageRejected,
    OutcomeUnknown,
    ProviderUnavailable,
    RateLimited,
)

CONCURRENCY = 100  # calls of one post_all under way at once: the largest slice of HTTP calls, so that none of it waits
TIMEOUT = 5.0  # seconds a call may take in all
CONNECT_TIMEOUT = 2.0  # seconds of them for the name, the connection and TLS
# Seconds an idle connection is kept: less than any server keeps it (uvicorn's 5 s is the shortest we meet). A
# request on a connection that the other side is just closing would end with an outcome that nobody knows.
KEEP_ALIVE = 4
LONGEST_REST = 1.0  # seconds between two looks at the calls, whatever libcurl says
SHORTEST_REST = 0.001  # seconds, while a name is looked up and there may be no socket to wait for

# nothing is asked of the environment: a proxy, a .netrc; and no header comes that nobody asked for
_UNWANTED = ("Expect:", "Accept:")
_ALWAYS = (
    (pycurl.NOSIGNAL, 1),
    (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
    (pycurl.MAXAGE_CONN, KEEP_ALIVE),
    (pycurl.PROXY, ""),
    (pycurl.USERAGENT, "Notifier"),
    (pycurl.CAINFO, certifi.where()),
)
_NAMES = {
    value: name.removeprefix("E_")
    for name, value in vars(pycurl).items()
    if name.startswith("E_") and not name.startswith("E_MULTI_")
}


@dataclass(frozen=True, slots=True)
class Request:
    """One call. `timeout` is in seconds, connecting included; the body is already encoded."""

    url: str
    headers: Mapping[str, str] = field(repr=False)  # credentials
    body: bytes = field(default=b"", repr=False)  # personal data
    method: str = "POST"
    timeout: float = TIMEOUT


@dataclass(frozen=True, slots=True)
class Response:
    """The provider's answer, whatever its status. `headers` are looked up without regard to case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        """The body as a JSON object; empty when it is anything else."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


Answer: TypeAlias = Response | ChannelError


def post_all(requests: Sequence[Request]) -> list[Answer]:
    """Send the requests concurrently; one answer a request, in their order.

    A ChannelError in a request's place says that there was no answer: ProviderUnavailable when it surely did
    not go out, OutcomeUnknown when it may have.
    """
    return _carrier().run(requests) if requests else []


def post(request: Request) -> Answer:
    """post_all for a single request."""
    return post_all([request])[0]


def close() -> None:
    """Close this thread's connections. The next call starts anew."""
    if carrier := _mine.__dict__.pop("carrier", None):
        carrier.close()


class _Call:
    """A request under way: what libcurl takes of it and what has come back."""

    __slots__ = ("answer", "body", "lines", "request")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.lines: list[bytes] = []  # of the answer's head
        self.body: list[bytes] = []
        self.answer: Answer

    def configure(self, curl: pycurl.Curl) -> None:
        """Raises what says that such a request cannot be made."""
        request = self.request
        curl.reset()
        curl.setopt(pycurl.URL, request.url)
        curl.setopt(pycurl.HTTPHEADER, [*_lines(request.headers), *_UNWANTED])
        curl.setopt(pycurl.TIMEOUT_MS, max(1, round(1000 * request.timeout)))
        curl.setopt(pycurl.CONNECTTIMEOUT_MS, max(1, round(1000 * min(CONNECT_TIMEOUT, request.timeout / 2))))
        for option, value in _ALWAYS:
            curl.setopt(option, value)
        if request.method == "POST":
            # Read by a function, as that cannot be rewound: where a kept connection breaks before the answer, libcurl
            # sends a text anew on another one, and the provider may have both
            curl.setopt(pycurl.POST, 1)
            curl.setopt(pycurl.POSTFIELDSIZE_LARGE, len(request.body))
            curl.setopt(pycurl.READFUNCTION, io.BytesIO(request.body).read)
        curl.setopt(pycurl.HEADERFUNCTION, self.lines.append)
        curl.setopt(pycurl.WRITEFUNCTION, self.body.append)

    def succeeded(self, curl: pycurl.Curl) -> None:
        self.answer = Response(curl.getinfo(pycurl.RESPONSE_CODE), _headers(self.lines), b"".join(self.body))

    def failed(self, curl: pycurl.Curl, code: int) -> None:
        # https://curl.se/libcurl/c/CURLINFO_REQUEST_SIZE.html (2026-11-25): what was sent of it, by all its connections
        if curl.getinfo(pycurl.REQUEST_SIZE):
            self.answer = OutcomeUnknown(f"no answer: {_name(code)}")
        else:
            self.answer = _unconnected(_name(code))


class _Carrier:
    """One thread's calls. libcurl's connections stay with it, and its handles are used again."""

    def __init__(self) -> None:
        self._multi = pycurl.CurlMulti()
        self._idle: list[pycurl.Curl] = []
        self._under_way: dict[pycurl.Curl, _Call] = {}

    def run(self, requests: Sequence[Request]) -> list[Answer]:
        """An interruption of the wait (a task's time limit) cancels what is under way."""
        calls = [_Call(request) for request in requests]
        waiting = iter(calls)
        try:
            while self._start(waiting):
                self._multi.perform()
                if not self._collect():
                    self._rest()
        finally:
            self._cancel()
        return [call.answer for call in calls]

    def close(self) -> None:
        for curl in self._idle:
            curl.close()
        self._multi.close()

    def _start(self, waiting: Iterator[_Call]) -> bool:
        """Fill the free places; whether anything is under way."""
        while len(self._under_way) < CONCURRENCY and (call := next(waiting, None)):
            curl = self._idle.pop() if self._idle else pycurl.Curl()
            try:
                call.configure(curl)
            except (pycurl.error, ValueError) as error:  # a UnicodeError is one
                call.answer = _unconnected(type(error).__name__)
                self._idle.append(curl)
            else:
                self._under_way[curl] = call
                self._multi.add_handle(curl)
        return bool(self._under_way)

    def _collect(self) -> bool:
        """Take the answers that are there; whether there were any."""
        left, succeeded, failed = self._multi.info_read(CONCURRENCY)
        for curl in succeeded:
            self._end(curl).succeeded(curl)
        for curl, code, _ in failed:
            self._end(curl).failed(curl, code)
        return bool(succeeded or failed or left)

    def _end(self, curl: pycurl.Curl) -> _Call:
        self._multi.remove_handle(curl)
        self._idle.append(curl)
        return self._under_way.pop(curl)

    def _rest(self) -> None:
        """Until a socket has something, or libcurl wants to look at the time."""
        until = self._multi.timeout()  # ms; -1: whenever
        wait = LONGEST_REST if until < 0 else min(until / 1000, LONGEST_REST)
        if self._multi.select(wait) < 0:  # no socket: it has not waited, and a loop without a rest would take a core
            time.sleep(min(wait, SHORTEST_REST))

    def _cancel(self) -> None:
        for curl in self._under_way:
            self._multi.remove_handle(curl)
            curl.close()
        self._under_way.clear()


_mine = threading.local()
_inherited: list[_Carrier] = []


def _carrier() -> _Carrier:
    if not hasattr(_mine, "carrier"):
        _mine.carrier = _Carrier()
    found: _Carrier = _mine.carrier
    return found


def _leave_to_parent() -> None:
    """In a forked child the sockets are the parent's. Its carrier is kept, unused: collecting it would close them."""
    if carrier := _mine.__dict__.pop("carrier", None):
        _inherited.append(carrier)


os.register_at_fork(after_in_child=_leave_to_parent)


def _lines(headers: Mapping[str, str]) -> list[str]:
    lines = [f"{name}: {value}" for name, value in headers.items()]
    if any("\n" in line or "\r" in line for line in lines):
        raise ValueError("a header has a line break")
    return lines


def _headers(lines: Iterable[bytes]) -> CIMultiDict[str]:
    """Of an answer's head; the last one's, where a 100 came before."""
    found: CIMultiDict[str] = CIMultiDict()
    for line in lines:
        name, colon, value = line.decode("latin-1").partition(":")
        if colon:
            found.add(name.strip(), value.strip())
        elif name.startswith("HTTP/"):
            found.clear()
    return found


def _unconnected(why: str) -> ProviderUnavailable:
    return ProviderUnavailable(f"no connection: {why}")


def _name(code: int) -> str:
    """libcurl's name of an error: OPERATION_TIMEDOUT."""
    return _NAMES.get(code, f"libcurl's error {code}")


# RFC 9110, section 15, as of June 2022 (425: RFC 8470, 429: RFC 6585); docs/errors.md shows every table together.
_BY_STATUS: Mapping[int, type[ChannelError]] = {
    401: CredentialsRejected,
    402: CredentialsRejected,  # the account has to pay
    403: CredentialsRejected,
    404: CredentialsRejected,  # no such account or project, or not the provider's address: it concerns no recipient
    405: CredentialsRejected,  # as 404
    407: CredentialsRejected,
    408: ProviderUnavailable,  # our request did not arrive whole
    425: ProviderUnavailable,  # not even begun
    429: RateLimited,
    503: ProviderUnavailable,
}


def error_class(status: int) -> type[ChannelError]:
    """What an HTTP status other than 2xx means, unless the provider's own code says better."""
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return OutcomeUnknown
    if status >= HTTPStatus.BAD_REQUEST:
        return MessageRejected
    return ProviderUnavailable  # a redirection: whatever answers at this address, it is not the provider


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by the Retry-After header, given as seconds or as an HTTP date; None without one."""
    value = headers.get("Retry-After", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        return _seconds_until(value)
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _seconds_until(date: str) -> float | None:
    try:
        moment = email.utils.parsedate_to_datetime(date)
    except ValueError:
        return None
    if moment.tzinfo is None:  # "-0000" means UTC of an unknown place
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
