"""Who acts: told to the database with each change, for its triggers to write into the history (docs/audit.md).

Without it the engine acts, by the default of its connections (config/settings.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson
from django.db import connection, transaction

SETTING = "notifier.acting"  # what the triggers read; JSON of an Actor

# Statements that may change what has a history, by the names of its tables and procedures. One that only looks is
# caught, too, at times, which costs it a round trip. What each trigger runs is known by its beginning, and has none.
_CONCERNED = re.compile(
    r"preferences_(?:user|device|preference|suppressedaddress|\w+_history)"
    r"|notifier_(?:apikey|deadletter|pause|rollout|templateversion)|auth_group"
)
_NOT_CONCERNED = (
    "SELECT",
    "INSERT INTO notifier_notificationevent",
    'UPDATE "notifier_apikey" SET "last_used_at" =',
    *("CREATE INDEX CONCURRENTLY", "DROP INDEX CONCURRENTLY"),  # refused in a transaction
)


@dataclass(frozen=True, slots=True)
class Actor:
    """`kind` is a Change.ActorKind, `origin` says from where: texts by name, as {"ip": "192.0.2.1"}."""

    kind: str
    name: str = ""
    origin: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def acting(who: Callable[[], Actor]) -> Iterator[None]:
    """Changes by this thread are told to be `who`'s, who is asked at each: a request learns only later whose it is.

    They are told within the statement's transaction, so it works behind a connection pooler, too. Other statements cost
    nothing more.
    """

    told = False

    def tell(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
        if not _may_change(sql):
            return execute(sql, params, many, context)
        nonlocal told
        told = True
        with nullcontext() if connection.in_atomic_block else transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(f"SELECT set_config('{SETTING}', %s, true)", [orjson.dumps(asdict(who())).decode()])
            return execute(sql, params, many, context)

    with connection.execute_wrapper(tell):
        yield
    if (
        told and connection.in_atomic_block and not connection.needs_rollback
    ):  # the transaction began before, and goes on
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL {SETTING} TO DEFAULT")


def _may_change(sql: Any) -> bool:
    return isinstance(sql, str) and not sql.lstrip().startswith(_NOT_CONCERNED) and bool(_CONCERNED.search(sql))
