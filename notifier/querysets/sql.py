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


def overtaken_by_sql(order_id: str, recipient_key: str, stage: str) -> str:
    """SQL of "TYPE id" of an event of this stage or a later one for the same order and recipient; NULL for none.

    For a query in which these are text, text and int. Walks event_order.
    """
    # "order_id <> ''" is what lets the planner use event_order: it does not infer it from the comparison
    return f"""(SELECT later.event_type || ' ' || later.id FROM notifier_notificationevent AS later
            WHERE later.order_id <> '' AND later.order_id = {order_id} AND later.recipient_key = {recipient_key}
              AND later.stage >= {stage} LIMIT 1)"""  # noqa: S608 - names of columns


def execute(sql: str, params: Sequence[Any] | Mapping[str, Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
