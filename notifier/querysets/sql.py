"""Running raw SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connection


def storable(words: str, limit: int) -> str:
    """Foreign words as a column can hold them: no NUL, no half of a surrogate pair, and so many characters at most.

    One that is refused would take its whole batch along.
    """
    return words.encode("utf-8", "replace").decode().replace("\x00", "")[:limit]


def execute(sql: str, params: Sequence[Any] | Mapping[str, Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
