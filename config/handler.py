"""How the web process gives its requests to threads."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest, HttpResponseBase

KEPT_THREADS = 20  # idle ones; a request never waits for a thread


class ThreadKeepingHandler(ASGIHandler):
    """Django's handler, but a request is answered within one thread, and the thread serves others after it.

    Django's own makes a thread for each request and goes to it and back for each middleware, which costs four times
    as much as an empty view of the REST framework. Views may still be async: they run in the event loop.
    """

    def __init__(self) -> None:
        super().__init__()
        self._idle: list[ThreadPoolExecutor] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise ValueError(f"Only HTTP is spoken here, not {scope['type']}.")
        with self._thread() as thread:
            async with ThreadSensitiveContext(executor=thread):
                await self.handle(scope, receive, send)

    def load_middleware(self, is_async: bool = False) -> None:  # noqa: ARG002 - Django's signature
        super().load_middleware(is_async=False)

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        return await sync_to_async(self.get_response)(request)

    @contextmanager
    def _thread(self) -> Iterator[ThreadPoolExecutor]:
        """The one that was idle last, or a new one."""
        thread = self._idle.pop() if self._idle else ThreadPoolExecutor(1, "request")
        try:
            yield thread
        finally:
            # by its own hand: when the caller hung up, a view may still be running in it
            thread.submit(self._keep, thread)

    def _keep(self, thread: ThreadPoolExecutor) -> None:
        if len(self._idle) < KEPT_THREADS:
            self._idle.append(thread)
        else:
            thread.shutdown(wait=False)
