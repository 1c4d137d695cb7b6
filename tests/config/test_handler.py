"""The web process's threads, by requests as a server hands them to the application."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from django.core import signals
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path
from pytest_django.fixtures import Settings

from config.handler import ThreadKeepingHandler

MEETING = threading.Barrier(2, timeout=10)
ENTERED, LEAVE = threading.Event(), threading.Event()


def where(_request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(threading.get_ident()))


def meet(request: HttpRequest) -> HttpResponse:
    """Answers once two requests are in it."""
    MEETING.wait()
    return where(request)


def linger(request: HttpRequest) -> HttpResponse:
    ENTERED.set()
    LEAVE.wait(10)
    return where(request)


async def streamed(_request: HttpRequest) -> StreamingHttpResponse:
    async def parts() -> AsyncIterator[str]:
        yield "in the event loop: "
        await asyncio.sleep(0)
        yield str(threading.get_ident())

    return StreamingHttpResponse(parts())


urlpatterns = [
    path("where", where),
    path("meet", meet),
    path("linger", linger),
    path("streamed", streamed),
]


@pytest.fixture
def handler(settings: Settings) -> ThreadKeepingHandler:
    settings.ROOT_URLCONF = __name__
    settings.WHITENOISE_AUTOREFRESH = True
    return ThreadKeepingHandler()


async def get(handler: ThreadKeepingHandler, name: str, hang_up: asyncio.Event | None = None) -> str:
    """The answer's body; without one when the caller hung up before."""
    body: list[bytes] = []
    waiting = [{"type": "http.request", "body": b""}]

    async def receive() -> dict[str, Any]:
        if waiting:
            return waiting.pop()
        await (hang_up or asyncio.Event()).wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        body.append(message.get("body", b""))

    scope = {"type": "http", "method": "GET", "path": f"/{name}", "query_string": b"", "headers": [(b"host", b"x")]}
    await handler(scope, receive, send)
    return b"".join(body).decode()


def test_a_request_stays_in_one_thread_which_serves_the_next(handler: ThreadKeepingHandler) -> None:
    seen: list[str] = []

    def note(**_: object) -> None:
        seen.append(str(threading.get_ident()))

    async def two() -> None:
        for _ in range(2):
            seen.append(await get(handler, "where"))
            await asyncio.sleep(0.01)  # the thread reports back on its own

    for signal in (signals.request_started, signals.request_finished):
        signal.connect(note)
    try:
        asyncio.run(two())
    finally:
        for signal in (signals.request_started, signals.request_finished):
            signal.disconnect(note)
    assert len(seen) == 6
    assert len(set(seen)) == 1


def test_requests_do_not_wait_for_each_other(handler: ThreadKeepingHandler) -> None:
    async def both() -> tuple[str, str]:
        return await asyncio.gather(get(handler, "meet"), get(handler, "meet"))

    assert len(set(asyncio.run(both()))) == 2


def test_a_thread_that_is_left_busy_serves_nobody(handler: ThreadKeepingHandler) -> None:
    """The caller hung up, and the view does not know."""

    async def hang_up_and_ask() -> str:
        hang_up = asyncio.Event()
        left = asyncio.create_task(get(handler, "linger", hang_up))
        await asyncio.to_thread(ENTERED.wait, 10)
        hang_up.set()
        async with asyncio.timeout(5):
            answer = await get(handler, "where")
        LEAVE.set()
        await left
        return answer

    assert asyncio.run(hang_up_and_ask())


def test_an_async_view_streams_from_the_event_loop(handler: ThreadKeepingHandler) -> None:
    assert asyncio.run(get(handler, "streamed")) == f"in the event loop: {threading.get_ident()}"


def test_only_http_is_spoken(handler: ThreadKeepingHandler) -> None:
    with pytest.raises(ValueError, match="websocket"):
        asyncio.run(handler({"type": "websocket"}, None, None))
