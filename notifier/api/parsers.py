"""Reads a request's body: JSON, an object, no larger than the view takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

import orjson
from rest_framework import status
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser

from notifier.api.errors import ApiError

BODY_LIMIT = 64 * 1024  # bytes
BULK_BODY_LIMIT = 4 * 1024 * 1024  # bytes; views that take many raise `body_limit` to it


class BoundedJSONParser(BaseParser):
    """Raises 413 for a body over the view's `body_limit`, 400 for one that is not a JSON object."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,  # noqa: ARG002 - REST framework's signature
        parser_context: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        limit = getattr((parser_context or {}).get("view"), "body_limit", BODY_LIMIT)
        raw = stream.read(limit + 1)
        if len(raw) > limit:
            raise too_large(limit)
        try:
            body = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            raise ParseError(f"The body is not JSON: {error}") from error
        if not isinstance(body, dict):
            raise ParseError("The body must be a JSON object.")
        if rb"\u0000" in raw and _holds_nul(body):
            raise ParseError("The body holds a NUL character, which cannot be stored.")
        return body


def too_large(limit: int) -> ApiError:
    message = f"The body is larger than {limit // 1024} KiB."
    return ApiError(status.HTTP_413_REQUEST_ENTITY_TOO_LARGE, "TOO_LARGE", message)


def _holds_nul(value: Any) -> bool:
    match value:
        case str():
            return "\0" in value
        case dict():
            return any(_holds_nul(key) or _holds_nul(item) for key, item in value.items())
        case list():
            return any(_holds_nul(item) for item in value)
    return False
