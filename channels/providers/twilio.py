"""SMS by Twilio's Messages resource. The SDK builds and signs the request, an SMS fills it in; our pool carries it."""

from __future__ import annotations

import base64
import time
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn
from urllib.parse import urlencode, urlsplit

from twilio.request_validator import RequestValidator  # type: ignore[import-untyped] # the SDK is
from twilio.rest import Client  # type: ignore[import-untyped]

from channels.base import Finding, Inquiry, Message, Receipt, Welcome
from channels.errors import (
    ChannelError,
    CredentialsRejected,
    InvalidRecipient,
    MessageRejected,
    OutcomeUnknown,
    ProviderUnavailable,
    RateLimited,
)
from channels.inbound import ForgedRequestError, Reply, Request, Wish
from channels.providers import http, options
from channels.providers.http_provider import HttpProvider

WEBHOOK_PATH = "/webhooks/twilio"

# https://www.twilio.com/docs/api/errors, as known on 2026-11-24; the ones that an answer to a create call can carry.
# Codes from 30001 on mostly come later, by callback (docs/errors.md). Twilio says that codes may change
# (its changelog of 2024-07-10): one that is not here means what its HTTP status means.
CODES: Mapping[str, type[ChannelError]] = {
    # the account: nothing goes out until somebody acts
    "10001": CredentialsRejected,  # account not active: no money left, or suspended
    "10002": CredentialsRejected,  # a trial account cannot do this
    "20003": CredentialsRejected,  # authentication failed
    "20005": CredentialsRejected,  # account not active
    "20404": CredentialsRejected,  # no such account
    "30002": CredentialsRejected,  # account suspended
    "90010": CredentialsRejected,  # account not active
    # our sender or callback address: all would fail, and no recipient is to blame
    "21212": CredentialsRejected,  # our sender number is invalid
    "21601": CredentialsRejected,  # our sender number cannot send SMS
    "21603": CredentialsRejected,  # no sender
    "21606": CredentialsRejected,  # our sender number cannot send SMS to this destination
    "21609": CredentialsRejected,  # the callback's address is no URL: PUBLIC_URL is wrong
    "21659": CredentialsRejected,  # our sender number is not a Twilio number
    "21660": CredentialsRejected,  # our sender number belongs to another account
    "21661": CredentialsRejected,  # our sender number cannot send SMS
    "21701": CredentialsRejected,  # no such messaging service
    "21703": CredentialsRejected,  # the messaging service has no sender
    "21705": CredentialsRejected,  # no messaging service's id
    # too much: surely not processed
    "20429": RateLimited,  # too many concurrent requests
    "21611": RateLimited,  # the sender's queue is full
    "63017": RateLimited,  # too many messages a second over all accounts
    "63038": RateLimited,  # the account's messages of 24 hours are used up
    # Twilio's own trouble
    "20500": OutcomeUnknown,
    "20503": ProviderUnavailable,
    # the recipient's number
    "21211": InvalidRecipient,  # not a phone number
    "21214": InvalidRecipient,  # cannot be reached
    "21217": InvalidRecipient,  # does not appear to be valid
    "21265": InvalidRecipient,  # a short code, which takes no messages
    "21610": InvalidRecipient,  # the person answered STOP: nothing may be sent until START
    "21614": InvalidRecipient,  # not a mobile number
    "21635": InvalidRecipient,  # a landline
    # this message to this number
    "21408": MessageRejected,  # not permitted to send to this country
    "21602": MessageRejected,  # no text
    "21604": MessageRejected,  # no recipient
    "21608": MessageRejected,  # a trial account or one without a compliance profile, and the number is not verified
    "21612": MessageRejected,  # no route from our sender to this number
    "21617": MessageRejected,  # longer than 1,600 characters
}

# Whole messages, in any case, that opt out and in: https://www.twilio.com/docs/messaging/tutorials/advanced-opt-out and
# https://help.twilio.com/articles/223134027 (as known on 2026-11-25). Twilio answers them, and blocks by itself.
STOP_WORDS = frozenset({"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT"})
START_WORDS = frozenset({"START", "YES", "UNSTOP"})

# How the list of messages is read, see TwilioProvider.ask
PAGE_SIZE = 100  # messages; Twilio gives 50 unless asked, and 1,000 at most
PAGES = 5  # to one number since the inquiry's `since`: more were never sent to a person
# Twilio's clock is not ours: `since` comes from our database. Its list is also not quite in order of creation.
CLOCK_ALLOWANCE = timedelta(seconds=60)


class TwilioProvider(HttpProvider):
    """Options: `account_sid`, `auth_token`, `sender` (a number, a name or a messaging service's MG… id),
    `public_url` (where Twilio reaches us with delivery receipts; none are asked for without it), `base_url`,
    `timeout` (seconds).
    """

    name = "twilio"
    codes = CODES

    def __init__(
        self,
        *,
        account_sid: str,
        auth_token: str,
        sender: str,
        public_url: str = "",
        base_url: str = "https://api.twilio.com",
        timeout: float = http.TIMEOUT,
    ) -> None:
        super().__init__(base_url=base_url, timeout=timeout)
        account_sid = options.text(self.name, "account_sid", account_sid)
        auth_token = options.text(self.name, "auth_token", auth_token)
        sender = options.text(self.name, "sender", sender)
        self._sender_id = sender
        self._validator = RequestValidator(auth_token)
        self._public_url = options.url(self.name, "public_url", public_url) if public_url else ""
        client = Client(account_sid, auth_token, http_client=_Draft())
        self._messages, self._account = client.messages, client.api.accounts(account_sid)
        blank = {"to": "", "body": "", "messaging_service_sid" if sender.startswith("MG") else "from_": sender}
        creation = self._draft("create", **blank, **({"status_callback": ""} if self._public_url else {}))
        self._form: Mapping[str, str] = creation["data"]
        self._creation = self._request(**creation)

    def build(self, message: Message) -> http.Request:
        """The SDK's request for a blank message, filled in: having the SDK build each costs nearly twice as much."""
        form = {**self._form, "To": message.address, "Body": message.parts["text"]}
        if self._public_url:
            form["StatusCallback"] = self._callback(message)
        return replace(self._creation, body=urlencode(form).encode())

    def reply(self, request: Request) -> Reply | None:
        """What an incoming SMS asks for, if anything. With Advanced Opt-Out Twilio says so itself (OptOutType).

        Raises ForgedRequestError unless the call is signed by our auth token
        (https://www.twilio.com/docs/usage/security, as known on 2026-11-25).
        """
        signature = request.headers.get("X-Twilio-Signature", "")
        if not self._validator.validate(request.url, dict(request.form), signature):
            raise ForgedRequestError(self.name)
        said = request.form.get("OptOutType") or request.form.get("Body", "").strip().upper()
        address = request.form.get("From", "")
        if said in STOP_WORDS:
            return Reply(address, Wish.STOP)
        return Reply(address, Wish.START) if said in START_WORDS else None

    def introduce(self) -> Welcome | ChannelError | None:
        """By our account, which must be active. Its answer holds the auth token, of which nothing is kept.

        https://www.twilio.com/docs/iam/api/account, "Fetch an Account resource", as known on 2026-11-25.
        """
        request = self._request(**self._draft("fetch", of=self._account))
        found = self.understand(http.post(request), lambda response: _Account.read(response.json()))
        if isinstance(found, ChannelError):
            return found
        if found.status != "active":
            return CredentialsRejected(f"the account is {found.status}", provider=self.name)
        return Welcome("a trial account reaches verified numbers only" if found.kind == "Trial" else "")

    def _draft(self, method: str, *, of: Any = None, **arguments: Any) -> dict[str, Any]:
        """The call that a method of the SDK's messages, or of another resource, would make."""
        try:
            getattr(of or self._messages, method)(**arguments)
        except _BuiltError as built:
            return built.call
        raise TypeError("the SDK built no request")

    def _callback(self, message: Message) -> str:
        """Carries delivery and attempt, so that a receipt finds its row even if Twilio's answer got lost."""
        query = urlencode({"d": message.delivery_id, "a": message.attempt})
        return f"{self._public_url}{WEBHOOK_PATH}?{query}"

    def _request(
        self,
        *,
        method: str,
        url: str,
        headers: Mapping[str, str],
        auth: tuple[str, str],
        params: Mapping[str, Any] | None = None,
        **_: object,
    ) -> http.Request:
        """A call without its form."""
        signature = base64.b64encode(":".join(auth).encode()).decode()
        query = f"?{urlencode(params)}" if params else ""
        return http.Request(
            self.base_url + urlsplit(url).path + query,
            {**headers, "Authorization": f"Basic {signature}"},
            method=method,
            timeout=self.timeout,
        )

    def receipt(self, response: http.Response) -> str | None:
        return response.json().get("sid")

    def problem(self, response: http.Response) -> tuple[str, str]:
        body = response.json()
        return str(body.get("code", "")), str(body.get("message", ""))

    def ask(self, inquiries: Sequence[Inquiry]) -> list[Finding]:
        """The messages of this text that Twilio took for these numbers; all numbers at once, within `timeout`.

        Twilio takes no idempotency key and shows no StatusCallback, so a message is known by number, text, sender and
        time. Its list (GET Messages.json, https://www.twilio.com/docs/messaging/api/message-resource, as known on
        2026-11-24) can be filtered by To, From and DateSent; is newest first; and comes in pages of 1,000 at most with
        a `next_page_uri`; dates are RFC 2822 in GMT. DateSent is not used: a message that is still queued has none,
        and would be sent twice. Nor does Twilio promise that a message is listed at once: see docs/decisions.md.
        """
        searches: dict[str, _Search] = {}
        for inquiry in inquiries:
            address = inquiry.message.address
            search = searches.setdefault(address, _Search(address, inquiry.since, self._first_page(address)))
            search.since = min(search.since, inquiry.since)
        self._search(list(searches.values()))
        return [self._finding(inquiry, searches[inquiry.message.address]) for inquiry in inquiries]

    def _first_page(self, address: str) -> http.Request:
        return self._request(**self._draft("page", to=address, page_size=PAGE_SIZE))

    def _search(self, searches: Sequence[_Search]) -> None:
        """Read page after page, until each has come to its `since`, failed, or the pages or the time are used up."""
        deadline = time.monotonic() + self.timeout
        for _ in range(PAGES):
            open_ones = [search for search in searches if search.request]
            left = deadline - time.monotonic()
            if not open_ones or left <= 0:
                break
            answers = http.post_all([replace(search.request, timeout=left) for search in open_ones if search.request])
            for search, answer in zip(open_ones, answers, strict=True):
                self._advance(search, self.understand(answer, _Page.read, search.address))

    def _advance(self, search: _Search, page: _Page | ChannelError) -> None:
        request, search.request = search.request, None
        if isinstance(page, ChannelError):
            search.failure = page
            return
        search.taken.update((taken.sid, taken) for taken in page.messages)
        # By the time of sending, since the list may be in its order: what follows was sent, thus created, earlier.
        # A message without one says nothing: it may have waited in the queue since long before.
        reached = any(taken.sent and taken.sent < search.since - CLOCK_ALLOWANCE for taken in page.messages)
        if request and page.following and not reached:
            search.request = replace(request, url=self.base_url + page.following)

    def _finding(self, inquiry: Inquiry, search: _Search) -> Finding:
        text = _essence(inquiry.message.parts.get("text", ""))
        near = [taken for taken in search.taken.values() if self._may_be(taken, inquiry)]
        # the list is the other way round, and its dates know no fractions of a second
        same = sorted((taken for taken in reversed(near) if _essence(taken.body) == text), key=lambda one: one.created)
        if same:
            # Also "failed", "undelivered" and "canceled": Twilio took it, and what became of it on the way to the
            # phone is a receipt's matter. To send it again because of that is not what was asked here.
            return [Receipt(self.name, taken.sid) for taken in same]
        if search.failure:
            return search.failure
        if search.request:
            return OutcomeUnknown("too many messages to this number to read in time", provider=self.name)
        if any(not taken.body for taken in near):
            return OutcomeUnknown("the account hides its messages' texts", provider=self.name)
        return []

    def _may_be(self, taken: _Taken, inquiry: Inquiry) -> bool:
        return (
            taken.outbound
            and taken.to == inquiry.message.address
            and self._sender_id in taken.senders
            and taken.created >= inquiry.since - CLOCK_ALLOWANCE
        )


@dataclass(frozen=True, slots=True)
class _Account:
    """`status`: active, suspended or closed; `kind`: Trial or Full."""

    status: str
    kind: str

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> _Account | None:
        return cls(str(body["status"]), str(body.get("type", ""))) if body.get("status") else None


@dataclass(frozen=True, slots=True)
class _Taken:
    """A message as Twilio lists it. `sent` is None while it is queued."""

    sid: str
    to: str
    senders: tuple[str | None, str | None]
    body: str
    outbound: bool
    created: datetime
    sent: datetime | None

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> _Taken:
        return cls(
            sid=row["sid"],
            to=row["to"],
            senders=(row["from"], row["messaging_service_sid"]),
            body=row["body"] or "",
            outbound=row["direction"] == "outbound-api",
            created=_moment(row["date_created"]),
            sent=_moment(row["date_sent"]) if row["date_sent"] else None,
        )


@dataclass(frozen=True, slots=True)
class _Page:
    """A page of the list, and the path of the one that follows (empty: the list ends)."""

    messages: Sequence[_Taken]
    following: str

    @classmethod
    def read(cls, response: http.Response) -> _Page:
        body = response.json()
        following = body["next_page_uri"] or ""
        if following and not following.startswith("/"):
            raise ValueError("the next page is elsewhere")  # our credentials go nowhere else
        return cls([_Taken.read(row) for row in body["messages"]], following)


@dataclass(slots=True)
class _Search:
    """What is found of one number. `request` is the next page's, None when there is no more to read."""

    address: str
    since: datetime
    request: http.Request | None
    taken: dict[str, _Taken] = field(default_factory=dict)  # by sid, newest first: pages may overlap
    failure: ChannelError | None = None


def _moment(date: str) -> datetime:
    moment = parsedate_to_datetime(date)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)  # "-0000" means UTC of an unknown place


def _essence(text: str) -> str:
    """Letters and digits alone, without marks.

    A messaging service's Smart Encoding, on by default, turns quotes, dashes and spaces into plain ones
    (https://www.twilio.com/blog/copilot-just-got-even-smarter-announcing-smart-encoding-html, of 2017-05-10); nobody
    says whether the list shows the text before or after.
    """
    return "".join(character for character in unicodedata.normalize("NFKD", text) if character.isalnum())


class _BuiltError(Exception):
    """Brings a request out of the SDK."""

    def __init__(self, call: dict[str, Any]) -> None:
        super().__init__()
        self.call = call


class _Draft:
    """The SDK's transport. The SDK cannot build a request without sending it, so this hands it back by raising.

    That the SDK never sees the answer is wanted: its TwilioRestException keeps no headers, thus no Retry-After.
    """

    is_async = False

    def request(self, method: str, uri: str, **call: Any) -> NoReturn:
        raise _BuiltError({"method": method, "url": uri, **call})
