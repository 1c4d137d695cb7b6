"""Firebase Cloud Messaging's HTTP v1 messages:send.

A token that begins with "unregistered" belongs to an app that was removed, one that begins with "mismatch" to
another sender; any other token that is not empty is a device.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse, Response

from sandbox import credentials
from sandbox.provider import Call, Provider, Refusal, envelope, login, number, text, texts
from sandbox.store import Message, random_bytes

PAYLOAD_LIMIT = 4_096  # bytes of notification and data together
PAYLOAD = json.JSONEncoder(ensure_ascii=False)  # how they are measured
FIELDS = {
    "name",
    "data",
    "notification",
    "android",
    "webpush",
    "apns",
    "fcm_options",
    "token",
    "topic",
    "condition",
}
FIELDS_IN_CAMEL_CASE = {"fcmOptions"}
#: HTTP status → (Google's canonical status, FCM's error code, sentence)
ERRORS = {
    400: ("INVALID_ARGUMENT", "INVALID_ARGUMENT", "Request contains an invalid argument."),
    401: (
        "UNAUTHENTICATED",
        "",
        (
            "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or "
            "other valid authentication credential. "
            "See https://developers.google.com/identity/sign-in/web/devconsole-project."
        ),
    ),
    403: ("PERMISSION_DENIED", "SENDER_ID_MISMATCH", "SenderId mismatch"),
    404: ("NOT_FOUND", "UNREGISTERED", "Requested entity was not found."),
    429: ("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED", "Quota exceeded for quota metric 'Messages sent'."),
    500: ("INTERNAL", "INTERNAL", "Internal error encountered."),
    503: ("UNAVAILABLE", "UNAVAILABLE", "The service is currently unavailable."),
}


class Fcm(Provider):
    name = "fcm"
    accepted_status = 200

    def read(self, call: Call) -> list[Message]:
        message = call.content.get("message") if isinstance(call.content, dict) else None
        if not isinstance(message, dict) or _is_dry_run(call.content):
            return []
        data = texts(message.get("data"))
        push = Message(
            provider=self.name,
            channel="PUSH",
            to=text(message, "token") or text(message, "topic") or text(message, "condition"),
            delivery_id=data.get("delivery_id", ""),
            attempt=number(data.get("attempt", "")),
            event_type=data.get("event_type", ""),
            order_id=data.get("order_id", ""),
            title=text(message, "notification", "title"),
            body=text(message, "notification", "body"),
            data=data,
            **envelope(call.headers),
        )
        return [push]

    def check(self, call: Call) -> None:
        if login(call.headers, "bearer") != credentials.FCM_ACCESS_TOKEN:
            raise Refusal(self.complain(401))
        if call.path["project"] != credentials.FCM_PROJECT_ID:
            raise Refusal(_error(403, "Permission 'cloudmessaging.messages.create' denied on resource.", code=""))
        if not isinstance(call.content, dict):
            raise Refusal(_error(400, "Invalid JSON payload received. Unexpected token.", code=""))
        _check_shape(call.content)
        _check_target(call.content["message"])
        _check_token(call.content["message"].get("token"))

    def accept(self, messages: list[Message], reference: str) -> Response:  # noqa: ARG002
        return JSONResponse({"name": reference})

    def complain(self, status: int, code: str = "") -> Response:
        return _error(status, code=code or None)

    def reference(self) -> str:
        return f"projects/{credentials.FCM_PROJECT_ID}/messages/0:{random_bytes(16).hex()}"


def _is_dry_run(call: Mapping[str, Any]) -> bool:
    """Judged, answered, and delivered to nobody:
    https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages/send, as known on 2026-11-25.
    """
    return call.get("validate_only") is True or call.get("validateOnly") is True


def _error(status: int, message: str = "", code: str | None = None) -> JSONResponse:
    """Google's error body; `code` is FCM's own, the status's usual one by default and none where empty."""
    canonical, usual, sentence = ERRORS.get(status, ("UNKNOWN", "UNSPECIFIED_ERROR", "Unknown error."))
    error: dict[str, Any] = {"code": status, "message": message or sentence, "status": canonical}
    fcm_code = usual if code is None else code
    if fcm_code:
        kind = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
        error["details"] = [{"@type": kind, "errorCode": fcm_code}]
    return JSONResponse({"error": error}, status)


def _check_shape(call: Mapping[str, Any]) -> None:
    """As Google's JSON reader does: no field that it does not know, and texts where it wants texts."""
    message = call.get("message")
    if not isinstance(message, dict):
        raise Refusal(_error(400, "The message is not set."))
    strange = {*(set(call) - {"message", "validate_only", "validateOnly"})}
    strange |= set(message) - FIELDS - FIELDS_IN_CAMEL_CASE
    for name in sorted(strange):
        raise Refusal(_error(400, f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.', code=""))
    data = message.get("data", {})
    if not isinstance(data, dict) or not all(isinstance(value, str) for value in data.values()):
        raise Refusal(_error(400, "Invalid value at 'message.data[0].value' (TYPE_STRING).", code=""))


def _check_target(message: Mapping[str, Any]) -> None:
    targets = [name for name in ("token", "topic", "condition") if name in message]
    if not targets:
        raise Refusal(_error(400, "Recipient of the message is not set."))
    if len(targets) > 1:
        raise Refusal(_error(400, "Exactly one of token, topic or condition may be set.", code=""))
    payload = PAYLOAD.encode([message.get("notification", {}), message.get("data", {})])
    if len(payload.encode()) > PAYLOAD_LIMIT:
        raise Refusal(_error(400, "Android message is too big"))


def _check_token(token: Any) -> None:
    if token is None:
        return
    if not isinstance(token, str) or not token.strip():
        raise Refusal(_error(400, "The registration token is not a valid FCM registration token"))
    if token.startswith("unregistered"):
        raise Refusal(_error(404))
    if token.startswith("mismatch"):
        raise Refusal(_error(403))
