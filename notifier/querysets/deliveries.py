"""Of deliveries and their attempts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson
from django.db import connection, models

from notifier.querysets.sql import execute

if TYPE_CHECKING:
    from notifier.models import Delivery


@dataclass(frozen=True, slots=True)
class Candidate:
    """A delivery locked for its claim, with what its message needs of the event."""

    id: UUID
    event_id: UUID
    round: int
    channel: str
    tries: int
    unknown_since: datetime | None
    forced: bool
    first_due_at: datetime
    now: datetime
    event_type: str
    priority: int
    user_id: UUID | None
    recipient: dict[str, str] | None
    order_id: str
    metadata: dict[str, Any]
    recorded_at: datetime
    expires_at: datetime
    overtaken_by: str | None


@dataclass(frozen=True, slots=True)
class Skip:
    """A candidate that will not be sent after all."""

    id: UUID
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Postponed:
    """A candidate that waits for its provider; `due_in` is seconds from now."""

    id: UUID
    due_in: float
    detail: str


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A candidate that has waited for its provider long enough."""

    id: UUID
    cause: str
    detail: str


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One try, as it is written down."""

    id: UUID
    delivery_id: UUID
    number: int
    address_id: str
    provider: str
    started_at: datetime
    outcome: str
    code: str = ""
    http_status: int | None = None
    detail: str = ""
    provider_message_id: str = ""
    maybe_duplicate: bool = False


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """What a claimed delivery becomes. `due_in` is seconds from now, for RETRYING.

    `unknown`: the attempt that began at `started_at` may have gone out.
    """

    id: UUID
    attempt: int
    status: str
    counted: bool
    due_in: float = 0.0
    cause: str = ""
    detail: str = ""
    unknown: bool = False
    started_at: datetime | None = None
    provider: str = ""
    provider_message_id: str = ""
    attempts: Sequence[AttemptRow] = field(default_factory=tuple)


class DeliveryQuerySet(models.QuerySet["Delivery"]):
    def ready(self, event_ids: Sequence[UUID]) -> list[tuple[UUID, str, float]]:
        """(id, channel, seconds waited) of what may be claimed now for these events. Uses (event, channel)'s index."""
        with connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT id, channel, extract(epoch FROM statement_timestamp() - first_due_at)::float8
                FROM notifier_delivery
                WHERE event_id = ANY(%s) AND status IN ('QUEUED', 'RETRYING') AND hold_reason = ''
                  AND due_at <= statement_timestamp()
                ORDER BY id
                """,
                [list(event_ids)],
            )
            return list(cursor.fetchall())

    def candidates(
        self, ids: Sequence[UUID], *, waiting: bool, crashed: bool, superseded_from: dict[str, int]
    ) -> list[Candidate]:
        """Lock the claimable among these; `waiting` also those whose retry is not due yet.

        Rows whose last attempt crashed are left out unless `crashed`: they go alone. What overtook an event is
        looked up by event_order.
        """
        with connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT delivery.id, event.id, event.round, delivery.channel, delivery.tries,
                       delivery.unknown_since, delivery.forced, delivery.first_due_at,
                       statement_timestamp(), event.event_type, event.priority, event.user_id,
                       event.recipient, event.order_id, event.metadata, event.recorded_at, event.expires_at,
                       (SELECT later.event_type || ' ' || later.id FROM notifier_notificationevent AS later
                        WHERE event.order_id <> '' AND later.order_id = event.order_id
                          AND later.recipient_key = event.recipient_key
                          AND later.stage >= limits.stage LIMIT 1)
                FROM notifier_delivery AS delivery
                JOIN notifier_notificationevent AS event ON event.id = delivery.event_id
                LEFT JOIN unnest(%s::text[], %s::int[]) AS limits(event_type, stage)
                  ON limits.event_type = event.event_type
                WHERE delivery.id = ANY(%s) AND delivery.hold_reason = '' AND (delivery.crashes > 0) = %s
                  AND (delivery.status IN ('QUEUED', 'RETRYING') AND delivery.due_at <= statement_timestamp()
                       OR delivery.status = 'RETRYING' AND %s)
                ORDER BY delivery.id
                FOR UPDATE OF delivery SKIP LOCKED
                """,
                [list(superseded_from), list(superseded_from.values()), list(ids), crashed, waiting],
            )
            return [Candidate(*_decoded(row)) for row in cursor.fetchall()]

    def skip(self, skips: Sequence[Skip]) -> None:
        """QUEUED or RETRYING -> SKIPPED, for rows that the caller has locked."""
        execute(
            """
            UPDATE notifier_delivery AS delivery
            SET status = 'SKIPPED', skip_reason = skip.reason, detail = skip.detail,
                finished_at = statement_timestamp()
            FROM unnest(%s::uuid[], %s::text[], %s::text[]) AS skip(id, reason, detail)
            WHERE delivery.id = skip.id
            """,
            [[s.id for s in skips], [s.reason for s in skips], [s.detail for s in skips]],
        )

    def postpone(self, rows: Sequence[Postponed]) -> None:
        """Move when rows are due that are not being sent; that costs them no try."""
        execute(
            """
            WITH locked AS (
                SELECT id FROM notifier_delivery WHERE id = ANY(%s) AND status IN ('QUEUED', 'RETRYING')
                ORDER BY id FOR UPDATE SKIP LOCKED
            )
            UPDATE notifier_delivery AS delivery
            SET due_at = statement_timestamp() + p.due_in * interval '1 second',
                detail = CASE WHEN fallback_of = '' THEN p.detail ELSE delivery.detail END
            FROM unnest(%s::uuid[], %s::float8[], %s::text[]) AS p(id, due_in, detail), locked
            WHERE delivery.id = p.id AND locked.id = p.id
            """,
            [[r.id for r in rows], [r.id for r in rows], [float(r.due_in) for r in rows], [r.detail for r in rows]],
        )

    def give_up(self, rows: Sequence[GivenUp]) -> list[UUID]:
        """QUEUED or RETRYING -> FAILED with its dead letter, for locked rows; their events."""
        with connection.cursor() as cursor:
            cursor.execute(_GIVE_UP, [[r.id for r in rows], [r.cause for r in rows], [r.detail for r in rows]])
            return [row[0] for row in cursor.fetchall()]

    def wake(self, channel: str, spread: timedelta) -> int:
        """A channel's provider has recovered: what waits for its next try becomes due within `spread`; how many.

        Spread, so that the provider is not run over. Walks delivery_retrying.
        """
        with connection.cursor() as cursor:
            cursor.execute(_WAKE, {"channel": channel, "spread": spread.total_seconds()})
            return int(cursor.rowcount)

    def message_ids(self, channel: str, orders: Sequence[str], *, excluding: Sequence[UUID]) -> set[str]:
        """The providers' names of what other deliveries about these orders sent. Walks event_order."""
        with connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT delivery.provider_message_id
                FROM notifier_notificationevent AS event JOIN notifier_delivery AS delivery
                  ON delivery.event_id = event.id AND delivery.channel = %s
                WHERE event.order_id = ANY(%s) AND event.order_id <> '' AND delivery.provider_message_id <> ''
                  AND delivery.id <> ALL(%s)
                """,
                [channel, list(orders), list(excluding)],
            )
            return {row[0] for row in cursor.fetchall()}

    def start(self, ids: Sequence[UUID], lease: timedelta) -> dict[UUID, tuple[int, datetime]]:
        """-> SENDING for locked rows: counts the attempt, sets the lease; id -> (attempt, started)."""
        with connection.cursor() as cursor:
            cursor.execute(
                """
                UPDATE notifier_delivery
                SET status = 'SENDING', attempt = attempt + 1,
                    lease_until = statement_timestamp() + %s * interval '1 second'
                WHERE id = ANY(%s) RETURNING id, attempt, statement_timestamp()
                """,
                [lease.total_seconds(), list(ids)],
            )
            return {row[0]: (row[1], row[2]) for row in cursor.fetchall()}

    def finish(self, results: Sequence[DeliveryResult]) -> list[tuple[UUID, str]]:
        """Write attempts, new states and dead letters in one statement; (event id, status) of what changed.

        The fence: RETRYING and FAILED are written only where the row is SENDING with that attempt; an acceptance
        over any state that is not final. An attempt that the sweeper wrote down as UNKNOWN is corrected.
        """
        attempts = [attempt for result in results for attempt in result.attempts]
        with connection.cursor() as cursor:
            cursor.execute(_FINISH, {**_columns("r", _RESULT, results), **_columns("a", _ATTEMPT, attempts)})
            return list(cursor.fetchall())

    def lease_expired(self, limit: int) -> list[Delivery]:
        """Sends whose process is gone, locked. Walks delivery_leased."""
        return list(
            self.raw(
                """
                SELECT * FROM notifier_delivery
                WHERE lease_until < statement_timestamp() AND status = 'SENDING'
                ORDER BY lease_until LIMIT %s FOR UPDATE SKIP LOCKED
                """,
                [limit],
            )
        )


_JSON_COLUMNS = {12, 14}  # Candidate.recipient, Candidate.metadata

_RESULT = {
    "id": "uuid", "attempt": "int", "status": "text", "counted": "bool", "due_in": "float8", "cause": "text",
    "detail": "text", "unknown": "bool", "started_at": "timestamptz", "provider": "text",
    "provider_message_id": "text",
}  # fmt: skip
_ATTEMPT = {
    "id": "uuid", "delivery_id": "uuid", "number": "int", "address_id": "text", "provider": "text",
    "started_at": "timestamptz", "outcome": "text", "code": "text", "http_status": "int", "detail": "text",
    "provider_message_id": "text", "maybe_duplicate": "bool",
}  # fmt: skip


def _unnest(prefix: str, columns: dict[str, str]) -> str:
    arrays = ", ".join(f"%({prefix}_{name})s::{kind}[]" for name, kind in columns.items())
    return f"unnest({arrays}) AS {prefix}({', '.join(columns)})"


def _columns(prefix: str, columns: dict[str, str], rows: Sequence[object]) -> dict[str, list[Any]]:
    return {f"{prefix}_{name}": [getattr(row, name) for row in rows] for name in columns}


# every value is a parameter: only column names of this file are put in
_FINISH = f"""
WITH locked AS (
    SELECT delivery.id FROM notifier_delivery AS delivery
    WHERE delivery.id = ANY(%(r_id)s) ORDER BY delivery.id FOR UPDATE
), changed AS (
    UPDATE notifier_delivery AS delivery
    SET status = r.status, tries = delivery.tries + r.counted::int, lease_until = NULL,
        detail = CASE WHEN r.detail = '' AND delivery.fallback_of <> '' THEN delivery.detail ELSE r.detail END,
        provider = r.provider, provider_message_id = r.provider_message_id,
        unknown_since = CASE WHEN r.unknown THEN COALESCE(delivery.unknown_since, r.started_at) END,
        crashes = CASE WHEN r.cause = 'CRASHED' THEN delivery.crashes + 1 ELSE 0 END,
        due_at = statement_timestamp() + r.due_in * interval '1 second',
        sent_at = CASE WHEN r.status = 'SENT' THEN statement_timestamp() END,
        finished_at = CASE WHEN r.status <> 'RETRYING' THEN statement_timestamp() END
    FROM {_unnest("r", _RESULT)}, locked
    WHERE delivery.id = r.id AND locked.id = r.id AND (
        delivery.status = 'SENDING' AND delivery.attempt = r.attempt
        OR r.status = 'SENT' AND delivery.status IN ('QUEUED', 'SENDING', 'RETRYING'))
    RETURNING delivery.id, delivery.event_id, delivery.channel, delivery.status, r.cause, r.detail
), written AS (
    INSERT INTO notifier_attempt (id, delivery_id, number, address_id, provider, started_at, finished_at, outcome,
                                  code, http_status, detail, provider_message_id, maybe_duplicate)
    SELECT id, delivery_id, number, address_id, provider, started_at, statement_timestamp(), outcome,
           code, http_status, detail, provider_message_id, maybe_duplicate
    FROM {_unnest("a", _ATTEMPT)}
    ON CONFLICT (delivery_id, number, address_id) DO UPDATE
    SET outcome = EXCLUDED.outcome, provider = EXCLUDED.provider, code = EXCLUDED.code,
        http_status = EXCLUDED.http_status, detail = EXCLUDED.detail, finished_at = EXCLUDED.finished_at,
        provider_message_id = EXCLUDED.provider_message_id
    WHERE notifier_attempt.outcome = 'UNKNOWN'
), dead AS (
    INSERT INTO notifier_deadletter (id, delivery_id, source, event_type, channel, cause, last_error, status)
    SELECT gen_random_uuid(), changed.id, '', event.event_type, changed.channel, changed.cause, changed.detail, 'OPEN'
    FROM changed JOIN notifier_notificationevent AS event ON event.id = changed.event_id
    WHERE changed.status = 'FAILED'
    ON CONFLICT DO NOTHING
)
SELECT event_id, status FROM changed
"""  # noqa: S608

_GIVE_UP = """
WITH lost AS (
    UPDATE notifier_delivery AS delivery
    SET status = 'FAILED', detail = p.detail, finished_at = statement_timestamp()
    FROM unnest(%s::uuid[], %s::text[], %s::text[]) AS p(id, cause, detail) WHERE delivery.id = p.id
    RETURNING delivery.id, delivery.event_id, delivery.channel, p.cause, p.detail
), dead AS (
    INSERT INTO notifier_deadletter (id, delivery_id, source, event_type, channel, cause, last_error, status)
    SELECT gen_random_uuid(), lost.id, '', event.event_type, lost.channel, lost.cause, lost.detail, 'OPEN'
    FROM lost JOIN notifier_notificationevent AS event ON event.id = lost.event_id
    ON CONFLICT DO NOTHING
)
SELECT event_id FROM lost
"""

_WAKE = """
WITH waiting AS (
    SELECT id FROM notifier_delivery
    WHERE channel = %(channel)s AND status = 'RETRYING'
      AND due_at > statement_timestamp() + %(spread)s * interval '1 second'
    ORDER BY id FOR UPDATE SKIP LOCKED
), woken AS (
    UPDATE notifier_delivery AS delivery
    SET due_at = statement_timestamp() + random() * %(spread)s * interval '1 second'
    FROM waiting WHERE delivery.id = waiting.id
    RETURNING delivery.event_id, delivery.due_at
), events AS (
    SELECT event.id, woken.due_at FROM woken JOIN notifier_notificationevent AS event ON event.id = woken.event_id
    WHERE event.status = 'DISPATCHED' ORDER BY event.id FOR UPDATE OF event
)
UPDATE notifier_notificationevent AS event
SET due_at = LEAST(event.due_at, events.due_at) FROM events WHERE event.id = events.id
"""


def _decoded(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Django's connections hand JSON over as text."""
    return tuple(orjson.loads(v) if i in _JSON_COLUMNS and v is not None else v for i, v in enumerate(row))
