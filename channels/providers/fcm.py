"""PUSH by Firebase Cloud Messaging's HTTP v1. pyfcm builds the payload, google-auth signs, our pool carries.

pyfcm's own notify() is never called: it sleeps and posts again within the call, as often as it likes.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from google.auth.credentials import TokenState
from google.auth.exceptions import GoogleAuthError
from google.oauth2 import service_account
from pyfcm.baseapi import BaseAPI

from channels.base import Message, Outcome, Welcome
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

DRY_RUN_TOPIC = "notifier-dry-run"  # nobody subscribes to it, and nothing goes to it
SCOPE = "https://www.googleapis.com/auth/firebase.messaging"

# https://firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode, as known on 2026-11-24. UNSPECIFIED_ERROR, and an
# answer without a code of FCM's own, mean what the HTTP status means. docs/errors.md shows every table together.
CODES: Mapping[str, type[ChannelError]] = {
    "INTERNAL": OutcomeUnknown,
    "INVALID_ARGUMENT": MessageRejected,  # or InvalidRecipient, when the token is what is wrong: see judge()
    "QUOTA_EXCEEDED": RateLimited,
    # The token belongs to another sender, or we run with another project's key. The latter would cost every device
    # if the token were dropped. FCM's advice on dead tokens names UNREGISTERED and INVALID_ARGUMENT alone
    # (https://firebase.google.com/docs/cloud-messaging/manage-tokens).
    "SENDER_ID_MISMATCH": MessageRejected,
    "THIRD_PARTY_AUTH_ERROR": CredentialsRejected,  # our APNs certificate or web push key
    "UNAVAILABLE": ProviderUnavailable,
    "UNREGISTERED": InvalidRecipient,  # the app is gone; a plain 404 (wrong project) must not cost a device
}


class FcmProvider(HttpProvider):
    """Options: `project_id`, `service_account_file` (a JSON key's path), `base_url`, `timeout` (seconds).

    FCM cannot be asked what became of a message: HTTP v1 has the method `send` and no other for messages
    (https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages, as known on 2026-11-24). So a second
    one replaces the first on the device: see build().
    """

    name = "fcm"
    codes = CODES

    def __init__(
        self,
        *,
        project_id: str,
        service_account_file: str,
        base_url: str = "https://fcm.googleapis.com",
        timeout: float = http.TIMEOUT,
    ) -> None:
        super().__init__(base_url=base_url, timeout=timeout)
        project_id = options.text(self.name, "project_id", project_id)
        self._credentials = self._read_account(options.text(self.name, "service_account_file", service_account_file))
        self._builder = BaseAPI(credentials=self._credentials, project_id=project_id)
        self._url = f"{self.base_url}/v1/projects/{project_id}/messages:send"
        self._refreshing = threading.Lock()
        self._headers: Mapping[str, str] = {}

    def _read_account(self, path: str) -> service_account.Credentials:
        try:
            found: service_account.Credentials = service_account.Credentials.from_service_account_file(  # type: ignore[no-untyped-call]
                path, scopes=[SCOPE]
            )
        except (OSError, ValueError, TypeError, AttributeError, GoogleAuthError) as error:
            problem = f"names no service account key ({type(error).__name__})"
            raise options.wrong(self.name, "service_account_file", problem) from None
        return found

    def send(self, messages: Sequence[Message]) -> list[Outcome]:
        """One access token for all of them; without one nothing is sent."""
        try:
            self._headers = {"Authorization": f"Bearer {self._token()}", "Content-Type": "application/json"}
        except ChannelError as error:
            return [error for _ in messages]
        return super().send(messages)

    def introduce(self) -> Welcome | ChannelError | None:
        """By an access token and a dry run, which FCM judges as a message and does not deliver.

        https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages/send, `validate_only`, as known on
        2026-11-25.
        """
        try:
            headers = {"Authorization": f"Bearer {self._token()}", "Content-Type": "application/json"}
        except ChannelError as error:
            return error
        body = json.dumps({"validate_only": True, "message": {"topic": DRY_RUN_TOPIC}}).encode()
        found = self.understand(http.post(http.Request(self._url, headers, body, timeout=self.timeout)), self.receipt)
        return found if isinstance(found, ChannelError) else Welcome()

    def build(self, message: Message) -> http.Request:
        # should a message go out twice, the second replaces the first on the device
        same = message.delivery_id
        payload = self._builder.parse_payload(
            fcm_token=message.address,
            notification_title=message.parts["title"],
            notification_body=message.parts["body"],
            data_payload={
                **message.data,
                "delivery_id": same,
                "attempt": str(message.attempt),
                "event_type": message.event_type,
            },
            android_config={"collapse_key": same, "notification": {"tag": same}},
            apns_config={"headers": {"apns-collapse-id": same}},
            webpush_config={"notification": {"tag": same}},
        )
        return http.Request(self._url, self._headers, payload, timeout=self.timeout)

    def receipt(self, response: http.Response) -> str | None:
        return response.json().get("name")

    def problem(self, response: http.Response) -> tuple[str, str]:
        error = response.json().get("error") or {}
        codes = [detail["errorCode"] for detail in error.get("details", ()) if "errorCode" in detail]
        return (codes or [error.get("status", "")])[0], error.get("message", "")

    def judge(self, code: str, response: http.Response) -> type[ChannelError]:
        if response.status == HTTPStatus.UNAUTHORIZED:
            self._credentials.token = None  # the next call asks for a new one
        if code == "INVALID_ARGUMENT" and _is_about_token(response.json()["error"]):
            return InvalidRecipient
        return super().judge(code, response)

    def _token(self) -> str:
        """The access token, renewed before it ends. Raises a ChannelError: nothing was sent."""
        with self._refreshing:
            state = self._credentials.token_state
            if state is not TokenState.FRESH:
                try:
                    self._refresh()
                except ChannelError:
                    if state is TokenState.INVALID:
                        raise
                    # a stale one is good for some minutes yet
            return str(self._credentials.token)

    def _refresh(self) -> None:
        try:
            self._credentials.refresh(self._exchange)  # type: ignore[no-untyped-call]
        except ChannelError:
            raise
        except Exception as error:  # google-auth leaves an answer that is no token to whatever trips over it
            raise ProviderUnavailable(f"no access token: {type(error).__name__}", provider=self.name) from error

    def _exchange(
        self,
        url: str,
        method: str = "POST",
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        **_: object,
    ) -> _TokenAnswer:
        """google-auth's transport. Raises for all but a 200, since google-auth would sleep and try again."""
        # half the time of a call: the messages themselves go out within the same slice
        answer = http.post(http.Request(url, headers or {}, body, method, self.timeout / 2))
        if isinstance(answer, ChannelError):
            raise ProviderUnavailable(f"token: {answer.detail}", provider=self.name)
        if answer.status != HTTPStatus.OK:
            raise self._token_refusal(answer)
        return _TokenAnswer(answer.status, answer.headers, answer.body)

    def _token_refusal(self, answer: http.Response) -> ChannelError:
        meaning = http.error_class(answer.status)
        if answer.status == HTTPStatus.BAD_REQUEST:
            meaning = CredentialsRejected  # OAuth's invalid_grant: a key that was revoked, or a wrong clock
        if meaning not in {CredentialsRejected, RateLimited}:
            meaning = ProviderUnavailable  # whatever became of the token, no message went out
        return meaning(
            "no access token was granted",
            code=str(answer.json().get("error", "")),
            status=answer.status,
            provider=self.name,
            retry_after=http.retry_after(answer.headers),
        )


@dataclass(frozen=True, slots=True)
class _TokenAnswer:
    """google.auth.transport.Response."""

    status: int
    headers: Mapping[str, str]
    data: bytes


def _is_about_token(error: Mapping[str, Any]) -> bool:
    """FCM says so by the field it complains of, or in words alone."""
    violations = [each for detail in error.get("details", ()) for each in detail.get("fieldViolations", ())]
    fields = [violation.get("field", "") for violation in violations]
    return "message.token" in fields or (not fields and "registration token" in error.get("message", ""))
