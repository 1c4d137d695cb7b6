"""Triggers that cannot be recorded: kept as dead letters with their bytes, so that nothing accepted is lost.

For callers who are told nothing: Celery tasks and buses. Over HTTP the answer says what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any

import orjson
from django.db import DataError, connection, transaction

from notifier import counts
from notifier.models import DeadLetter
from notifier.querysets.sql import storable
from notifier.record import Recorded, record_many
from notifier.trigger import SIZE_LIMIT, InvalidTrigger, Trigger, TriggerError

UNSTORABLE = "The trigger holds a value that cannot be stored."
BATCH = 1000  # rows a statement: PostgreSQL takes 65,535 parameters


@dataclass(frozen=True, slots=True)
class Refusal:
    """What came and cannot be recorded, and why. `key` names a bus's message, which may come twice, `origin` its place.

    Of `payload` the first 64 KiB are kept.
    """

    payload: bytes
    event_type: str
    error: TriggerError
    key: str = ""
    origin: Mapping[str, Any] | None = None

    @property
    def cause(self) -> str:
        return "INVALID_TRIGGER" if self.error.code == InvalidTrigger.code else self.error.code

    @property
    def problem(self) -> str:
        """What is wrong, by field; never a value."""
        problems = "; ".join(f"{name}: {text}" for name, text in self.error.fields.items())
        return storable(f"{self.error} {problems}".strip(), 500)


def bury(source: str, refusals: Sequence[Refusal]) -> None:
    """Write these down as dead letters; a bus's message that comes again is not written twice."""
    letters = [
        DeadLetter(
            source=source,
            event_type=refusal.event_type,
            cause=refusal.cause,
            last_error=refusal.problem,
            payload=refusal.payload[:SIZE_LIMIT],
            idempotency_key=_letter_key(refusal) if refusal.key else None,
            origin=refusal.origin,
        )
        for refusal in refusals
    ]
    DeadLetter.objects.bulk_create(letters, batch_size=BATCH, ignore_conflicts=True)
    transaction.on_commit(partial(counts.refused, [refusal.cause for refusal in refusals]))


def _letter_key(refusal: Refusal) -> str:
    """With a digest of the bytes: a topic that was made anew counts from nought again, and its messages are others."""
    return f"{refusal.key[:238]}:{sha256(refusal.payload).hexdigest()[:16]}"


def message_key(letter: DeadLetter) -> str | None:
    """The key of the bus's message that became this letter."""
    return letter.idempotency_key.rpartition(":")[0] if letter.idempotency_key else None


def record_each(triggers: Sequence[Trigger], source: str) -> Sequence[list[Recorded] | TriggerError]:
    """All at once; by halves where one holds what no column and no JSON can, such as a NUL: that one is refused."""
    try:
        with _undone():
            return record_many(triggers, source)
    except (DataError, orjson.JSONEncodeError):
        if len(triggers) == 1:
            return [InvalidTrigger(UNSTORABLE)]
        half = len(triggers) // 2
        return [*record_each(triggers[:half], source), *record_each(triggers[half:], source)]


def _undone() -> AbstractContextManager[Any]:
    """What breaks leaves nothing behind; without a transaction a statement is one of its own."""
    return transaction.atomic() if connection.in_atomic_block else nullcontext()


def type_named(body: Any) -> str:
    """The event type, also an unknown one; whatever else stands in its place may be anybody's address."""
    name = body.get("eventType") if isinstance(body, Mapping) else None
    return name if isinstance(name, str) and re.fullmatch("[A-Z][A-Z0-9_]{0,63}", name) else ""
