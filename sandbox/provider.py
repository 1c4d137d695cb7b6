"""What the three providers have in common: read a call, misbehave if told to, check it, keep its messages."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import orjson
from starlette.datastructures import State
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sandbox import transport
from sandbox.faults import Cut, Fault
from sandbox.store import Message, Store, random_bytes

IDEMPOTENCY_HEADERS = ("idempotency-key", "i-twilio-idempotency-token", "x-idempotency-key")
HEADERS_OF_INTEREST = ("user-agent", "content-type", "traceparent", *IDEMPOTENCY_HEADERS)
READ_HEADERS = {name.encode(): name for name in ("authorization", *HEADERS_OF_INTEREST)}
REMEMBERED_ANSWERS = 10_000


class Refusal(Exception):  # noqa: N818 - it is an answer, not a mistake of ours
    """The provider does not take the call; `answer` says so in its own words."""

    def __init__(self, answer: Response) -> None:
        super().__init__(answer.status_code)
        self.answer = answer


@dataclass(slots=True)  # not frozen: that makes one in four times the time
class Call:
    """What came in: the path's parameters, those of READ_HEADERS that it has, and what `parse` made of the body."""

    path: Mapping[str, str]
    headers: Mapping[str, str]
    content: Any


class Provider:
    """One service: an ASGI application, so that Starlette's objects are made for answers only.

    The flow is `receive`; a service says how it parses, reads, checks, accepts and complains.
    """

    name: ClassVar[str]
    accepted_status: ClassVar[int]

    def __init__(self) -> None:
        self._answers: OrderedDict[str, Response] = OrderedDict()

    def parse(self, body: bytes) -> Any:
        """The body as the service reads it: JSON, unless it says otherwise. Never raises."""
        return decode(body)

    def read(self, call: Call) -> list[Message]:
        """The messages in a call so far as they can be made out. Never raises."""
        raise NotImplementedError

    def check(self, call: Call) -> None:
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
        return urlsafe_b64encode(random_bytes(16)).decode().rstrip("=")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {
            READ_HEADERS[name]: value.decode("latin-1") for name, value in scope["headers"] if name in READ_HEADERS
        }
        call = Call(scope["path_params"], headers, self.parse(await _body(receive)))
        answer = await self.receive(call, scope["app"].state)
        transport.join(send)
        await answer(scope, receive, send)

    async def receive(self, call: Call, state: State) -> Response:
        """The service's answer, or what the fault in force makes of it."""
        messages = self.read(call)
        fault = state.faults.strike(self.name, {message.to for message in messages})
        if fault is None:
            return self._answer(state, call, messages)
        if fault.mode == "latency":
            await state.store.pause(fault.latency)
        if fault.accepts:
            answer = self._answer(state, call, messages)
            return answer if fault.mode == "latency" else self.spoil(fault)
        state.store.add(messages, accepted=False, status=_status(fault))
        return self.spoil(fault)

    def _answer(self, state: State, call: Call, messages: list[Message]) -> Response:
        store: Store = state.store
        key = idempotency_key(call.headers)
        if state.faults.deduplicate and key in self._answers:
            return self._answers[key]
        try:
            self.check(call)
        except Refusal as refusal:
            store.add(messages, accepted=False, status=refusal.answer.status_code)
            return refusal.answer
        reference = self.reference()
        store.add(messages, accepted=True, status=self.accepted_status, provider_message_id=reference)
        answer = self.accept(messages, reference)
        if key:
            self._remember(key, answer)
        return answer

    def _remember(self, key: str, answer: Response) -> None:
        self._answers[key] = answer
        if len(self._answers) > REMEMBERED_ANSWERS:
            self._answers.popitem(last=False)

    async def asked(self, request: Request, answer: Callable[[], Response]) -> Response:
        """The answer to a call that carries no message, or what the fault in force makes of it."""
        fault = request.app.state.faults.strike(self.name, ())
        if fault and fault.mode == "latency":
            await request.app.state.store.pause(fault.latency)
        elif fault:
            return self.spoil(fault)
        return answer()

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


async def _body(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


def _status(fault: Fault) -> int:
    """The status that a fault answers with; 0 where there is no answer."""
    return {"status": fault.status, "rate_limit": 429}.get(fault.mode, 0)


def idempotency_key(headers: Mapping[str, str]) -> str:
    return next((headers[name] for name in IDEMPOTENCY_HEADERS if name in headers), "")


def number(value: str) -> int | None:
    """The number of an attempt, None for anything else."""
    return int(value) if value.isdecimal() else None


def envelope(headers: Mapping[str, str]) -> dict[str, Any]:
    """The fields of a Message that come from the call's headers."""
    kept = {name: headers[name] for name in HEADERS_OF_INTEREST if name in headers}
    return {"headers": kept, "idempotency_key": idempotency_key(headers)}


def login(headers: Mapping[str, str], scheme: str) -> str:
    """What the Authorization header holds for a scheme (`bearer`, `basic`), still encoded; empty without it."""
    given, _, value = headers.get("authorization", "").partition(" ")
    return value.strip() if given.lower() == scheme else ""


def decode(body: bytes) -> Any:
    """A JSON body, None where it is none."""
    try:
        return orjson.loads(body)
    except ValueError:
        return None


def texts(value: Any) -> Mapping[str, str]:
    """An object whose values are read as texts; empty for anything else."""
    if not isinstance(value, dict):
        return {}
    if all_texts(value.values()):  # as nearly always
        return value
    return {str(key): str(item) for key, item in value.items()}


def all_texts(values: Iterable[Any]) -> bool:
    return set(map(type, values)) <= {str}


def text(value: Any, *path: str) -> str:
    """The text at a path of keys; empty where the path breaks off."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, str) else ""
