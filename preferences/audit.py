"""The two ways in which the history changes, each of them a row of it. Everything else, the database refuses."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from django.db import connection


def blank(user_id: UUID | None, addresses: Sequence[str] = ()) -> int:
    """Take a person's addresses out of the history, after they were erased, in the same transaction; how many rows.

    `addresses`: what else is known as theirs, in the form in which they are suppressed; of a guest, all there is.

    The rows stay, with their time and who it was. Blanked are addresses, names, locale and time zone of the person,
    where their own changes came from, and their addresses in the history of suppressed ones.
    """
    return _call("CALL preferences_blank_history(%s::uuid, %s::text[], %s::bigint)", user_id, list(addresses), 0)


def forget(before: datetime, limit: int) -> int:
    """Delete up to `limit` rows that are older, the oldest first; how many. What is not 30 days old, it refuses."""
    return _call("CALL preferences_forget_history(%s::timestamptz, %s::bigint)", before, limit)


def _call(procedure: str, *arguments: UUID | datetime | int | list[str] | None) -> int:
    with connection.cursor() as cursor:
        cursor.execute(procedure, arguments)
        return int(cursor.fetchone()[0])
