"""Carries the providers' HTTP calls: one event loop in a thread of its own and one pooled session a process.

Opening a TLS connection a message costs more than the message, so connections are kept. Everything is made on
the first call and made anew in a forked child. What can go wrong on the wire is told apart here, once.
"""

from __future__ import annotations

import asyncio
import atexit
import email.utils
import json
import math
import os
import threading
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, TypeAlias, TypeVar

import aiohttp

from channels.errors import (
    ChannelError,
    CredentialsRejected,
    MessageRejected,
    OutcomeUnknown,
    ProviderUnavailable,
    RateLimited,
)

CONCURRENCY = 50  # calls of one post_all under way at once: a slice of the engine, so that none of it waits
TIMEOUT = 5.0  # seconds a call may take in all
CONNECT_TIMEOUT = 2.0  # seconds of them for the name, the connection and TLS
# Seconds an idle connection is kept: less than any server keeps it (uvicorn's 5 s is the shortest we meet). A
# request on a connection that the other side is just closing would end with an outcome that nobody knows.
KEEP_ALIVE = 4.0
CLOSE_TIMEOUT = 2.0

_T = TypeVar("_T")


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
    return _get_carrier().run(_post_all(_get_carrier(), requests)) if requests else []


def post(request: Request) -> Answer:
    """post_all for a single request."""
    return post_all([request])[0]


def close() -> None:
    """Close the connections and end the thread. The next call starts anew."""
    global _carrier
    with _lock:
        carrier, _carrier = _carrier, None
    if carrier:
        carrier.close()


class _Carrier:
    """The loop in its thread, and the session that lives in it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="provider-http", daemon=True)
        self._thread.start()
        self.session = self.run(self._open())

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run in the loop and wait. An interruption of the wait (a task's time limit) cancels the work."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        finally:
            future.cancel()

    def close(self) -> None:
        closing = asyncio.run_coroutine_threadsafe(self.session.close(), self._loop)
        with suppress(TimeoutError):
            closing.result(CLOSE_TIMEOUT)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSE_TIMEOUT)
        self._loop.close()

    @staticmethod
    async def _open() -> aiohttp.ClientSession:
        # CONCURRENCY bounds the connections. A limit here would count waiting for a free one as connecting.
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE)
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


_lock = threading.Lock()
_carrier: _Carrier | None = None
_inherited: list[_Carrier] = []


def _get_carrier() -> _Carrier:
    global _carrier  # noqa: PLW0603
    with _lock:
        if _carrier is None:
            _carrier = _Carrier()
        return _carrier


def _leave_to_parent() -> None:
    """In a forked child the thread is gone and the sockets are the parent's.

    The parent's carrier is kept here, unused: if it were collected, its connections would be closed through
    the selector that parent and child still share.
    """
    global _carrier, _lock
    if _carrier:
        _inherited.append(_carrier)
    _carrier, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_leave_to_parent)
atexit.register(close)


async def _post_all(carrier: _Carrier, requests: Sequence[Request]) -> list[Answer]:
    places = asyncio.Semaphore(CONCURRENCY)

    async def post_one(request: Request) -> Answer:
        async with places:
            return await _post(carrier.session, request)

    return await asyncio.gather(*map(post_one, requests))


async def _post(session: aiohttp.ClientSession, request: Request) -> Answer:
    connect = min(CONNECT_TIMEOUT, request.timeout / 2)
    timeout = aiohttp.ClientTimeout(total=request.timeout, connect=connect, sock_connect=connect)
    try:
        async with session.request(
            request.method,
            request.url,
            data=request.body,
            headers=request.headers,
            timeout=timeout,
            allow_redirects=False,
        ) as response:
            return Response(response.status, response.headers, await response.read())
    except Exception as error:  # noqa: BLE001 - nothing may be raised for a message; the class says what is known
        return unanswered(error)


def unanswered(error: Exception) -> ChannelError:
    """What a failure without an answer means: only one to connect is surely not sent."""
    # A connection that was never made, and a URL that is none. InvalidURL is also a ValueError.
    if isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL)):
        return ProviderUnavailable(f"no connection: {type(error).__name__}")
    return OutcomeUnknown(f"no answer: {type(error).__name__}")


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
