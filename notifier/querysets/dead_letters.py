"""Of dead letters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import connection, models

from notifier.querysets.sql import execute

if TYPE_CHECKING:
    from notifier.catalogue import EventType
    from notifier.models import DeadLetter  # noqa: F401 - names in generic bases

Cursor = tuple[datetime, UUID]
START: Cursor = (datetime(1, 1, 1, tzinfo=UTC), UUID(int=0))


@dataclass(frozen=True, slots=True)
class Filter:
    """Which open dead letters. `ids` None is all of them; another empty field leaves none out.

    Written down at `since` or later, and before `until`.
    """

    ids: Sequence[UUID] | None = None
    causes: Sequence[str] = ()
    event_types: Sequence[str] = ()
    channels: Sequence[str] = ()
    since: datetime | None = None
    until: datetime | None = None

    def params(self) -> dict[str, Any]:
        return {
            "ids": None if self.ids is None else list(self.ids),
            "causes": list(self.causes) or None,
            "event_types": list(self.event_types) or None,
            "channels": list(self.channels) or None,
            "since": self.since,
            "until": self.until,
        }


@dataclass(frozen=True, slots=True)
class Listed:
    """An open dead letter of a page. `refused`: a trigger that was never recorded, so there is no delivery."""

    id: UUID
    created_at: datetime
    refused: bool


@dataclass(frozen=True, slots=True)
class Judged:
    """An open dead letter of a delivery; `reason` says why it should not go out again, empty when it should."""

    id: UUID
    delivery_id: UUID
    event_id: UUID
    priority: int
    channel: str
    fallback_of: str
    settled: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Revival:
    """A delivery that goes out again at `due_at`, and the dead letter that this closes."""

    letter_id: UUID
    delivery_id: UUID
    due_at: datetime


class DeadLetterQuerySet(models.QuerySet["DeadLetter"]):
    def up_to_now(self, wanted: Filter) -> Filter:
        """The same letters, and none that is written down from now on."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT LEAST(%s::timestamptz, statement_timestamp())", [wanted.until])
            return replace(wanted, until=cursor.fetchone()[0])

    def matching(self, wanted: Filter) -> int:
        """How many open letters there are."""
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT count(*) FROM notifier_deadletter AS letter WHERE {_WANTED}", wanted.params())  # noqa: S608
            return int(cursor.fetchone()[0])

    def open_by_cause(self, limit: int) -> dict[str, int]:
        """How many of the newest `limit` open letters each cause has. Walks dead_letter_open that far."""
        with connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT cause, count(*) FROM (
                    SELECT cause FROM notifier_deadletter WHERE status = 'OPEN'
                    ORDER BY created_at DESC LIMIT %s) AS newest
                GROUP BY cause
                """,
                [limit],
            )
            return dict(cursor.fetchall())

    def page(self, wanted: Filter, after: Cursor, size: int) -> list[Listed]:
        """The next open letters, oldest first. Walks dead_letter_open backwards."""
        with connection.cursor() as cursor:
            cursor.execute(_PAGE, {**wanted.params(), "after_at": after[0], "after_id": after[1], "size": size})
            return [Listed(*row) for row in cursor.fetchall()]

    def with_siblings(self, ids: Sequence[UUID], wanted: Filter, *, lock: bool) -> list[UUID]:
        """These letters of deliveries, and the wanted ones of the same events: an event goes out again as a whole.

        `lock` locks letters, deliveries and events, and leaves out what another replay has locked or closed.
        """
        with connection.cursor() as cursor:
            cursor.execute(_SIBLINGS + (_LOCK if lock else ""), {**wanted.params(), "page": list(ids)})
            return [row[0] for row in cursor.fetchall()]

    def judge(self, ids: Sequence[UUID], types: Mapping[str, EventType]) -> list[Judged]:
        """What became of the events of these letters meanwhile; the caller has locked them, or only looks."""
        limits = [(t.name, t.superseded_from) for t in types.values()]
        chains = [(t.name, of, to) for t in types.values() for of, chain in t.fallback.items() for to in chain]
        with connection.cursor() as cursor:
            cursor.execute(
                _JUDGE,
                {
                    "ids": list(ids),
                    "types": [name for name, _ in limits],
                    "stages": [stage for _, stage in limits],
                    "chain_types": [name for name, _, _ in chains],
                    "chain_of": [of for _, of, _ in chains],
                    "chain_to": [to for _, _, to in chains],
                },
            )
            return [Judged(*row) for row in cursor.fetchall()]

    def take_places(self, number: int, rate: float) -> datetime:
        """The first of `number` places in time, 1/rate seconds apart, that no other replay has or will be given.

        Locks the one row of the pace until the transaction ends.
        """
        with connection.cursor() as cursor:
            cursor.execute(_TAKE_PLACES, {"length": number / rate})
            first: datetime = cursor.fetchone()[0]
            return first

    def revive(self, revivals: Sequence[Revival], *, force: bool, times_to_live: Mapping[str, float]) -> None:
        """FAILED -> QUEUED, closing the letters and making the events due, in one statement; locked by the caller.

        Where the last attempt may have gone out, the provider is asked before it is sent again. `force`: nothing that
        happened meanwhile stops them, and their time to live (seconds by type) begins anew.
        """
        params: dict[str, Any] = {
            "letters": [r.letter_id for r in revivals],
            "deliveries": [r.delivery_id for r in revivals],
            "dues": [r.due_at for r in revivals],
            "force": force,
            "detail": "replayed, forced" if force else "replayed",
            "types": list(times_to_live),
            "seconds": [float(seconds) for seconds in times_to_live.values()],
        }
        with connection.cursor() as cursor:
            cursor.execute(_REVIVE, params)

    def discard(self, ids: Sequence[UUID]) -> int:
        """OPEN -> DISCARDED; how many. What a replay has in hand is left to it."""
        with connection.cursor() as cursor:
            cursor.execute(
                """
                WITH unwanted AS (
                    SELECT id FROM notifier_deadletter WHERE id = ANY(%s) AND status = 'OPEN'
                    ORDER BY id FOR UPDATE SKIP LOCKED
                )
                UPDATE notifier_deadletter SET status = 'DISCARDED', closed_at = statement_timestamp()
                WHERE id = ANY(ARRAY(SELECT id FROM unwanted))
                """,
                [list(ids)],
            )
            return int(cursor.rowcount)

    def overtaken(self, event_ids: Sequence[UUID], superseded_from: int) -> bool:
        """Was a later stage of the same order recorded for the same recipient? As DeliveryQuerySet.candidates asks."""
        with connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT EXISTS (
                    SELECT FROM notifier_notificationevent AS event JOIN notifier_notificationevent AS later
                      ON later.order_id = event.order_id AND later.recipient_key = event.recipient_key
                    WHERE event.id = ANY(%s) AND later.order_id <> '' AND later.stage >= %s)
                """,
                [list(event_ids), superseded_from],
            )
            return bool(cursor.fetchone()[0])

    def delete_refused(self, before: datetime, after: UUID, below: UUID, limit: int) -> list[UUID]:
        """Delete up to `limit` letters without a delivery that were written down before then, open ones too; their ids.

        Walks the primary key from `after` to `below`, the first id of that time: these letters' ids are UUIDv7.
        """
        with connection.cursor() as cursor:
            cursor.execute(_DELETE_REFUSED, {"before": before, "after": after, "below": below, "limit": limit})
            return [row[0] for row in cursor.fetchall()]

    def refused(self, after: UUID, limit: int) -> list[tuple[UUID, bytes]]:
        """(id, payload) of the next letters of triggers that were never recorded. Walks the primary key."""
        found = self.filter(id__gt=after, delivery=None, payload__isnull=False).order_by("id")[:limit]
        return [(letter_id, bytes(payload or b"")) for letter_id, payload in found.values_list("id", "payload")]

    def erase_refused(self, ids: Sequence[UUID]) -> None:
        """Forget what came with these, and close them: nothing is left that could be replayed."""
        execute(
            """
            UPDATE notifier_deadletter
            SET payload = NULL, origin = NULL, last_error = '', closed_at = COALESCE(closed_at, statement_timestamp()),
                status = CASE status WHEN 'OPEN' THEN 'DISCARDED' ELSE status END
            WHERE id = ANY(%s)
            """,
            [list(ids)],
        )

    def close(self, letter_id: UUID, events: Sequence[tuple[UUID, datetime, datetime]]) -> None:
        """OPEN -> REPLAYED for a refused trigger that was recorded after all, as events of (id, due at, expires at)."""
        execute(
            """
            WITH closed AS (
                UPDATE notifier_deadletter SET status = 'REPLAYED', closed_at = statement_timestamp() WHERE id = %s
            )
            UPDATE notifier_notificationevent AS event SET due_at = place.due_at, expires_at = place.expires_at
            FROM unnest(%s::uuid[], %s::timestamptz[], %s::timestamptz[]) AS place(id, due_at, expires_at)
            WHERE event.id = place.id
            """,
            [letter_id, [i for i, _, _ in events], [due for _, due, _ in events], [until for _, _, until in events]],
        )


_WANTED = """
    letter.status = 'OPEN'
    AND (%(ids)s::uuid[] IS NULL OR letter.id = ANY(%(ids)s))
    AND (%(causes)s::text[] IS NULL OR letter.cause = ANY(%(causes)s))
    AND (%(event_types)s::text[] IS NULL OR letter.event_type = ANY(%(event_types)s))
    AND (%(channels)s::text[] IS NULL OR letter.channel = ANY(%(channels)s))
    AND (%(since)s::timestamptz IS NULL OR letter.created_at >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR letter.created_at < %(until)s)
"""

_PAGE = f"""
SELECT letter.id, letter.created_at, letter.delivery_id IS NULL
FROM notifier_deadletter AS letter
WHERE {_WANTED}
  AND letter.created_at >= %(after_at)s AND (letter.created_at, letter.id) > (%(after_at)s, %(after_id)s)
ORDER BY letter.created_at, letter.id LIMIT %(size)s
"""  # noqa: S608 - every value is a parameter

_SIBLINGS = f"""
WITH concerned AS (
    SELECT DISTINCT delivery.event_id FROM notifier_deadletter AS letter
    JOIN notifier_delivery AS delivery ON delivery.id = letter.delivery_id
    WHERE letter.id = ANY(%(page)s)
)
SELECT letter.id FROM concerned
JOIN notifier_notificationevent AS event ON event.id = concerned.event_id
JOIN notifier_delivery AS delivery ON delivery.event_id = event.id
JOIN notifier_deadletter AS letter ON letter.delivery_id = delivery.id
WHERE {_WANTED}
ORDER BY event.id, delivery.id
"""  # noqa: S608 - as above
_LOCK = " FOR UPDATE OF event, delivery, letter SKIP LOCKED"

# Reached: another delivery of the event stands for this one, by the type's chain or as its stand-in, and was accepted.
_JUDGE = """
SELECT letter.id, delivery.id, event.id, event.priority, delivery.channel, delivery.fallback_of,
       event.status IN ('SENT', 'PARTIAL', 'FAILED', 'SKIPPED'),
       CASE
           WHEN delivery.status <> 'FAILED' THEN 'REPLAYED'
           WHEN known.name IS NULL THEN 'UNKNOWN_TYPE'
           WHEN event.status = 'SENT' OR EXISTS (
               SELECT FROM notifier_delivery AS other
               WHERE other.event_id = event.id AND other.status IN ('SENT', 'DELIVERED')
                 AND (other.fallback_of = delivery.channel OR other.channel = delivery.fallback_of
                      OR (event.event_type, delivery.channel, other.channel) IN (
                          SELECT * FROM unnest(%(chain_types)s::text[], %(chain_of)s::text[], %(chain_to)s::text[])))
           ) THEN 'REACHED'
           WHEN EXISTS (
               SELECT FROM notifier_notificationevent AS later
               WHERE later.order_id <> '' AND later.order_id = event.order_id
                 AND later.recipient_key = event.recipient_key AND later.stage >= known.superseded_from
           ) THEN 'SUPERSEDED'
           WHEN event.expires_at <= statement_timestamp() THEN 'EXPIRED'
           ELSE ''
       END
FROM notifier_deadletter AS letter
JOIN notifier_delivery AS delivery ON delivery.id = letter.delivery_id
JOIN notifier_notificationevent AS event ON event.id = delivery.event_id
LEFT JOIN unnest(%(types)s::text[], %(stages)s::int[]) AS known(name, superseded_from) ON known.name = event.event_type
WHERE letter.id = ANY(%(ids)s)
"""

_TAKE_PLACES = """
INSERT INTO notifier_replaypace AS pace (id, free_at)
VALUES (1, statement_timestamp() + %(length)s * interval '1 second')
ON CONFLICT (id) DO UPDATE
SET free_at = GREATEST(pace.free_at, statement_timestamp()) + %(length)s * interval '1 second'
RETURNING free_at - %(length)s * interval '1 second'
"""

_DELETE_REFUSED = """
DELETE FROM notifier_deadletter WHERE id = ANY(ARRAY(
    SELECT id FROM notifier_deadletter
    WHERE id > %(after)s AND id < %(below)s AND created_at < %(before)s AND delivery_id IS NULL
    ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED))
RETURNING id
"""

_REVIVE = """
WITH chosen AS (
    SELECT * FROM unnest(%(letters)s::uuid[], %(deliveries)s::uuid[], %(dues)s::timestamptz[])
        AS chosen(letter_id, delivery_id, due_at)
), closed AS (
    UPDATE notifier_deadletter AS letter SET status = 'REPLAYED', closed_at = statement_timestamp()
    FROM chosen WHERE letter.id = chosen.letter_id
), again AS (
    UPDATE notifier_delivery AS delivery
    SET status = 'QUEUED', forced = %(force)s, detail = %(detail)s, hold_reason = '', tries = 0, crashes = 0,
        due_at = chosen.due_at, first_due_at = chosen.due_at, finished_at = NULL,
        unknown_since = (
            SELECT min(attempt.started_at) FROM notifier_attempt AS attempt
            WHERE attempt.delivery_id = delivery.id AND attempt.outcome = 'UNKNOWN' AND attempt.number = (
                SELECT max(latest.number) FROM notifier_attempt AS latest WHERE latest.delivery_id = delivery.id))
    FROM chosen WHERE delivery.id = chosen.delivery_id AND delivery.status = 'FAILED'
    RETURNING delivery.event_id, delivery.due_at
), events AS (
    SELECT event_id, min(due_at) AS due_at FROM again GROUP BY event_id
)
UPDATE notifier_notificationevent AS event
SET status = 'DISPATCHED', due_at = events.due_at, settled_at = NULL,
    expires_at = CASE WHEN %(force)s
                 THEN GREATEST(event.expires_at, events.due_at + known.seconds * interval '1 second')
                 ELSE event.expires_at END
FROM events, unnest(%(types)s::text[], %(seconds)s::float8[]) AS known(name, seconds)
WHERE event.id = events.event_id AND known.name = event.event_type
"""
