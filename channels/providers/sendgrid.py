"""EMAIL by SendGrid's v3 mail/send. The SDK's helpers build the mail; one call a mail.

One mail a call, although a call could carry a thousand: an answer that gets lost leaves one outcome unknown
then, not a thousand.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from http import HTTPStatus

import orjson
from sendgrid.helpers.mail import Category, Content, CustomArg, From, Mail, Personalization, ReplyTo, To

from channels.base import Message
from channels.errors import ChannelError, CredentialsRejected, InvalidRecipient
from channels.providers import http, options
from channels.providers.http_provider import HttpProvider

# SendGrid has no error codes: the status speaks, and with a 400 the field that it does not like
# (https://docs.sendgrid.com/api-reference/mail-send/errors, as known on 2026-11-24).
_RECIPIENT_FIELD = re.compile(r"personalizations\.0\.to(\.0(\.email)?)?")
_SENDER_FIELD = re.compile(r"from(\..+)?|reply_to(\..+)?")


class SendGridProvider(HttpProvider):
    """Options: `api_key`, `sender` ("Name <address>"), `reply_to`, `base_url`, `timeout` (seconds).

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
    ) -> None:
        super().__init__(base_url=base_url, timeout=timeout)
        self._sender = From(options.text(self.name, "sender", sender))
        if not self._sender.email:
            raise options.wrong(self.name, "sender", "holds no email address")
        self._reply_to = reply_to
        self._url = f"{self.base_url}/v3/mail/send"
        self._headers: Mapping[str, str] = {
            "Authorization": f"Bearer {options.text(self.name, 'api_key', api_key)}",
            "Content-Type": "application/json",
            "Accept": "application/json",
        }

    def build(self, message: Message) -> http.Request:
        mail = Mail(from_email=self._sender, subject=message.parts["subject"])
        mail.add_personalization(self._personalization(message))
        # the order is SendGrid's rule: plain text before HTML
        mail.add_content(Content("text/plain", message.parts["text"]))
        mail.add_content(Content("text/html", message.parts["html"]))
        if self._reply_to:
            mail.reply_to = ReplyTo(self._reply_to)
        if message.event_type:
            mail.add_category(Category(message.event_type))
        return http.Request(self._url, self._headers, orjson.dumps(mail.get()), timeout=self.timeout)

    def _personalization(self, message: Message) -> Personalization:
        recipient = To()
        recipient.email = message.address  # set, not passed: the constructor would parse it as "Name <address>"
        personalization = Personalization()
        personalization.add_to(recipient)
        # the event webhook gives these back, so that a receipt finds its delivery
        personalization.add_custom_arg(CustomArg("delivery_id", message.delivery_id))
        personalization.add_custom_arg(CustomArg("attempt", str(message.attempt)))
        personalization.add_custom_arg(CustomArg("event_type", message.event_type))
        return personalization

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
