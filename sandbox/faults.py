"""Misbehaviour on request: which provider fails next, how, and how often."""

from __future__ import annotations

import asyncio
import http
import os
import random
import socket
import struct
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, get_type_hints

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

PROVIDERS = ("sendgrid", "twilio", "fcm", "google")
OPERATIONS = ("create", "list", "all")
MODES = ("status", "latency", "timeout", "reset", "rate_limit", "accept_then_drop")
LINGER_ZERO = struct.pack("ii", 1, 0)  # closing then sends RST in place of FIN


@dataclass(slots=True)
class Fault:
    """How a provider misbehaves, for one address or (empty) for all.

    `mode`: `status` answers with that status; `rate_limit` with 429 and `retry_after` (seconds) as
    Retry-After; `latency` answers rightly after `latency` seconds; `timeout` never answers (with `latency`:
    cuts then); `reset` cuts the connection; `accept_then_drop` takes the message and then cuts. `accept`
    makes `status` and `timeout` take the message too, which the caller cannot know. `error_rate` (0 to 1) is
    the share of calls hit, `times` the number of hits after which it heals, `code` the provider's own error
    code. `operation`: which calls, those that `create` a message, Twilio's that `list` them, or `all`.
    """

    provider: str
    mode: str = "status"
    address: str = ""
    status: int = 503
    error_rate: float = 1.0
    times: int | None = None
    latency: float = 0.0
    retry_after: float | None = None
    code: str = ""
    accept: bool = False
    operation: str = "create"

    @property
    def accepts(self) -> bool:
        return self.accept or self.mode in ("latency", "accept_then_drop")

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in FIELDS}


FIELDS = get_type_hints(Fault)


class Faults:
    """The faults in force, one per provider, address and operation.

    An address's own goes before its provider's, and one for the operation before one for all.
    """

    def __init__(self) -> None:
        self._faults: dict[tuple[str, str, str], Fault] = {}
        self.deduplicate = False

    def put(self, fault: Fault) -> None:
        self._faults[fault.provider, fault.address, fault.operation] = fault

    def get(self, provider: str) -> Fault | None:
        """The fault of the provider as a whole, where it takes messages."""
        return self._find(provider, ("",), "create")

    def clear(self, provider: str = "") -> None:
        """Heal one provider, or (empty) everything, deduplication included."""
        if not provider:
            self.deduplicate = False
        self._faults = {key: fault for key, fault in self._faults.items() if provider and key[0] != provider}

    def _find(self, provider: str, addresses: Iterable[str], operation: str) -> Fault | None:
        keys = ((provider, address, kind) for address in addresses for kind in (operation, "all"))
        return next((self._faults[key] for key in keys if key in self._faults), None)

    def strike(self, provider: str, addresses: Collection[str], operation: str = "create") -> Fault | None:
        """The fault that hits this call, counted; None for a call that goes well."""
        fault = self._find(provider, (*addresses, ""), operation) if self._faults else None
        if fault is None or random.random() >= fault.error_rate:  # noqa: S311 - chance, not secrecy
            return None
        if fault.times is not None:
            fault.times -= 1
            if fault.times <= 0:
                self._faults.pop((fault.provider, fault.address, fault.operation), None)
        return fault

    def as_json(self) -> dict[str, Any]:
        return {
            "faults": [fault.as_json() for fault in self._faults.values()],
            "deduplicate": self.deduplicate,
        }


def parse(body: Any) -> Fault:
    """A fault from the JSON of PUT /faults; HTTPException 400 that says what is wrong with it."""
    unknown = set(body) - set(FIELDS)
    if unknown:
        raise HTTPException(400, f"unknown field: {', '.join(sorted(unknown))}")
    given = {name: value for name, value in body.items() if value is not None}
    if given.get("provider") not in PROVIDERS:
        raise HTTPException(400, f"provider must be one of {', '.join(PROVIDERS)}")
    try:
        fault = Fault(**{name: _convert(name, value) for name, value in given.items()})
    except (TypeError, ValueError) as error:
        raise HTTPException(400, f"not a fault: {error}") from error
    _check(fault)
    return fault


def _convert(name: str, value: Any) -> Any:
    if name in ("provider", "mode", "address", "code", "operation"):
        return str(value)
    if name == "accept":
        return bool(value)
    return int(value) if name in ("status", "times") else float(value)


def _check(fault: Fault) -> None:
    if fault.mode not in MODES:
        raise HTTPException(400, f"mode must be one of {', '.join(MODES)}")
    if fault.operation not in OPERATIONS:
        raise HTTPException(400, f"operation must be one of {', '.join(OPERATIONS)}")
    if fault.status not in {status.value for status in http.HTTPStatus if status >= 400}:
        raise HTTPException(400, "status must be an HTTP error status")
    if not 0 <= fault.error_rate <= 1:
        raise HTTPException(400, "error_rate must lie between 0 and 1")
    if fault.times is not None and fault.times < 1:
        raise HTTPException(400, "times must be at least 1")
    if fault.latency < 0:
        raise HTTPException(400, "latency must not be negative")


async def put(request: Request) -> Response:
    """PUT /faults: one fault, or {"deduplicate": bool}, or both in one object; answers with all of them."""
    faults: Faults = request.app.state.faults
    try:
        body = await request.json()
    except ValueError as error:
        raise HTTPException(400, "the body is not JSON") from error
    if not isinstance(body, dict) or not body:
        raise HTTPException(400, "the body must be an object with a fault")
    deduplicate = body.pop("deduplicate", None)
    if body:
        faults.put(parse(body))
    if deduplicate is not None:
        faults.deduplicate = bool(deduplicate)
    return JSONResponse(faults.as_json())


async def listing(request: Request) -> Response:
    return JSONResponse(request.app.state.faults.as_json())


async def clear(request: Request) -> Response:
    request.app.state.faults.clear(request.query_params.get("provider", ""))
    return JSONResponse(request.app.state.faults.as_json())


class Cut(Response):
    """No answer at all: the TCP connection reset after `after` seconds, or (None) left to the caller."""

    def __init__(self, after: float | None = 0) -> None:
        super().__init__()
        self.after = after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        gone = asyncio.ensure_future(_gone(receive))
        enough = asyncio.ensure_future(scope["app"].state.store.pause(self.after))
        await asyncio.wait([gone, enough], return_when=asyncio.FIRST_COMPLETED)
        enough.cancel()
        transport = scope["transport"]
        if not gone.done() and transport is not None:
            _linger_zero(transport)
            transport.abort()
        await gone  # the server has noticed; it would answer 500 for us otherwise


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _linger_zero(transport: asyncio.Transport) -> None:
    # uvloop's own socket object knows no setsockopt; a second descriptor of the same connection does
    with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
