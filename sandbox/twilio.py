"""Twilio's 2010-04-01 Messages: create one, list by recipient, fetch by sid."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

import orjson
import phonenumbers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from yarl import URL

from sandbox import credentials
from sandbox.faults import Faults
from sandbox.provider import Call, Provider, Refusal, envelope, login, number
from sandbox.store import Message, Store, random_bytes

LOGIN = base64.b64encode(f"{credentials.TWILIO_ACCOUNT_SID}:{credentials.TWILIO_AUTH_TOKEN}".encode()).decode()
BODY_LIMIT = 1_600  # characters
PAGE_SIZE = 50
PAGE_LIMIT = 1_000
#: Twilio's own magic numbers for tests, and what each answers
MAGIC_NUMBERS = {
    "+15005550001": 21211,
    "+15005550002": 21612,
    "+15005550003": 21408,
    "+15005550004": 21610,
    "+15005550009": 21614,
}
STATUS_CODES = {401: 20003, 403: 20003, 404: 20404, 429: 20429, 500: 20500, 503: 20503}
EXPLANATIONS = {
    20001: "Unknown parameters",
    20003: "Authenticate",
    20404: "The requested resource was not found",
    20429: "Too Many Requests",
    20500: "An internal server error has occurred",
    20503: "Service unavailable",
    21211: "Invalid 'To' Phone Number: {to}",
    21212: "Invalid From Number (caller ID): {sender}",
    21408: "Permission to send an SMS has not been enabled for the region indicated by the 'To' number: {to}",
    21602: "Message body is required.",
    21603: "A 'From' phone number is required.",
    21604: "A 'To' phone number is required.",
    21606: "The 'From' phone number {sender} is not a valid, SMS-capable inbound phone number or short code "
    "for your account.",
    21609: "The 'StatusCallback' URL {callback} is not a valid URL.",
    21610: "Attempt to send to unsubscribed recipient",
    21612: "The 'To' phone number: {to}, is not currently reachable using the 'From' phone number: {sender} via SMS.",
    21614: "'To' number is not a valid mobile number",
    21617: "The concatenated message body exceeds the 1600 character limit",
}


class Twilio(Provider):
    name = "twilio"
    accepted_status = 201

    def parse(self, body: bytes) -> dict[str, str]:
        return fields(body.decode(errors="replace"))

    def read(self, call: Call) -> list[Message]:
        form = call.content
        _, _, query = form.get("StatusCallback", "").partition("#")[0].partition("?")
        callback = fields(query)
        message = Message(
            provider=self.name,
            channel="SMS",
            to=form.get("To", ""),
            from_=form.get("From", "") or form.get("MessagingServiceSid", ""),
            delivery_id=callback.get("d", ""),
            attempt=number(callback.get("a", "")),
            event_type=callback.get("event_type", ""),
            order_id=callback.get("order_id", ""),
            body=form.get("Body", ""),
            data={"status_callback": form.get("StatusCallback", "")},
            **envelope(call.headers),
        )
        return [message]

    def check(self, call: Call) -> None:
        self._authenticate(call.path, call.headers)
        for code in _faults_of(call.content):
            facts = {name: call.content.get(field, "") for name, field in FACTS.items()}
            raise Refusal(_error(400, code, facts))

    def accept(self, messages: list[Message], reference: str) -> Response:  # noqa: ARG002
        resource = _resource(messages[0]) | {"status": "queued", "date_sent": None}
        return Response(orjson.dumps(resource), 201, media_type="application/json")

    def complain(self, status: int, code: str = "") -> Response:
        answer = _error(status, int(code) if code.isdecimal() else STATUS_CODES.get(status, 20001), {})
        if status == 429:
            answer.headers["Twilio-Concurrent-Requests"] = "101"
        return answer

    def reference(self) -> str:
        return f"SM{random_bytes(16).hex()}"

    async def listing(self, request: Request) -> Response:
        """GET Messages.json: the accepted messages, newest first, filtered by To, From and DateSent."""
        faults: Faults = request.app.state.faults
        fault = faults.strike(self.name, [request.query_params.get("To", "")], "list")
        if fault and fault.mode == "latency":
            await request.app.state.store.pause(fault.latency)
        elif fault:
            return self.spoil(fault)
        return self._list(request)

    def _list(self, request: Request) -> Response:
        try:
            self._authenticate(request.path_params, request.headers)
            query = request.query_params
            size = min(int(query.get("PageSize", PAGE_SIZE)), PAGE_LIMIT)
            page = int(query.get("Page", 0))
            found = _matching(request.app.state.store, query)
            rows = list(islice(found, page * size, page * size + size + 1))
        except Refusal as refusal:
            return refusal.answer
        except ValueError:
            return _error(400, 20001, {})
        return JSONResponse(_page(request, rows, page, size))

    async def account(self, request: Request) -> Response:
        """GET /2010-04-01/Accounts/{sid}.json: https://www.twilio.com/docs/iam/api/account, as known on 2026-11-25."""

        def answer() -> Response:
            try:
                self._authenticate(request.path_params, request.headers)
            except Refusal as refusal:
                return refusal.answer
            return JSONResponse(_account())

        return await self.asked(request, answer)

    async def fetch(self, request: Request) -> Response:
        """GET Messages/{sid}.json."""
        try:
            self._authenticate(request.path_params, request.headers)
        except Refusal as refusal:
            return refusal.answer
        sid = request.path_params["message"]
        found = (
            m for m in request.app.state.store.newest() if m.provider == self.name and m.provider_message_id == sid
        )
        message = next(found, None)
        return JSONResponse(_resource(message)) if message else self.complain(404)

    def _authenticate(self, path: Mapping[str, str], headers: Mapping[str, str]) -> None:
        if login(headers, "basic") != LOGIN or path["account"] != credentials.TWILIO_ACCOUNT_SID:
            raise Refusal(self.complain(401))


def fields(form: str) -> dict[str, str]:
    """The fields of a form or of a URL's query, by yarl's parser: urllib's takes five times as long."""
    return dict(URL.build(query_string=form, encoded=True).query.items())


FACTS = {"to": "To", "sender": "From", "callback": "StatusCallback"}


def _error(status: int, code: int, facts: Mapping[str, str]) -> JSONResponse:
    blank = dict.fromkeys(FACTS, "")
    message = EXPLANATIONS.get(code, "The message was not accepted").format(**{**blank, **facts})
    return JSONResponse(
        {
            "code": code,
            "message": message,
            "more_info": f"https://www.twilio.com/docs/errors/{code}",
            "status": status,
        },
        status,
    )


def _faults_of(form: Mapping[str, str]) -> Iterator[int]:
    """Twilio's codes for what is wrong with a call, in the order in which it looks."""
    to, sender, callback = form.get("To", ""), form.get("From", ""), form.get("StatusCallback", "")
    if not to:
        yield 21604
    if not sender and not form.get("MessagingServiceSid"):
        yield 21603
    if not form.get("Body"):
        yield 21602
    if not is_number(to):
        yield 21211
    if to in MAGIC_NUMBERS:
        yield MAGIC_NUMBERS[to]
    if sender and sender != credentials.TWILIO_FROM:
        yield 21606 if is_number(sender) else 21212
    if len(form.get("Body", "")) > BODY_LIMIT:
        yield 21617
    if callback and not is_address(callback.partition("?")[0]):
        yield 21609


@lru_cache(maxsize=1_000)
def is_address(url: str) -> bool:
    """Whether it is an absolute HTTP URL. Pass it without its query, which differs from call to call."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)


@lru_cache(maxsize=100_000)
def is_number(number: str) -> bool:
    """Whether a number is E.164 and of a possible length for its country; unassigned ranges pass."""
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return False
    canonical = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
    return number == canonical and phonenumbers.is_possible_number(parsed)


def _matching(store: Store, query: Mapping[str, str]) -> Iterator[Message]:
    bounds = {name: query[name] for name in ("DateSent", "DateSent<", "DateSent>") if query.get(name)}
    texts = store.newest_to(Twilio.name, query["To"]) if query.get("To") else store.newest()
    for message in texts:
        ours = message.provider == Twilio.name and query.get("From", message.from_) == message.from_
        if ours and _sent_within(message, bounds):
            yield message


def _sent_within(message: Message, bounds: Mapping[str, str]) -> bool:
    """Twilio compares by day where a bound is a day, else by the second; both ends count as within."""
    for name, bound in bounds.items():
        sent = _moment(message).isoformat()[: len(bound.rstrip("Z"))]
        limit = bound.rstrip("Z")
        if not {"DateSent": sent == limit, "DateSent<": sent <= limit, "DateSent>": sent >= limit}[name]:
            return False
    return True


def _moment(message: Message) -> datetime:
    return datetime.fromtimestamp(message.received_at / 1_000, UTC)


@lru_cache(maxsize=1_000)
def _date(second: int) -> str:
    """A second since 1970 as Twilio writes it."""
    return format_datetime(datetime.fromtimestamp(second, UTC))


def _resource(message: Message) -> dict[str, Any]:
    """The JSON of a message as Twilio shows it; it never shows the StatusCallback."""
    account = credentials.TWILIO_ACCOUNT_SID
    uri = f"/2010-04-01/Accounts/{account}/Messages/{message.provider_message_id}"
    date = _date(message.received_at // 1_000)
    service = message.from_ if message.from_.startswith("MG") else None
    return {
        "account_sid": account,
        "api_version": "2010-04-01",
        "body": message.body,
        "date_created": date,
        "date_sent": date,
        "date_updated": date,
        "direction": "outbound-api",
        "error_code": None,
        "error_message": None,
        "from": None if service else message.from_,
        "messaging_service_sid": service,
        "num_media": "0",
        "num_segments": str(max(1, -(-len(message.body) // 153)) if len(message.body) > 160 else 1),
        "price": None,
        "price_unit": "USD",
        "sid": message.provider_message_id,
        "status": "sent",
        "subresource_uris": {"media": f"{uri}/Media.json"},
        "tags": None,
        "to": message.to,
        "uri": f"{uri}.json",
    }


def _account() -> dict[str, Any]:
    """Our account as Twilio shows it, auth token and all."""
    sid = credentials.TWILIO_ACCOUNT_SID
    uri, date = f"/2010-04-01/Accounts/{sid}", _date(1_767_225_600)
    return {
        "auth_token": credentials.TWILIO_AUTH_TOKEN,
        "date_created": date,
        "date_updated": date,
        "friendly_name": "Notifier's sandbox",
        "owner_account_sid": sid,
        "sid": sid,
        "status": "active",
        "subresource_uris": {"messages": f"{uri}/Messages.json"},
        "type": "Full",
        "uri": f"{uri}.json",
    }


def _page(request: Request, rows: list[Message], page: int, size: int) -> dict[str, Any]:
    """Twilio's envelope of a page; `rows` holds one message more than fits where a next page exists."""
    path = request.url.path

    def address(number: int) -> str:
        return f"{path}?{request.url.include_query_params(Page=number, PageSize=size).query}"

    return {
        "end": page * size + min(len(rows), size) - 1 if rows else 0,
        "first_page_uri": address(0),
        "messages": [_resource(message) for message in rows[:size]],
        "next_page_uri": address(page + 1) if len(rows) > size else None,
        "page": page,
        "page_size": size,
        "previous_page_uri": address(page - 1) if page else None,
        "start": page * size,
        "uri": address(page),
    }
