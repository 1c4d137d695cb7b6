"""The two ways in which the history changes, each of them a row of it. Everything else, the database refuses."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.db import connection


def blank(user_id: UUID) -> int:
    """Take a person's addresses out of the history, after they were erased, in the same transaction; how many rows.

    The rows stay, with their time and who it was. Blanked are addresses, names, locale and time zone of the person,
    where their own changes came from, and their addresses in the history of suppressed ones.
    """
    return _call("CALL preferences_blank_history(%s::uuid, %s::bigint)", user_id, 0)


def forget(before: datetime, limit: int) -> int:
    """Delete up to `limit` rows that are older, the oldest first; how many. What is not 30 days old, it refuses."""
    return _call("CALL preferences_forget_history(%s::timestamptz, %s::bigint)", before, limit)


def _call(procedure: str, *arguments: UUID | datetime | int) -> int:
    with connection.cursor() as cursor:
        cursor.execute(procedure, arguments)
        return int(cursor.fetchone()[0])
