"""SendGrid's v3 mail/send: one call, up to 1,000 personalizations, each a mail of its own."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sandbox import credentials
from sandbox.provider import Call, Provider, Refusal, all_texts, envelope, login, number, text, texts
from sandbox.store import Message, fill

ADDRESS = re.compile(r"[^@\s,;<>\"]+@[^@\s,;<>\"]+\.[^@\s,;<>\".]+")
HELP = "http://sendgrid.com/docs/API_Reference/Web_API_v3/Mail/errors.html"
PERSONALIZATIONS_LIMIT = 1_000
CUSTOM_ARGS_LIMIT = 10_000  # bytes
SUBSTITUTIONS_LIMIT = 10_000  # bytes of tags and values in a personalization; newer documentation says 50,000
HEADERS_LIMIT = sys.maxsize  # none is documented
UNVERIFIED = "unverified@"  # a sender that begins so stands for one whose identity was never verified
NO_PERSONALIZATION = "The personalizations field is required and must have at least one personalization."
NO_FROM = (
    "The from object must be provided for every email send. It is an object that requires the email parameter, "
    'but may also contain a name parameter.  e.g. {"email" : "example@example.com"}  or '
    '{"email" : "example@example.com", "name" : "Example Recipient"}.'
)
NO_CONTENT = (
    "Unless a valid template_id is provided, the content parameter is required. There must be at least one "
    "defined content block. We typically suggest both text/plain and text/html blocks are included, but only one "
    "block is required."
)
REPEATED = (
    "Each unique email address in the personalizations array should only be included once. You have included [{}] "
    "more than once."
)
EMPTY_CONTENT = "The content value must be a string at least one character in length."
PLAIN_NOT_FIRST = "If present, text/plain must be first, followed by text/html, followed by any other content."
NO_TO = (
    "The to array is required for all personalization objects, and must have at least one email object with a "
    "valid email address."
)
NO_SUBJECT = (
    "The subject is required. You can get around this requirement if you use a template with a subject defined "
    "or if every personalization has a subject defined."
)
READ_ONLY_KEY = f"{credentials.SENDGRID_API_KEY}.read-only"
READ_SCOPES = ["alerts.read", "sender_verification_eligible", "2fa_required"]
SCOPES = ["mail.send", *READ_SCOPES]
EXPLANATIONS = {
    401: "The provided authorization grant is invalid, expired, or revoked",
    403: "access forbidden",
    413: "Request Entity Too Large",
    429: "too many requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class SendGrid(Provider):
    name = "sendgrid"
    accepted_status = 202

    def read(self, call: Call) -> list[Message]:
        if not isinstance(call.content, dict):
            return []
        parts = {text(part, "type"): text(part, "value") for part in _objects(call.content.get("content"))}
        shared = {
            "text": parts.get("text/plain", ""),
            "html": parts.get("text/html", ""),
            **envelope(call.headers),
        }
        people = _objects(call.content.get("personalizations"))
        return [mail for person in people for mail in _mails(call.content, person, shared)]

    def check(self, call: Call) -> None:
        if login(call.headers, "bearer") != credentials.SENDGRID_API_KEY:
            raise Refusal(self.complain(401))
        if not isinstance(call.content, dict):
            raise Refusal(_error(400, "Bad Request"))
        for field, message in _faults_of(call.content):
            raise Refusal(_error(400, message, field))
        if text(call.content, "from", "email").startswith(UNVERIFIED):
            raise Refusal(_error(403, "The from address does not match a verified Sender Identity.", "from"))

    def accept(self, messages: list[Message], reference: str) -> Response:  # noqa: ARG002
        return Response(status_code=202, headers={"X-Message-Id": reference})

    async def scopes(self, request: Request) -> Response:
        """GET /v3/scopes: what the key may do.

        https://www.twilio.com/docs/sendgrid/api-reference/api-key-permissions, as known on 2026-11-25. A key that ends
        in ".read-only" stands for one that may not send.
        """
        key = login(request.headers, "bearer")
        found = {credentials.SENDGRID_API_KEY: SCOPES, READ_ONLY_KEY: READ_SCOPES}.get(key)

        def answer() -> Response:
            return JSONResponse({"scopes": found}) if found else _error(401, "authorization required")

        return await self.asked(request, answer)

    def complain(self, status: int, code: str = "") -> Response:
        answer = _error(status, code or EXPLANATIONS.get(status, "error"))
        if status == 429:
            answer.headers.update({"X-RateLimit-Limit": "600", "X-RateLimit-Remaining": "0"})
        return answer


def _error(status: int, message: str, field: str | None = None) -> JSONResponse:
    advice = f"{HELP}#message.{field}" if field else None
    return JSONResponse({"errors": [{"message": message, "field": field, "help": advice}]}, status)


def _mails(call: Mapping[str, Any], person: Mapping[str, Any], shared: Mapping[str, Any]) -> list[Message]:
    """The mails of one personalization: one for each address in its `to`."""
    tags = texts(person.get("substitutions"))
    arguments = {**texts(call.get("custom_args")), **texts(person.get("custom_args"))}
    return [
        Message(
            provider=SendGrid.name,
            channel="EMAIL",
            to=text(address, "email"),
            from_=_sender(person.get("from") or call.get("from")),
            delivery_id=arguments.get("delivery_id", ""),
            attempt=number(arguments.get("attempt", "")),
            event_type=arguments.get("event_type", ""),
            order_id=arguments.get("order_id", ""),
            subject=fill(text(person, "subject") or text(call, "subject"), tags),
            tags=tags,
            data=arguments,
            **{**shared, "headers": {**shared["headers"], **texts(person.get("headers"))}},
        )
        for address in _objects(person.get("to"))
    ]


def _sender(sender: Any) -> str:
    name, address = text(sender, "name"), text(sender, "email")
    return f"{name} <{address}>" if name else address


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _faults_of(call: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with a call: the field, and SendGrid's sentence about it."""
    people = call.get("personalizations")
    if not isinstance(people, list) or not people:
        yield "personalizations", NO_PERSONALIZATION
        return
    if len(people) > PERSONALIZATIONS_LIMIT:
        yield "personalizations", f"The personalizations array must not exceed {PERSONALIZATIONS_LIMIT} items."
    if not ADDRESS.fullmatch(text(call, "from", "email")):
        yield "from.email", NO_FROM
    yield from _faults_of_content(call)
    for position, person in enumerate(people):
        yield from _faults_of_person(f"personalizations.{position}", person, bool(text(call, "subject")))
    yield from _repeated_addresses(people)


def _repeated_addresses(people: list[Any]) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for address in (text(to, "email") for person in _objects(people) for to in _objects(person.get("to"))):
        if address.lower() in seen:
            yield "personalizations", REPEATED.format(address)
        seen.add(address.lower())


def _faults_of_content(call: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    parts = _objects(call.get("content"))
    if not parts and not call.get("template_id"):
        yield "content", NO_CONTENT
    for position, part in enumerate(parts):
        if not text(part, "value"):
            yield f"content.{position}.value", EMPTY_CONTENT
    if "text/plain" in [text(part, "type") for part in parts][1:]:
        yield "content", PLAIN_NOT_FIRST


def _faults_of_person(field: str, person: Any, has_subject: bool) -> Iterator[tuple[str, str]]:
    addresses = person.get("to") if isinstance(person, dict) else None
    if not isinstance(addresses, list) or not addresses:
        yield f"{field}.to", NO_TO
        return
    for position, address in enumerate(addresses):
        if not ADDRESS.fullmatch(text(address, "email")):
            yield f"{field}.to.{position}.email", "Does not contain a valid address."
    if not has_subject and not text(person, "subject"):
        yield "subject", NO_SUBJECT
    yield from _faults_of_texts(field, person, "custom_args", CUSTOM_ARGS_LIMIT)
    yield from _faults_of_texts(field, person, "substitutions", SUBSTITUTIONS_LIMIT)
    yield from _faults_of_texts(field, person, "headers", HEADERS_LIMIT)


def _faults_of_texts(field: str, person: Mapping[str, Any], name: str, limit: int) -> Iterator[tuple[str, str]]:
    found = person.get(name, {})
    if not isinstance(found, dict) or not all_texts(found.values()):
        yield f"{field}.{name}", f"The {name} values must be strings."
    elif len("".join(chain(found, found.values())).encode()) > limit:
        yield f"{field}.{name}", f"The {name} must not exceed {limit} bytes."
