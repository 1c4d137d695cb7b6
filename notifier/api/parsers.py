"""Reads a request's body: JSON, an object, no larger than the view takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

import orjson
from rest_framework import status
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser

from notifier.api.errors import ApiError
from notifier.trigger import SIZE_LIMIT

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
        limit = getattr((parser_context or {}).get("view"), "body_limit", SIZE_LIMIT)
        raw = stream.read(limit + 1)
        if len(raw) > limit:
            raise _too_large(limit)
        try:
            body = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            if "depth limit" in str(error):
                raise _too_deep() from error
            raise ParseError(f"The body is not JSON: {error}") from error
        if not isinstance(body, dict):
            raise ParseError("The body must be a JSON object.")
        if rb"\u0000" in raw and _holds_nul(body):
            raise ParseError("The body holds a NUL character, which cannot be stored.")
        return body


def _too_deep() -> ApiError:
    message = "The body has too many objects and lists within each other."
    return ApiError(status.HTTP_400_BAD_REQUEST, "TOO_DEEP", message)


def _too_large(limit: int) -> ApiError:
    message = f"The body is larger than {limit // 1024} KiB."
    return ApiError(status.HTTP_413_REQUEST_ENTITY_TOO_LARGE, "TOO_LARGE", message)


def _holds_nul(body: Any) -> bool:
    """Without recursion: a body may be deeper than Python's stack."""
    left = [body]
    while left:
        match left.pop():
            case str() as text if "\0" in text:
                return True
            case dict() as found:
                left += [*found, *found.values()]
            case list() as found:
                left += found
    return False
