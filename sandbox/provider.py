"""What the three providers have in common: read a call, misbehave if told to, check it, keep its messages."""

from __future__ import annotations

import base64
import json
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import Response

from sandbox.faults import Cut, Fault, Faults
from sandbox.store import Message, Store

IDEMPOTENCY_HEADERS = ("idempotency-key", "i-twilio-idempotency-token", "x-idempotency-key")
HEADERS_OF_INTEREST = ("user-agent", "content-type", "traceparent", *IDEMPOTENCY_HEADERS)
REMEMBERED_ANSWERS = 10_000


class Refusal(Exception):  # noqa: N818 - it is an answer, not a mistake of ours
    """The provider does not take the call; `answer` says so in its own words."""

    def __init__(self, answer: Response) -> None:
        super().__init__(answer.status_code)
        self.answer = answer


class Provider:
    """One service. The flow is `receive`; a service says how it reads, checks, accepts and complains."""

    name: ClassVar[str]
    accepted_status: ClassVar[int]

    def __init__(self) -> None:
        self._answers: OrderedDict[str, Response] = OrderedDict()

    def read(self, request: Request, body: bytes) -> tuple[Any, list[Message]]:
        """The parsed body, and the messages in it so far as they can be made out. Never raises."""
        raise NotImplementedError

    def check(self, request: Request, call: Any) -> None:
        """Raise Refusal for what the service would not take."""
        raise NotImplementedError

    def accept(self, messages: list[Message], reference: str) -> Response:
        """The answer to a good call, whose messages are kept by now; `reference` names it."""
        raise NotImplementedError

    def complain(self, status: int, code: str = "") -> Response:
        """The service's error body for a status, with the code it gives by default."""
        raise NotImplementedError

    def reference(self) -> str:
        """A new name for an accepted call, as the service makes them."""
        return secrets.token_urlsafe(16)

    async def receive(self, request: Request) -> Response:
        """The endpoint: the service's answer, or what the fault in force makes of it."""
        faults: Faults = request.app.state.faults
        call, messages = self.read(request, await request.body())
        fault = faults.strike(self.name, {message.to for message in messages})
        if fault is None:
            return self._answer(request, call, messages)
        if fault.mode == "latency":
            await request.app.state.store.pause(fault.latency)
        if fault.accepts:
            answer = self._answer(request, call, messages)
            return answer if fault.mode == "latency" else self.spoil(fault)
        request.app.state.store.add(messages, accepted=False, status=_status(fault))
        return self.spoil(fault)

    def _answer(self, request: Request, call: Any, messages: list[Message]) -> Response:
        store: Store = request.app.state.store
        key = idempotency_key(request)
        if request.app.state.faults.deduplicate and key in self._answers:
            return self._answers[key]
        try:
            self.check(request, call)
        except Refusal as refusal:
            store.add(messages, accepted=False, status=refusal.answer.status_code)
            return refusal.answer
        reference = self.reference()
        named = [replace(message, provider_message_id=reference) for message in messages]
        answer = self.accept(store.add(named, accepted=True, status=self.accepted_status), reference)
        if key:
            self._remember(key, answer)
        return answer

    def _remember(self, key: str, answer: Response) -> None:
        self._answers[key] = answer
        if len(self._answers) > REMEMBERED_ANSWERS:
            self._answers.popitem(last=False)

    def spoil(self, fault: Fault) -> Response:
        """What the caller gets in place of an answer."""
        if fault.mode in ("reset", "accept_then_drop"):
            return Cut()
        if fault.mode == "timeout":
            return Cut(after=fault.latency or None)
        answer = self.complain(_status(fault), fault.code)
        if fault.retry_after is not None:
            answer.headers["Retry-After"] = f"{fault.retry_after:g}"
        return answer


def _status(fault: Fault) -> int:
    """The status that a fault answers with; 0 where there is no answer."""
    return {"status": fault.status, "rate_limit": 429}.get(fault.mode, 0)


def idempotency_key(request: Request) -> str:
    return next((request.headers[name] for name in IDEMPOTENCY_HEADERS if name in request.headers), "")


def number(value: str) -> int | None:
    """The number of an attempt, None for anything else."""
    return int(value) if value.isdecimal() else None


def envelope(request: Request) -> dict[str, Any]:
    """The fields of a Message that come from the request itself."""
    headers = {name: request.headers[name] for name in HEADERS_OF_INTEREST if name in request.headers}
    return {"headers": headers, "idempotency_key": idempotency_key(request)}


def bearer(request: Request) -> str:
    """The bearer token of a request; empty without one."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def basic(request: Request) -> tuple[str, str]:
    """User and password of a request; both empty without them."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    try:
        user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:
        return "", ""
    return (user, password) if scheme.lower() == "basic" else ("", "")


def decode(body: bytes) -> Any:
    """A JSON body, None where it is none."""
    try:
        return json.loads(body)
    except ValueError:
        return None


def texts(value: Any) -> Mapping[str, str]:
    """An object whose values are read as texts; empty for anything else."""
    return {str(key): str(item) for key, item in value.items()} if isinstance(value, dict) else {}


def text(value: Any, *path: str) -> str:
    """The text at a path of keys; empty where the path breaks off."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, str) else ""
