"""Of deliveries and their attempts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson
from django.db import connection, models
from uuid_utils import uuid7

from notifier.plan import Planned
from notifier.querysets.sql import execute, overtaken_by_sql
from preferences.resolve import Recipient, glance_sql, people

if TYPE_CHECKING:
    from notifier.models import Delivery


@dataclass(frozen=True, slots=True)
class Candidate:
    """A delivery that could be sent, with what its message needs of the event and its recipient.

    `started`: it is SENDING now, by this `attempt`; else there was no room for it, and `attempt` is its last one.
    `waited`: seconds since it was first due.
    """

    id: UUID
    event_id: UUID
    round: int
    channel: str
    attempt: int
    started: bool
    tries: int
    unknown_since: datetime | None
    forced: bool
    hold_reason: str
    waited: float
    seconds_to_live: float
    now: datetime
    event_type: str
    order_id: str
    metadata: dict[str, Any]
    recorded_at: datetime
    recipient: Recipient


@dataclass(frozen=True, slots=True)
class Ready:
    """A delivery that may be claimed now. `waited`: seconds; `crashed`: its last attempt ended with its process."""

    id: UUID
    channel: str
    waited: float
    crashed: bool


@dataclass(frozen=True, slots=True)
class Skip:
    """A delivery that was claimed by `attempt` and will not be sent after all."""

    id: UUID
    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class Hold:
    """A delivery that was claimed by `attempt` and must not disturb now; `due_in` is seconds from now."""

    id: UUID
    attempt: int
    due_in: float
    reason: str


@dataclass(frozen=True, slots=True)
class Postponed:
    """A candidate that waits for its provider; `due_in` is seconds from now."""

    id: UUID
    due_in: float
    detail: str


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A candidate that has waited for its provider long enough; `attempt` is its last one."""

    id: UUID
    attempt: int
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
    address_hash: str = ""
    template: str = ""


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
    def plan(self, planned: Sequence[tuple[UUID, Planned]], event_ids: Sequence[UUID] = ()) -> list[Ready]:
        """Insert deliveries of events; what may be claimed now of them, and of these other events, in id order.

        Uses (event, channel)'s index. What was planned before stays as it is.
        """
        rows = [
            [str(uuid7()), event, n.channel, n.status, n.skip_reason, n.fallback_of, n.detail, n.hold_reason, n.due_in]
            for event, n in planned
        ]
        with connection.cursor() as cursor:
            # asked for none, PostgreSQL would read some partial index whole: to its planner none meets any condition
            if event_ids:
                cursor.execute(_PLAN_AND_FIND, [orjson.dumps(rows).decode(), list(event_ids)])
            else:
                cursor.execute(_PLAN, [orjson.dumps(rows).decode()])
            return [Ready(*row) for row in cursor.fetchall()]

    def claim(
        self,
        ids: Sequence[UUID],
        *,
        room: int,
        early: bool,
        alone: bool,
        superseded_from: Mapping[str, int],
        lease: timedelta,
        whole: bool,
    ) -> tuple[list[Candidate], list[str]]:
        """Take what may be sent of these: the first `room` of them -> SENDING, which counts the attempt.

        Returns them and those that wait for room; and the reasons of what is too late or overtaken, which -> SKIPPED.

        `early`: also those whose retry is not due yet; `alone`: also one whose last attempt crashed. One statement,
        committed by itself. What overtook an event is looked up by event_order. `whole`: see
        preferences.resolve.glance_sql.
        """
        with connection.cursor() as cursor:
            cursor.execute(
                _CLAIM,
                {
                    "ids": list(ids),
                    "types": list(superseded_from),
                    "stages": list(superseded_from.values()),
                    "early": early,
                    "alone": alone,
                    "room": room,
                    "lease": lease.total_seconds(),
                    "whole": whole,
                },
            )
            found = cursor.fetchall()
        rows = [row for row in found if not row[0]]
        recipients = people([row[-2:] for row in rows])
        candidates = [_candidate(row, recipient) for row, recipient in zip(rows, recipients, strict=True)]
        return candidates, [row[0] for row in found if row[0]]

    def skip(self, skips: Sequence[Skip]) -> None:
        """SENDING -> SKIPPED, for rows that the caller has claimed."""
        execute(
            """
            WITH locked AS (SELECT id FROM notifier_delivery WHERE id = ANY(%(ids)s) ORDER BY id FOR UPDATE)
            UPDATE notifier_delivery AS delivery
            SET status = 'SKIPPED', skip_reason = skip.reason, detail = '', lease_until = NULL,
                finished_at = statement_timestamp()
            FROM unnest(%(ids)s::uuid[], %(attempts)s::int[], %(reasons)s::text[]) AS skip(id, attempt, reason), locked
            WHERE delivery.id = ANY(%(ids)s) AND delivery.id = skip.id AND delivery.id = locked.id
              AND delivery.status = 'SENDING' AND delivery.attempt = skip.attempt
            """,
            {
                "ids": [s.id for s in skips],
                "attempts": [s.attempt for s in skips],
                "reasons": [s.reason for s in skips],
            },
        )

    def hold(self, holds: Sequence[Hold]) -> None:
        """SENDING -> QUEUED, held, for rows that the caller has claimed. Its waits begin anew then."""
        execute(
            """
            WITH locked AS (SELECT id FROM notifier_delivery WHERE id = ANY(%(ids)s) ORDER BY id FOR UPDATE)
            UPDATE notifier_delivery AS delivery
            SET status = 'QUEUED', hold_reason = hold.reason, lease_until = NULL,
                due_at = statement_timestamp() + hold.due_in * interval '1 second',
                first_due_at = statement_timestamp() + hold.due_in * interval '1 second'
            FROM unnest(%(ids)s::uuid[], %(attempts)s::int[], %(waits)s::float8[], %(reasons)s::text[])
              AS hold(id, attempt, due_in, reason), locked
            WHERE delivery.id = ANY(%(ids)s) AND delivery.id = hold.id AND delivery.id = locked.id
              AND delivery.status = 'SENDING' AND delivery.attempt = hold.attempt
            """,
            {
                "ids": [h.id for h in holds],
                "attempts": [h.attempt for h in holds],
                "waits": [h.due_in for h in holds],
                "reasons": [h.reason for h in holds],
            },
        )

    def pause(self, rows: Sequence[tuple[UUID, float]]) -> None:
        """QUEUED or RETRYING -> QUEUED, held, for rows that nobody sends: (id, seconds until it is looked at again).

        Their waits begin anew then.
        """
        execute(
            """
            WITH locked AS (
                SELECT id FROM notifier_delivery WHERE id = ANY(%(ids)s) AND status IN ('QUEUED', 'RETRYING')
                ORDER BY id FOR UPDATE SKIP LOCKED
            )
            UPDATE notifier_delivery AS delivery
            SET status = 'QUEUED', hold_reason = 'PAUSED',
                due_at = statement_timestamp() + p.due_in * interval '1 second',
                first_due_at = statement_timestamp() + p.due_in * interval '1 second'
            FROM unnest(%(ids)s::uuid[], %(waits)s::float8[]) AS p(id, due_in), locked
            WHERE delivery.id = ANY(%(ids)s) AND delivery.id = p.id AND locked.id = p.id
            """,
            {"ids": [i for i, _ in rows], "waits": [float(due_in) for _, due_in in rows]},
        )

    def release(self, channel: str, event_type: str, limit: int, spread: timedelta) -> int:
        """Make due, within `spread`, up to `limit` deliveries that a pause of this channel, or of this type, held, with
        their events; how many. Walks delivery_paused.
        """
        given: dict[str, str | int | float] = {"channel": channel, "event_type": event_type}
        given |= {"limit": limit, "spread": spread.total_seconds()}
        with connection.cursor() as cursor:
            cursor.execute(_RELEASE, given)
            return int(cursor.fetchone()[0])

    def ask_again(self, user_id: UUID) -> bool:
        """What quiet hours hold of this person is due now, with its events; was there any? The claim holds it anew
        where it must still wait. Walks event_user.
        """
        with connection.cursor() as cursor:
            cursor.execute(_ASK_AGAIN, {"user_id": user_id})
            return bool(cursor.rowcount)

    def disable(self, ids: Sequence[UUID]) -> None:
        """QUEUED or RETRYING -> SKIPPED, for rows whose channel is switched off. The caller holds their events."""
        execute(
            """
            WITH locked AS (
                SELECT id FROM notifier_delivery WHERE id = ANY(%(ids)s) AND status IN ('QUEUED', 'RETRYING')
                ORDER BY id FOR UPDATE SKIP LOCKED
            )
            UPDATE notifier_delivery AS delivery
            SET status = 'SKIPPED', skip_reason = 'CHANNEL_DISABLED', detail = '', finished_at = statement_timestamp()
            FROM locked WHERE delivery.id = ANY(%(ids)s) AND delivery.id = locked.id
            """,
            {"ids": list(ids)},
        )

    def still_open(self, ids: Sequence[UUID]) -> list[UUID]:
        """Those among these that are not sent yet, in the order given."""
        found = set(self.filter(id__in=ids, status__in=["QUEUED", "RETRYING"]).values_list("id", flat=True))
        return [i for i in ids if i in found]

    def postpone(self, rows: Sequence[Postponed]) -> None:
        """Move when rows are due that are not being sent; that costs them no try."""
        execute(
            """
            WITH locked AS (
                SELECT id FROM notifier_delivery WHERE id = ANY(%(ids)s) AND status IN ('QUEUED', 'RETRYING')
                ORDER BY id FOR UPDATE SKIP LOCKED
            )
            UPDATE notifier_delivery AS delivery
            SET due_at = statement_timestamp() + p.due_in * interval '1 second',
                detail = CASE WHEN fallback_of = '' THEN p.detail ELSE delivery.detail END
            FROM unnest(%(ids)s::uuid[], %(waits)s::float8[], %(details)s::text[]) AS p(id, due_in, detail), locked
            WHERE delivery.id = ANY(%(ids)s) AND delivery.id = p.id AND locked.id = p.id
            """,
            {
                "ids": [r.id for r in rows],
                "waits": [float(r.due_in) for r in rows],
                "details": [r.detail for r in rows],
            },
        )

    def give_up(self, rows: Sequence[GivenUp]) -> list[UUID]:
        """QUEUED or RETRYING -> FAILED with its dead letter, where nobody claimed it meanwhile; their events."""
        params: dict[str, list[Any]] = {
            "ids": [r.id for r in rows],
            "attempts": [r.attempt for r in rows],
            "causes": [r.cause for r in rows],
            "details": [r.detail for r in rows],
        }
        with connection.cursor() as cursor:
            cursor.execute(_GIVE_UP, params)
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

    def finish(self, results: Sequence[DeliveryResult]) -> list[tuple[UUID, str]]:
        """Write attempts, new states and dead letters in one statement; (event id, status) of what changed.

        The fence: RETRYING and FAILED are written only where the row is SENDING with that attempt; an acceptance
        over any state that is not final. An attempt that the sweeper wrote down as UNKNOWN is corrected.
        """
        attempts = [attempt for result in results for attempt in result.attempts]
        with connection.cursor() as cursor:
            cursor.execute(
                _FINISH,
                {
                    "ids": [result.id for result in results],
                    "results": _records(_RESULT, results),
                    "attempts": _records(_ATTEMPT, attempts),
                },
            )
            return list(cursor.fetchall())

    def lease_expired(self, limit: int) -> list[Delivery]:
        """Sends whose process is gone, locked. Walks delivery_leased."""
        return list(
            self.raw(
                """
                SELECT id, event_id, channel, attempt, crashes, provider, due_at, lease_until FROM notifier_delivery
                WHERE lease_until < statement_timestamp() AND status = 'SENDING'
                ORDER BY lease_until LIMIT %s FOR UPDATE SKIP LOCKED
                """,
                [limit],
            )
        )


_ASK_AGAIN = """
WITH open AS MATERIALIZED (
    SELECT id FROM notifier_notificationevent WHERE user_id = %(user_id)s AND status = 'DISPATCHED'
    ORDER BY id FOR UPDATE
), held AS (
    UPDATE notifier_delivery SET due_at = statement_timestamp(), first_due_at = statement_timestamp()
    WHERE event_id = ANY(ARRAY(SELECT id FROM open)) AND status = 'QUEUED' AND hold_reason = 'QUIET_HOURS'
      AND due_at > statement_timestamp()
    RETURNING event_id
)
UPDATE notifier_notificationevent SET due_at = LEAST(due_at, statement_timestamp())
WHERE id = ANY(ARRAY(SELECT event_id FROM held))
"""

# what is due within the spread is on its way out already
_RELEASE = """
WITH paused AS MATERIALIZED (
    SELECT delivery.id, delivery.event_id,
           statement_timestamp() + random() * %(spread)s * interval '1 second' AS due_at
    FROM notifier_delivery AS delivery
    WHERE delivery.status = 'QUEUED' AND delivery.hold_reason = 'PAUSED'
      AND delivery.due_at > statement_timestamp() + %(spread)s * interval '1 second'
      AND (%(channel)s = '' OR delivery.channel = %(channel)s)
      AND (%(event_type)s = '' OR EXISTS (SELECT FROM notifier_notificationevent AS event
                                          WHERE event.id = delivery.event_id AND event.event_type = %(event_type)s))
    LIMIT %(limit)s
), open AS MATERIALIZED (
    SELECT id FROM notifier_notificationevent WHERE id = ANY(ARRAY(SELECT event_id FROM paused)) ORDER BY id FOR UPDATE
), released AS (
    UPDATE notifier_delivery AS delivery SET due_at = paused.due_at, first_due_at = paused.due_at
    FROM paused, open
    WHERE delivery.id = paused.id AND open.id = paused.event_id
      AND delivery.status = 'QUEUED' AND delivery.hold_reason = 'PAUSED'
    RETURNING delivery.event_id, delivery.due_at
), due AS (
    UPDATE notifier_notificationevent AS event SET due_at = LEAST(event.due_at, first.due_at)
    FROM (SELECT event_id, min(due_at) AS due_at FROM released GROUP BY event_id) AS first
    WHERE event.id = first.event_id
)
SELECT count(*) FROM released
"""

_PLANNED = ("id", "event_id", "channel", "status", "skip_reason", "fallback_of", "detail", "hold_reason")

# a row that is inserted here is not in the snapshot of the second half
_NEW = f"""
WITH new AS (
    INSERT INTO notifier_delivery ({", ".join(_PLANNED)}, due_at, first_due_at, attempt, tries, crashes,
                                   provider, provider_message_id)
    SELECT (row ->> 0)::uuid, (row ->> 1)::uuid, row ->> 2, row ->> 3, row ->> 4, row ->> 5, row ->> 6, row ->> 7,
           due.at, due.at, 0, 0, 0, '', ''
    FROM json_array_elements(%s::json) AS planned(row),
         LATERAL (SELECT statement_timestamp() + (row ->> 8)::float8 * interval '1 second' AS at) AS due
    ON CONFLICT DO NOTHING
    RETURNING id, channel, status, hold_reason
)
SELECT id, channel, 0::float8, false FROM new WHERE status = 'QUEUED' AND hold_reason = ''
"""  # noqa: S608 - names of columns
_PLAN = f"{_NEW} ORDER BY id"
_PLAN_AND_FIND = f"""{_NEW}
UNION ALL
SELECT id, channel, extract(epoch FROM statement_timestamp() - first_due_at)::float8, crashes > 0
FROM notifier_delivery
WHERE event_id = ANY(%s) AND status IN ('QUEUED', 'RETRYING') AND due_at <= statement_timestamp()
ORDER BY id
"""  # noqa: S608 - names of columns

_CLAIM = f"""
WITH locked AS MATERIALIZED (
    SELECT delivery.id, delivery.event_id, event.round, delivery.channel, delivery.attempt, delivery.tries,
           delivery.unknown_since, delivery.forced, delivery.hold_reason, delivery.first_due_at,
           event.event_type, event.order_id, event.metadata, event.recorded_at, event.expires_at, event.user_id,
           CASE WHEN NOT delivery.forced
                THEN {overtaken_by_sql("event.order_id", "event.recipient_key", "limits.stage")} END AS overtaken_by,
           {glance_sql("event.user_id", "event.recipient", "%(whole)s")} AS person
    FROM notifier_delivery AS delivery
    JOIN notifier_notificationevent AS event ON event.id = delivery.event_id
    LEFT JOIN unnest(%(types)s::text[], %(stages)s::int[]) AS limits(event_type, stage)
      ON limits.event_type = event.event_type
    WHERE delivery.id = ANY(%(ids)s) AND (delivery.crashes = 0 OR %(alone)s)
      AND (delivery.status IN ('QUEUED', 'RETRYING') AND delivery.due_at <= statement_timestamp()
           OR delivery.status = 'RETRYING' AND %(early)s)
    ORDER BY delivery.id
    FOR UPDATE OF delivery SKIP LOCKED
), judged AS (
    SELECT *, CASE WHEN expires_at <= statement_timestamp() THEN 'EXPIRED'
                   WHEN overtaken_by IS NOT NULL THEN 'SUPERSEDED' ELSE '' END AS obstacle
    FROM locked
), placed AS (
    SELECT *, row_number() OVER (PARTITION BY obstacle = '' ORDER BY id) <= %(room)s AS fits FROM judged
), skipped AS (
    UPDATE notifier_delivery AS delivery
    SET status = 'SKIPPED', skip_reason = placed.obstacle, finished_at = statement_timestamp(),
        detail = CASE placed.obstacle WHEN 'SUPERSEDED' THEN 'overtaken by ' || placed.overtaken_by ELSE '' END
    FROM placed WHERE delivery.id = ANY(%(ids)s) AND delivery.id = placed.id AND placed.obstacle <> ''
), started AS (
    UPDATE notifier_delivery AS delivery
    SET status = 'SENDING', attempt = delivery.attempt + 1,
        lease_until = statement_timestamp() + %(lease)s * interval '1 second'
    WHERE delivery.id = ANY(ARRAY(SELECT id FROM placed WHERE obstacle = '' AND fits))
)
SELECT obstacle, id, event_id, round, channel, attempt + fits::int, fits, tries, unknown_since, forced, hold_reason,
       extract(epoch FROM statement_timestamp() - first_due_at)::float8,
       extract(epoch FROM expires_at - statement_timestamp())::float8,
       statement_timestamp(), event_type, order_id, metadata::text, recorded_at, user_id, person
FROM placed ORDER BY id
"""  # noqa: S608 - every value is a parameter

_RESULT = {
    "id": "uuid", "attempt": "int", "status": "text", "counted": "bool", "due_in": "float8", "cause": "text",
    "detail": "text", "unknown": "bool", "started_at": "timestamptz", "provider": "text",
    "provider_message_id": "text",
}  # fmt: skip
_ATTEMPT = {
    "id": "uuid", "delivery_id": "uuid", "number": "int", "address_id": "text", "provider": "text",
    "started_at": "timestamptz", "outcome": "text", "code": "text", "http_status": "int", "detail": "text",
    "provider_message_id": "text", "maybe_duplicate": "bool", "address_hash": "text", "template": "text",
}  # fmt: skip


def _recordset(parameter: str, columns: Mapping[str, str]) -> str:
    """A batch of rows as one JSON parameter: encoding it costs a tenth of as many arrays."""
    return f"json_to_recordset(%({parameter})s::json) AS rows({', '.join(map(' '.join, columns.items()))})"


def _records(columns: Iterable[str], rows: Sequence[object]) -> str:
    return orjson.dumps([{name: getattr(row, name) for name in columns} for row in rows]).decode()


# every value is a parameter: only column names of this file are put in
_FINISH = f"""
WITH r AS MATERIALIZED (
    SELECT * FROM {_recordset("results", _RESULT)}
), locked AS (
    SELECT id FROM notifier_delivery WHERE id = ANY(%(ids)s) ORDER BY id FOR UPDATE
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
    FROM r
    WHERE delivery.id = ANY(ARRAY(SELECT id FROM locked)) AND delivery.id = r.id AND (
        delivery.status = 'SENDING' AND delivery.attempt = r.attempt
        OR r.status = 'SENT' AND delivery.status IN ('QUEUED', 'SENDING', 'RETRYING'))
    RETURNING delivery.id, delivery.event_id, delivery.channel, delivery.status, r.cause, r.detail
), written AS (
    INSERT INTO notifier_attempt (id, delivery_id, number, address_id, provider, started_at, finished_at, outcome,
                                  code, http_status, detail, provider_message_id, maybe_duplicate, address_hash,
                                  template)
    SELECT id, delivery_id, number, address_id, provider, started_at, statement_timestamp(), outcome,
           code, http_status, detail, provider_message_id, maybe_duplicate, address_hash, template
    FROM {_recordset("attempts", _ATTEMPT)}
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
WITH p AS (
    SELECT * FROM unnest(%(ids)s::uuid[], %(attempts)s::int[], %(causes)s::text[], %(details)s::text[])
        AS p(id, attempt, cause, detail)
), locked AS (
    SELECT delivery.id FROM notifier_delivery AS delivery JOIN p ON p.id = delivery.id
    WHERE delivery.id = ANY(%(ids)s) AND delivery.status IN ('QUEUED', 'RETRYING') AND delivery.attempt = p.attempt
    ORDER BY delivery.id FOR UPDATE OF delivery SKIP LOCKED
), lost AS (
    UPDATE notifier_delivery AS delivery
    SET status = 'FAILED', detail = p.detail, finished_at = statement_timestamp()
    FROM p, locked WHERE delivery.id = ANY(%(ids)s) AND delivery.id = p.id AND locked.id = p.id
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


def _candidate(row: tuple[Any, ...], recipient: Recipient) -> Candidate:
    _obstacle, *columns, metadata, recorded_at, _user_id, _glance = row
    return Candidate(*(*columns, orjson.loads(metadata), recorded_at, recipient))
