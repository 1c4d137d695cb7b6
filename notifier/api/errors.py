"""The one shape of every error: {"error": {"code", "message", "fields"}}.

`code` is for programs and never changes; `message` is for people; `fields` says what is wrong, by field.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.db import DataError, InterfaceError, InternalError, OperationalError
from rest_framework import exceptions, status
from rest_framework.response import Response

from notifier import tally
from notifier.measures import DATABASE, ERRORS

RETRY_AFTER = 5  # seconds; a database that was away is asked again at most this often
# refused, lost, shutting down, starting up, too many connections, a statement that took too long; and in a state that
# allows no work, such as read-only after a failover (InternalError)
DATABASE_AWAY = (OperationalError, InterfaceError, InternalError)

Fields = Mapping[str, str]


class ApiError(Exception):
    """Ends a request with this answer."""

    def __init__(
        self, http_status: int, code: str, message: str, fields: Fields | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.http_status = http_status
        self.code = code
        self.message = message
        self.fields = fields or {}
        self.retry_after = retry_after

    @property
    def body(self) -> dict[str, Any]:
        return {"code": self.code, "message": self.message, "fields": self.fields}

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.retry_after is None else {"Retry-After": str(max(1, math.ceil(self.retry_after)))}


def invalid(fields: Fields) -> ApiError:
    """400: these fields are wrong."""
    names = ", ".join(fields)
    return ApiError(status.HTTP_400_BAD_REQUEST, "INVALID", f"The request is not valid: {names}.", fields)


def forbidden(message: str, fields: Fields) -> ApiError:
    """403, naming the field by which the caller reached too far."""
    return ApiError(status.HTTP_403_FORBIDDEN, "FORBIDDEN", message, fields)


def not_found(what: str, field: str = "", problem: str = "") -> ApiError:
    """404, naming the field that led nowhere where there is one, and the problem with it."""
    message = f"No such {what}."
    return ApiError(status.HTTP_404_NOT_FOUND, "NOT_FOUND", message, {field: problem or message} if field else None)


def handle(error: Exception, _context: dict[str, Any]) -> Response | None:
    """Django REST framework's hook. An error that nobody foresaw goes on to Django, which logs it."""
    answer = _translated(error)
    if answer is None:
        return None
    headers = answer.headers
    if isinstance(error, exceptions.APIException) and (challenge := getattr(error, "auth_header", None)):
        headers["WWW-Authenticate"] = challenge
    return Response({"error": answer.body}, status=answer.http_status, headers=headers)


_CODES = {
    exceptions.ParseError: "MALFORMED_JSON",
    exceptions.NotAuthenticated: "UNAUTHENTICATED",
    exceptions.AuthenticationFailed: "UNAUTHENTICATED",
    exceptions.PermissionDenied: "FORBIDDEN",
    exceptions.NotFound: "NOT_FOUND",
    exceptions.MethodNotAllowed: "METHOD_NOT_ALLOWED",
    exceptions.NotAcceptable: "NOT_ACCEPTABLE",
    exceptions.UnsupportedMediaType: "UNSUPPORTED_MEDIA_TYPE",
    exceptions.Throttled: "RATE_LIMITED",
}


def _translated(error: Exception) -> ApiError | None:
    match error:
        case ApiError():
            return error
        case exceptions.ValidationError():
            return invalid(flat(error.detail))
        case ValidationError():
            return invalid(flat(error.message_dict if hasattr(error, "error_dict") else error.messages))
        case exceptions.APIException():
            code = _CODES.get(type(error), "ERROR")
            return ApiError(error.status_code, code, str(error.detail), retry_after=getattr(error, "wait", None))
        case DataError():  # such as a NUL in a query
            return ApiError(status.HTTP_400_BAD_REQUEST, "INVALID", "The request holds a value that cannot be stored.")
    return database_away() if isinstance(error, DATABASE_AWAY) else None


def database_away() -> ApiError:
    """503. Whether a commit that the database died in counts, only the same request with its key can tell."""
    tally.count(ERRORS, DATABASE)
    message = "The database cannot be reached. Try again, with the same Idempotency-Key where there is one."
    return ApiError(status.HTTP_503_SERVICE_UNAVAILABLE, "UNAVAILABLE", message, retry_after=RETRY_AFTER)


def flat(detail: Any, at: str = "") -> dict[str, str]:
    """Nested validation errors by dotted path: {"a": {1: {"b": ["Bad."]}}} -> {"a.1.b": "Bad."}."""
    if isinstance(detail, Mapping):
        inner = [flat(value, f"{at}.{key}".strip(".")) for key, value in detail.items()]
        return {path: text for part in inner for path, text in part.items()}
    messages = detail if isinstance(detail, list) else [detail]
    return {at.removesuffix(".non_field_errors") or "body": " ".join(map(str, messages))}
