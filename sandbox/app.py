"""A stand-in for SendGrid, Twilio and FCM on loopback: `python -m uvicorn sandbox.app:app --port 9000`.

It answers as they do, keeps what arrived, misbehaves on request (PUT /faults), and shows messages at / as a
person would see them. Memory is bounded: SANDBOX_CAPACITY messages, the newest SANDBOX_BODIES of them whole.

SANDBOX_LOG names a file that is a tool for tests: to it every accepted message is appended, before its answer goes
out, as a line of JSON: provider, channel, deliveryId, attempt (null where none was passed), eventType, to, at
(milliseconds since 1970), providerMessageId.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from sandbox import credentials, faults, google, messages, shop, store, transport
from sandbox.fcm import Fcm
from sandbox.sendgrid import SendGrid
from sandbox.store import Store
from sandbox.twilio import Twilio

PAGES = Path(__file__).parent / "pages"
# the pages are self-contained; nothing that a message carries can load or run anything in them
PAGE_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)


class Front:
    """Leads the calls of which there are very many past Starlette, whose routing and middleware cost more than they.

    `shortcuts`: path of a POST → the application that answers it, and the path's parameters.

    It also puts the connection's transport into the ASGI scope, where faults that cut it find it.
    """

    def __init__(self, app: Starlette, shortcuts: Mapping[str, tuple[ASGIApp, Mapping[str, str]]]) -> None:
        self.app = app
        self._shortcuts = shortcuts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["transport"] = transport.of(send)
        shortcut = self._shortcuts.get(scope["path"]) if scope.get("method") == "POST" else None
        if shortcut is None:
            await self.app(scope, receive, send)
        else:
            endpoint, scope["path_params"] = shortcut
            scope["app"] = self.app
            await endpoint(scope, receive, send)


def page(name: str) -> Route:
    """The route of a page of sandbox/pages; read per request, so that a change shows after a reload."""

    async def show(request: Request) -> Response:  # noqa: ARG001 - Starlette's shape
        devices = (PAGES / "devices.html").read_text("utf-8")
        html = (PAGES / f"{name}.html").read_text("utf-8").replace("<!-- devices -->", devices)
        return HTMLResponse(html, headers={"Content-Security-Policy": PAGE_POLICY, "Cache-Control": "no-store"})

    return Route("/" if name == "index" else f"/{name}", show)


def create_app(environment: Mapping[str, str]) -> ASGIApp:
    """The sandbox with a store and faults of its own; `environment` as here and in sandbox.shop."""
    sendgrid, twilio, fcm = SendGrid(), Twilio(), Fcm()
    account = "/2010-04-01/Accounts/{account}"
    app = Starlette(
        lifespan=_lifespan,
        exception_handlers={HTTPException: _refuse, shop.NotifierError: shop.explain},
        routes=[
            Route("/v3/mail/send", sendgrid, methods=["POST"]),
            Route(f"{account}/Messages.json", twilio, methods=["POST"]),
            Route("/v1/projects/{project}/messages:send", fcm, methods=["POST"]),
            Route(f"{account}/Messages.json", twilio.listing, methods=["GET"]),
            Route(f"{account}/Messages/{{message}}.json", twilio.fetch),
            Route(f"{account}.json", twilio.account),
            Route("/v3/scopes", sendgrid.scopes),
            page("index"),
            page("shop"),
            *shop.ROUTES,
            Route("/token", google.exchange, methods=["POST"]),
            Route("/faults", faults.put, methods=["PUT"]),
            Route("/faults", faults.listing, methods=["GET"]),
            Route("/faults", faults.clear, methods=["DELETE"]),
            Route("/messages", messages.listing, methods=["GET"]),
            Route("/messages", messages.clear, methods=["DELETE"]),
            Route("/rates", messages.rates),
            Route("/messages/stream", messages.stream),
            Route("/messages/{id}/html", messages.html),
        ],
    )
    log = environment.get("SANDBOX_LOG", "")
    app.state.store = Store(
        Path(log) if log else None,
        int(environment.get("SANDBOX_CAPACITY") or store.CAPACITY),
        int(environment.get("SANDBOX_BODIES") or store.BODIES),
    )
    app.state.faults = faults.Faults()
    app.state.shop = shop.Shop(environment)
    return Front(app, _shortcuts(sendgrid, twilio, fcm))


def _shortcuts(sendgrid: SendGrid, twilio: Twilio, fcm: Fcm) -> dict[str, tuple[ASGIApp, Mapping[str, str]]]:
    """Our own account's and project's paths; with any other account a call is refused, in its own time."""
    account, project = credentials.TWILIO_ACCOUNT_SID, credentials.FCM_PROJECT_ID
    return {
        "/v3/mail/send": (sendgrid, {}),
        f"/2010-04-01/Accounts/{account}/Messages.json": (twilio, {"account": account}),
        f"/v1/projects/{project}/messages:send": (fcm, {"project": project}),
    }


async def _refuse(request: Request, error: Exception) -> Response:  # noqa: ARG001 - Starlette's shape
    status = error.status_code if isinstance(error, HTTPException) else 500
    message = error.detail if isinstance(error, HTTPException) else "error"
    return JSONResponse({"error": {"code": "BAD_REQUEST", "message": message, "fields": {}}}, status)


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncGenerator[None, None]:
    _close_streams_on_exit(app.state.store)
    yield
    await app.state.shop.close()
    app.state.store.close()


def _close_streams_on_exit(store: Store) -> None:
    """End the open streams when the process is told to stop: uvicorn waits for them, and they never end."""
    if threading.current_thread() is not threading.main_thread():
        return  # only the main thread may set handlers; a test's server in a thread is stopped by its test
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        server = signal.getsignal(number)

        def stop(number: int, frame: FrameType | None, server: object = server) -> None:
            loop.call_soon_threadsafe(store.stop)
            if callable(server):
                server(number, frame)

        signal.signal(number, stop)


app = create_app(os.environ)
