"""SMS by Twilio's Messages resource. The SDK builds and signs the request; our pool carries it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, NoReturn
from urllib.parse import urlencode, urlsplit

from twilio.rest import Client  # type: ignore[import-untyped]

from channels.base import Message
from channels.errors import (
    ChannelError,
    CredentialsRejected,
    InvalidRecipient,
    MessageRejected,
    OutcomeUnknown,
    ProviderUnavailable,
    RateLimited,
)
from channels.providers import http, options
from channels.providers.http_provider import HttpProvider

WEBHOOK_PATH = "/webhooks/twilio"

# https://www.twilio.com/docs/api/errors, as known on 2026-11-24. Twilio says that codes may change: one that is
# not here means what its HTTP status means.
CODES: Mapping[str, type[ChannelError]] = {
    "20003": CredentialsRejected,  # authentication failed
    "20005": CredentialsRejected,  # account not active
    "20404": CredentialsRejected,  # no such account
    "20429": RateLimited,  # too many concurrent requests; surely not processed
    "20500": OutcomeUnknown,
    "20503": ProviderUnavailable,
    "21211": InvalidRecipient,  # not a phone number
    "21214": InvalidRecipient,  # cannot be reached
    "21217": InvalidRecipient,  # does not appear to be valid
    "21610": InvalidRecipient,  # the person answered STOP: nothing may be sent until START
    "21614": InvalidRecipient,  # not a mobile number
    "21212": CredentialsRejected,  # our sender number is invalid: all would fail, an operator must act
    "21603": CredentialsRejected,  # no sender
    "21606": CredentialsRejected,  # our sender number cannot send SMS
    "21659": CredentialsRejected,  # our sender number is not a Twilio number
    "21660": CredentialsRejected,  # our sender number belongs to another account
    "21408": MessageRejected,  # not permitted to send to this country
    "21602": MessageRejected,  # no text
    "21608": MessageRejected,  # a trial account, and the number is not verified
    "21611": RateLimited,  # the sender's queue is full
    "21612": MessageRejected,  # no route from our sender to this number
    "21617": MessageRejected,  # longer than 1,600 characters
    "30002": CredentialsRejected,  # account suspended
}


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
        self._sender = {"messaging_service_sid" if sender.startswith("MG") else "from_": sender}
        self._public_url = options.url(self.name, "public_url", public_url) if public_url else ""
        self._messages = Client(account_sid, auth_token, http_client=_Draft()).messages

    def build(self, message: Message) -> http.Request:
        callback = {"status_callback": self._callback(message)} if self._public_url else {}
        try:
            self._messages.create(to=message.address, body=message.parts["text"], **self._sender, **callback)
        except _BuiltError as built:
            return self._request(**built.call)
        raise TypeError("the SDK built no request")

    def _callback(self, message: Message) -> str:
        """Carries delivery and attempt, so that a receipt finds its row even if Twilio's answer got lost."""
        query = urlencode({"d": message.delivery_id, "a": message.attempt})
        return f"{self._public_url}{WEBHOOK_PATH}?{query}"

    def _request(
        self,
        *,
        url: str,
        data: Mapping[str, Any],
        headers: Mapping[str, str],
        auth: tuple[str, str],
        **_: object,
    ) -> http.Request:
        signature = base64.b64encode(":".join(auth).encode()).decode()
        return http.Request(
            self.base_url + urlsplit(url).path,
            {**headers, "Authorization": f"Basic {signature}"},
            urlencode(data, doseq=True).encode(),
            timeout=self.timeout,
        )

    def receipt(self, response: http.Response) -> str | None:
        return response.json().get("sid")

    def problem(self, response: http.Response) -> tuple[str, str]:
        body = response.json()
        return str(body.get("code", "")), str(body.get("message", ""))


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
