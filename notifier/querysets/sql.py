"""Running raw SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connection


def execute(sql: str, params: Sequence[Any] | Mapping[str, Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
