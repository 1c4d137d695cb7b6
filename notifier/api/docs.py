"""How the API's documentation shows keys, errors and examples."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse
from rest_framework import serializers

from notifier.api.serializers import Body


class Problem(Body):
    code = serializers.CharField(help_text="for programs; never changes")
    message = serializers.CharField(help_text="for people")
    fields_ = serializers.DictField(child=serializers.CharField(), help_text="what is wrong, by field")


class Error(Body):
    error = Problem()


_MEANINGS = {
    400: ("The request is not valid.", "INVALID", {"metadata.orderId": "Required."}),
    401: ("The API key or token is missing, unknown, expired or revoked.", "UNAUTHENTICATED", {}),
    403: ("The API key lacks the scope, or the token is another person's.", "FORBIDDEN", {}),
    404: ("There is no such thing.", "NOT_FOUND", {"userId": "Unknown user."}),
    409: (
        "The request contradicts what is there.",
        "IDEMPOTENCY_CONFLICT",
        {"idempotencyKey": "Came with another body."},
    ),
    413: ("The body is too large.", "TOO_LARGE", {}),
    415: ("The body is not JSON.", "UNSUPPORTED_MEDIA_TYPE", {}),
    429: ("Too many requests; see Retry-After.", "RATE_LIMITED", {}),
    503: ("The database is away; see Retry-After. Try again, with the same Idempotency-Key.", "UNAVAILABLE", {}),
}


def errors(*statuses: int) -> dict[int, OpenApiResponse]:
    """These error answers, and those that every request may get; 413 stands for a request with a body."""
    with_body = {413, 415} if 413 in statuses else set()
    return {status: _response(status) for status in sorted({*statuses, *with_body, 401, 403, 429, 503})}


def _response(status: int) -> OpenApiResponse:
    message, code, fields = _MEANINGS[status]
    value = {"error": {"code": code, "message": message, "fields": fields}}
    example = OpenApiExample(code, value=value, response_only=True, status_codes=[str(status)])
    return OpenApiResponse(Error, description=message, examples=[example])


def example(title: str, value: object, *, answer: int | None = None) -> OpenApiExample:
    """An example of a request, or of the answer with this status."""
    if answer is None:
        return OpenApiExample(title, value=value, request_only=True)
    return OpenApiExample(title, value=value, response_only=True, status_codes=[str(answer)])


USER_ID = OpenApiParameter("userId", UUID, required=True, description="whose")


def say_what_is_refused(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """drf-spectacular's hook: no body of ours may hold a field that nobody knows."""
    for schema in result["components"]["schemas"].values():
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
    return result


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call] # drf-spectacular is untyped
    """How the documentation shows the key."""

    target_class = "notifier.api.auth.ApiKeyAuthentication"
    name = "ApiKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:  # noqa: ARG002 - its signature
        return {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": "`Api-Key KEY`, made by `manage.py create_api_key NAME --scope trigger`",
        }


class CustomerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call] # drf-spectacular is untyped
    """How the documentation shows a customer's token."""

    target_class = "notifier.api.auth.CustomerAuthentication"
    name = "Customer"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:  # noqa: ARG002 - its signature
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "a customer's own, for preferences and inbox: `POST /notifications/users/{userId}/token`",
        }
