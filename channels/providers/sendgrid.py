"""EMAIL by SendGrid's v3 mail/send. The SDK's helpers build the mail; a call carries some mails of one type.

Some, although a call could carry a thousand: an answer that gets lost leaves that many outcomes unknown.
"""

from __future__ import annotations

import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

import orjson
from sendgrid.helpers.mail import Category, Content, From, Mail, ReplyTo
from sendgrid.helpers.mail.validators import ValidateApiKey

from channels.base import HAND_OVER, Message, Outcome, Welcome
from channels.errors import ChannelError, CredentialsRejected, InvalidRecipient, PermanentError, ProviderUnavailable
from channels.providers import http, options
from channels.providers.http_provider import Call, HttpProvider
from channels.providers.mail_merge import MARK, merge
from channels.providers.unsubscribe import one_click

BATCH = 4  # mails a call: fewer than the calls from which a breaker concludes anything, so that one lost answer is none
LARGEST_BATCH = 100
# Bytes of tags and values in a personalization: what SendGrid has promised longest; its page says 50,000 by now
# (https://www.twilio.com/docs/sendgrid/for-developers/sending-email/substitution-tags, as known on 2026-11-24).
SUBSTITUTIONS_LIMIT = 10_000

# SendGrid has no error codes: the status speaks, and with a 400 the field that it does not like
# (https://docs.sendgrid.com/api-reference/mail-send/errors, as known on 2026-11-24).
_RECIPIENT_FIELD = re.compile(r"personalizations\.0\.to(\.0(\.email)?)?")
_SENDER_FIELD = re.compile(r"from(\..+)?|reply_to(\..+)?")
_no_api_key = ValidateApiKey().validate_message_text  # raises; the SDK's Content asks it too


@dataclass(frozen=True, slots=True)
class _Mail:
    """A message that may share a call, its place in what is sent, and its bodies as lines.

    `address` is in lower case: SendGrid takes one once a call, however it is written.
    """

    place: int
    message: Message
    address: str
    text: list[str]
    html: list[str]

    @classmethod
    def of(cls, place: int, message: Message) -> _Mail | None:
        """None for a message with which something is wrong: it goes alone, and building it says what."""
        try:
            subject, text, html = (message.parts[name] for name in ("subject", "text", "html"))
            _no_api_key(text)
            _no_api_key(html)
            if not (subject and text and html):
                return None
            return cls(place, message, message.address.casefold(), text.split("\n"), html.split("\n"))
        except Exception:  # noqa: BLE001 - whatever it is, it concerns this message alone
            return None


class SendGridProvider(HttpProvider):
    """Options: `api_key`, `sender` ("Name <address>"), `reply_to`, `base_url`, `timeout` (seconds), `batch`.

    Up to `batch` mails share a call, 1 to 100. What their lines have in common is its content; what is a mail's own
    goes along as substitutions.

    SendGrid cannot be asked what became of a mail. Its Email Activity API is an add-on to be bought, and answers
    6 requests a minute (https://www.twilio.com/docs/sendgrid/api-reference/email-activity, as known on 2026-11-24):
    too few for the mails of one outage. The event webhook tells instead, by our custom arguments.
    """

    name = "sendgrid"

    def __init__(
        self,
        *,
        api_key: str,
        sender: str,
        reply_to: str = "",
        base_url: str = "https://api.sendgrid.com",
        timeout: float = http.TIMEOUT,
        batch: int = BATCH,
    ) -> None:
        super().__init__(base_url=base_url, timeout=timeout)
        self._sender = From(options.text(self.name, "sender", sender))
        if not self._sender.email:
            raise options.wrong(self.name, "sender", "holds no email address")
        self._reply_to = reply_to
        self._batch = options.whole(self.name, "batch", batch, LARGEST_BATCH)
        self._url = f"{self.base_url}/v3/mail/send"
        self._headers: Mapping[str, str] = {
            "Authorization": f"Bearer {options.text(self.name, 'api_key', api_key)}",
            "Content-Type": "application/json",
            "Accept": "application/json",
        }

    def introduce(self) -> Welcome | ChannelError | None:
        """By the scopes of the key, of which "mail.send" is ours.

        https://www.twilio.com/docs/sendgrid/api-reference/api-key-permissions, "Retrieve a list of scopes for which
        this user has access", as known on 2026-11-25. It says nothing of the sender, which needs a scope of its own.
        """
        request = http.Request(f"{self.base_url}/v3/scopes", self._headers, method="GET", timeout=self.timeout)
        found = self.understand(http.post(request), lambda response: response.json().get("scopes"))
        if isinstance(found, ChannelError):
            return found
        if "mail.send" not in found:
            return CredentialsRejected("the key lacks the scope mail.send", provider=self.name)
        return Welcome()

    def send(self, messages: Sequence[Message]) -> list[Outcome]:
        """As HttpProvider, with shared calls. One that is refused for good says only that a mail in it is to blame:
        nothing was sent, and each goes again by itself.
        """
        began = time.monotonic()
        calls = self._calls(messages)
        outcomes = self.carry(messages, calls)
        shared = [place for call in calls if len(call.places) > 1 for place in call.places]
        blamed = [place for place in shared if isinstance(outcomes[place], PermanentError)]
        again = self._alone([messages[place] for place in blamed], in_time=time.monotonic() - began < HAND_OVER)
        for place, outcome in zip(blamed, again, strict=True):
            outcomes[place] = outcome
        return outcomes

    def _alone(self, messages: Sequence[Message], *, in_time: bool) -> list[Outcome]:
        if in_time:
            return super().send(messages)
        return [ProviderUnavailable("refused together, too late to go alone", provider=self.name) for _ in messages]

    def _calls(self, messages: Sequence[Message]) -> list[Call]:
        calls = [call for lot in self._lots(messages) if (call := self._share(lot))]
        together = {place for call in calls for place in call.places}
        alone = [(place, message) for place, message in enumerate(messages) if place not in together]
        return calls + [Call((place,), self.try_build(message)) for place, message in alone]

    def _lots(self, messages: Sequence[Message]) -> Iterator[list[_Mail]]:
        """Mails that may share a call: of one type and with equally many lines, and no address twice."""
        if min(self._batch, len(messages)) == 1:
            return
        shelves: defaultdict[object, list[_Mail]] = defaultdict(list)
        times: Counter[str] = Counter()
        for mail in filter(None, map(_Mail.of, range(len(messages)), messages)):
            before = times[mail.address]
            shelves[mail.message.event_type, len(mail.text), len(mail.html), before].append(mail)
            times[mail.address] += 1
        for shelf in shelves.values():
            for start in range(0, len(shelf), self._batch):
                yield shelf[start : start + self._batch]

    def _share(self, lot: Sequence[_Mail]) -> Call | None:
        """One call for the mails of a lot that fit into it; None when fewer than two do."""
        try:
            text, html, own = _merged(lot)
            if len(own) < 2:
                return None
            people = [_sharing(mail.message, values) for mail, values in own]
            request = self._request(lot[0].message.event_type, text, html, people)
            patience = min(request.timeout, max(mail.message.patience for mail, _ in own))
            return Call([mail.place for mail, _ in own], replace(request, timeout=patience))
        except Exception:  # noqa: BLE001 - the mails go alone, so that one which cannot be built costs no other
            return None

    def build(self, message: Message) -> http.Request:
        parts = message.parts
        return self._request(
            message.event_type, parts["text"], parts["html"], [_person(message)], subject=parts["subject"]
        )

    def _request(
        self, event_type: str, text: str, html: str, people: Sequence[Mapping[str, Any]], subject: str | None = None
    ) -> http.Request:
        mail = Mail(from_email=self._sender, subject=subject)
        # the order is SendGrid's rule: plain text before HTML
        mail.add_content(Content("text/plain", text))
        mail.add_content(Content("text/html", html))
        if self._reply_to:
            mail.reply_to = ReplyTo(self._reply_to)
        if event_type:
            mail.add_category(Category(event_type))
        body = orjson.dumps({**mail.get(), "personalizations": people})
        return http.Request(self._url, self._headers, body, timeout=self.timeout)

    def receipt(self, response: http.Response) -> str:
        return response.headers.get("X-Message-Id", "")

    def problem(self, response: http.Response) -> tuple[str, str]:
        errors = response.json().get("errors") or []
        fields = [error["field"] for error in errors if error.get("field")]
        # where both addresses are complained of, ours goes first: it must not cost the recipient's
        field = next((field for field in fields if _SENDER_FIELD.fullmatch(field)), next(iter(fields), ""))
        return field, "; ".join(error.get("message", "") for error in errors)

    def judge(self, code: str, response: http.Response) -> type[ChannelError]:
        """By the status, and for a 400 by the field.

        401 is also "Maximum credits exceeded", and 403 also a block after many bad requests: somebody must act or the
        next month begin, and nothing is wrong with the mail
        (https://support.sendgrid.com/hc/en-us/articles/18322114821403, as known on 2026-11-24).
        """
        if response.status == HTTPStatus.BAD_REQUEST and _RECIPIENT_FIELD.fullmatch(code):
            return InvalidRecipient
        if response.status == HTTPStatus.BAD_REQUEST and _SENDER_FIELD.fullmatch(code):
            return CredentialsRejected  # our sender is invalid: all would fail
        return super().judge("", response)

    def retry_after(self, response: http.Response) -> float | None:
        """By Retry-After, else by X-RateLimit-Reset, the second since 1970 at which the limit starts anew."""
        reset = response.headers.get("X-RateLimit-Reset", "")
        asked = super().retry_after(response)
        return max(0.0, int(reset) - time.time()) if asked is None and reset.isdecimal() else asked


def _merged(lot: Sequence[_Mail]) -> tuple[str, str, list[tuple[_Mail, dict[str, str]]]]:
    """The text and the HTML for all mails of a lot, and those that fit into one call, each with its own values."""
    text, own_text = merge([mail.text for mail in lot])
    html, own_html = merge([mail.html for mail in lot], first=len(own_text))
    own = own_text | own_html
    if text.count(MARK) + html.count(MARK) > len(own):
        return text, html, []  # something else begins as our tags do
    values = zip(*own.values(), strict=True) if own else [()] * len(lot)
    each = [(mail, dict(zip(own, value, strict=True))) for mail, value in zip(lot, values, strict=True)]
    return text, html, [(mail, values) for mail, values in each if _fits(mail.message, values)]


def _fits(message: Message, values: Mapping[str, str]) -> bool:
    together = "".join(values.values())
    size = sum(map(len, values)) + len(together.encode())
    marked = MARK in together or MARK in message.parts["subject"]
    return size <= SUBSTITUTIONS_LIMIT and not marked and all(values.values())


def _person(message: Message, **own: Any) -> dict[str, Any]:
    """What the SDK's Personalization gives, in a twentieth of its time."""
    # the event webhook gives the arguments back, so that a receipt finds its delivery
    arguments = {
        "delivery_id": message.delivery_id,
        "attempt": str(message.attempt),
        "event_type": message.event_type,
    }
    headers = {"headers": one_click(message.unsubscribe_url)} if message.unsubscribe_url else {}
    return {"to": [{"email": message.address}], "custom_args": arguments, **headers, **own}


def _sharing(message: Message, values: Mapping[str, str]) -> dict[str, Any]:
    """The personalization of a mail that shares its call: an empty object of substitutions is left out."""
    substitutions = {"substitutions": values} if values else {}
    return _person(message, subject=message.parts["subject"], **substitutions)
