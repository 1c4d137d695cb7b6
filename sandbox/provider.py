"""What the three providers have in common: read a call, misbehave if told to, check it, keep its messages."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import orjson
from starlette.datastructures import State
from starlette.requests import Request
from starlette.responses import Response

from sandbox.faults import Cut, Fault
from sandbox.store import Message, Store

IDEMPOTENCY_HEADERS = ("idempotency-key", "i-twilio-idempotency-token", "x-idempotency-key")
HEADERS_OF_INTEREST = ("user-agent", "content-type", "traceparent", *IDEMPOTENCY_HEADERS)
REMEMBERED_ANSWERS = 10_000


class Refusal(Exception):  # noqa: N818 - it is an answer, not a mistake of ours
    """The provider does not take the call; `answer` says so in its own words."""

    def __init__(self, answer: Response) -> None:
        super().__init__(answer.status_code)
        self.answer = answer


@dataclass(frozen=True, slots=True)
class Call:
    """What came in: the path's parameters, the headers (names in lower case) and what `parse` made of the body."""

    path: Mapping[str, str]
    headers: Mapping[str, str]
    content: Any


class Provider:
    """One service. The flow is `receive`; a service says how it parses, reads, checks, accepts and complains."""

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
        return secrets.token_urlsafe(16)

    async def receive(self, request: Request) -> Response:
        """The endpoint: the service's answer, or what the fault in force makes of it."""
        state: State = request.app.state
        headers = dict(request.headers.items())  # Starlette's object walks over all of them for each look-up
        call = Call(request.path_params, headers, self.parse(await request.body()))
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
        kept = store.add(messages, accepted=True, status=self.accepted_status, provider_message_id=reference)
        answer = self.accept(kept, reference)
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
    return {str(key): str(item) for key, item in value.items()} if isinstance(value, dict) else {}


def text(value: Any, *path: str) -> str:
    """The text at a path of keys; empty where the path breaks off."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, str) else ""
