"""Of events."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson
from django.db import connection, models
from django.db.models.expressions import RawSQL

from notifier.querysets.sql import execute, overtaken_by_sql
from preferences.resolve import Recipient, glance_sql, people

if TYPE_CHECKING:
    from notifier.models import NotificationEvent


@dataclass(frozen=True, slots=True)
class DueEvent:
    """An event claimed for its next round. `is_new`: it is to be planned, for `recipient`. `now`: the database's."""

    id: UUID
    event_type: str
    round: int
    is_new: bool
    now: datetime
    seconds_to_live: float
    recipient: Recipient


@dataclass(frozen=True, slots=True)
class NewEvent:
    """What an event is recorded with. `body_hash` holds 32 bytes, `time_to_live` seconds.

    `place` is its place among those that are recorded with it.
    """

    id: UUID
    place: int
    idempotency_key: str | None
    origin: Mapping[str, str | int] | None
    body_hash: bytes
    event_type: str
    priority: int
    stage: int | None
    user_id: UUID | None
    recipient: Mapping[str, str] | None
    recipient_key: str
    order_id: str
    metadata: Mapping[str, Any]
    time_to_live: float


@dataclass(frozen=True, slots=True)
class Likeness:
    """What two events have in common that say the same. `within` is in seconds."""

    event_type: str
    order_id: str
    recipient_key: str
    shipment_id: str
    within: float

    @property
    def lock(self) -> int:
        """64 bits, signed, that name it."""
        named = orjson.dumps([self.event_type, self.order_id, self.recipient_key, self.shipment_id])
        return int.from_bytes(hashlib.sha256(named).digest()[:8], signed=True)


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody as the ledger knows them: by a user's id, by a guest's addresses, or by both."""

    user_id: UUID | None = None
    email: str = ""
    phone: str = ""


@dataclass(frozen=True, slots=True)
class Sought:
    """Events that somebody looks for: whatever one of these names. `email` is in lower case, `phone` in E.164."""

    event_id: UUID | None = None
    order_id: str = ""
    user_ids: Sequence[UUID] = ()
    email: str = ""
    phone: str = ""


@dataclass(frozen=True, slots=True)
class Erased:
    """Which events were forgotten, the channels of the deliveries that were skipped on the way, and how many dead
    letters were emptied.
    """

    events: list[UUID]
    skipped: list[str]
    letters: int


@dataclass(frozen=True, slots=True)
class Settled:
    """An event that came to its end. `lag`: seconds since its last delivery was finished, None where none ever was."""

    id: UUID
    event_type: str
    status: str
    lag: float | None


FORGOTTEN = bytes(32)  # in place of a body's hash: it could be tried out


class EventQuerySet(models.QuerySet["NotificationEvent"]):
    def lanes_due(self, priorities: Sequence[int]) -> set[int]:
        """Those among these priorities of which something is due. One probe of event_due each."""
        with connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT priority FROM unnest(%s::int[]) AS lane(priority) WHERE EXISTS (
                    SELECT FROM notifier_notificationevent AS event
                    WHERE event.priority = lane.priority AND event.due_at <= statement_timestamp())
                """,
                [list(priorities)],
            )
            return {row[0] for row in cursor.fetchall()}

    def lag(self, priorities: Sequence[int]) -> dict[int, float]:
        """Seconds that the oldest due event of each priority waits, 0 where nothing does. A probe of event_due each."""
        with connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT priority, COALESCE((
                    SELECT GREATEST(extract(epoch FROM statement_timestamp() - event.due_at), 0)::float8
                    FROM notifier_notificationevent AS event
                    WHERE event.priority = lane.priority AND event.due_at IS NOT NULL
                    ORDER BY event.due_at LIMIT 1), 0)
                FROM unnest(%s::int[]) AS lane(priority)
                """,
                [list(priorities)],
            )
            return dict(cursor.fetchall())

    def latest_people(self, number: int) -> list[UUID]:
        """The users of the latest so many events, each once. Walks the primary key's end: ids of UUIDv7 grow."""
        with connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT DISTINCT user_id FROM (
                    SELECT user_id FROM notifier_notificationevent ORDER BY id DESC LIMIT %s) AS latest
                WHERE user_id IS NOT NULL
                """,
                [number],
            )
            return [user_id for (user_id,) in cursor.fetchall()]

    def backlog(self, priorities: Sequence[int], limit: int) -> int:
        """How many events of these priorities are due and not taken, up to `limit`. Walks event_due that far."""
        with connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT count(*) FROM (
                    SELECT FROM notifier_notificationevent
                    WHERE priority = ANY(%s) AND due_at <= statement_timestamp() LIMIT %s) AS waiting
                """,
                [list(priorities), limit],
            )
            return int(cursor.fetchone()[0])

    def claim_due(self, priorities: Sequence[int], limit: int, lease: timedelta, *, whole: bool) -> list[DueEvent]:
        """Take up to `limit` due events of a lane into a new round; others that look skip them.

        Walks the partial index event_due in its own order and stops at `limit`. Recipients are loaded of new ones
        only; `whole`: as preferences.resolve.glance_sql says.
        """
        with connection.cursor() as cursor:
            cursor.execute(_CLAIM_DUE, [list(priorities), limit, lease.total_seconds(), whole])
            rows = cursor.fetchall()
        recipients = people([row[-2:] for row in rows])
        return [DueEvent(*(*row[:-2], recipient)) for row, recipient in zip(rows, recipients, strict=True)]

    def lease_expired(self, limit: int, lease: timedelta) -> list[tuple[UUID, int]]:
        """(id, round) of events whose round was lost. Walks event_leased.

        A lease that was given before the database started is not believed: whoever had to write meanwhile may have
        failed. `lease` is its length.
        """
        with connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT id, round FROM notifier_notificationevent
                WHERE lease_until < GREATEST(
                    statement_timestamp(), pg_postmaster_start_time() + %s * interval '1 second')
                ORDER BY lease_until LIMIT %s
                """,
                [lease.total_seconds(), limit],
            )
            return list(cursor.fetchall())

    def end_leases(self) -> int:
        """No round in flight is believed any longer; how many there were. Walks event_leased."""
        with connection.cursor() as cursor:
            cursor.execute(
                """
                WITH leased AS (
                    SELECT id FROM notifier_notificationevent WHERE lease_until >= statement_timestamp()
                    ORDER BY id FOR UPDATE SKIP LOCKED
                )
                UPDATE notifier_notificationevent AS event SET lease_until = statement_timestamp() - interval '1 second'
                FROM leased WHERE event.id = leased.id
                """
            )
            return int(cursor.rowcount)

    def of_order(self, order_id: str) -> EventQuerySet:
        """The events of an order. Walks event_order; its condition is text, since a kept plan knows no values."""
        named = RawSQL("notifier_notificationevent.order_id <> ''", [], output_field=models.BooleanField())
        return self.filter(named, order_id=order_id)

    def of_orders(self, order_ids: Iterable[str]) -> list[tuple[str, str, int | None, datetime, list[UUID]]]:
        """(order, event type, stage, when the last was recorded, for which users), for each order and type. One query.

        Walks event_order.
        """
        with connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT order_id, event_type, max(stage), max(recorded_at),
                    COALESCE(array_agg(DISTINCT user_id) FILTER (WHERE user_id IS NOT NULL), '{}')
                FROM notifier_notificationevent WHERE order_id <> '' AND order_id = ANY(%s)
                GROUP BY order_id, event_type
                """,
                [list(order_ids)],
            )
            return list(cursor.fetchall())

    def put_off(self, ids: Sequence[UUID], wait: timedelta) -> None:
        """Events whose settlement broke: they come to the end of the sweeper's queue."""
        execute(
            """
            UPDATE notifier_notificationevent SET lease_until = statement_timestamp() + %s * interval '1 second'
            WHERE id = ANY(%s) AND status = 'DISPATCHED'
            """,
            [wait.total_seconds(), list(ids)],
        )

    def plan_again(self, failures: Sequence[tuple[UUID, float]]) -> None:
        """Events that the caller has claimed and could not plan: due again after so many seconds."""
        execute(
            """
            UPDATE notifier_notificationevent AS event
            SET plan_failures = plan_failures + 1, lease_until = NULL,
                due_at = statement_timestamp() + failure.due_in * interval '1 second'
            FROM unnest(%(ids)s::uuid[], %(waits)s::float8[]) AS failure(id, due_in)
            WHERE event.id = ANY(%(ids)s) AND event.id = failure.id
            """,
            {"ids": [i for i, _ in failures], "waits": [due_in for _, due_in in failures]},
        )

    def lock_unsettled(self, ids: Iterable[UUID]) -> list[NotificationEvent]:
        """The dispatched events among these, locked in id order."""
        return list(self.filter(id__in=list(ids), status="DISPATCHED").order_by("id").select_for_update())

    def conclude_sent(self, ids: Sequence[UUID]) -> list[Settled]:
        """DISPATCHED -> SENT for those of which nothing is open or lost, and something planned was accepted; these.

        One statement for what most rounds end with; the same that settle.status_of says. It may look at deliveries as
        they were before it waited for an event's lock. That is safe as long as SENT, DELIVERED and SKIPPED are final
        while their event is open: who writes BOUNCED over SENT must lock the event first, and see to it.
        """
        with connection.cursor() as cursor:
            cursor.execute(_CONCLUDE_SENT, [list(ids)])
            return [Settled(*row) for row in cursor.fetchall()]

    def conclude(self, verdicts: Sequence[tuple[UUID, str]]) -> list[Settled]:
        """Give events that the caller has locked their final status; these."""
        with connection.cursor() as cursor:
            cursor.execute(_CONCLUDE, {"ids": [i for i, _ in verdicts], "statuses": [status for _, status in verdicts]})
            return [Settled(*row) for row in cursor.fetchall()]

    def wait_until(self, dues: Sequence[tuple[UUID, datetime | None, bool]]) -> None:
        """Set when events that the caller has locked are due (None: now); True ends their round's lease."""
        execute(
            """
            UPDATE notifier_notificationevent AS event
            SET due_at = LEAST(event.due_at, COALESCE(due.at, statement_timestamp())),
                lease_until = CASE WHEN due.release THEN NULL ELSE event.lease_until END
            FROM unnest(%(ids)s::uuid[], %(times)s::timestamptz[], %(ends)s::bool[]) AS due(id, at, release)
            WHERE event.id = ANY(%(ids)s) AND event.id = due.id
            """,
            {
                "ids": [i for i, _, _ in dues],
                "times": [at for _, at, _ in dues],
                "ends": [release for _, _, release in dues],
            },
        )

    def delete_settled(self, before: datetime, after: UUID, below: UUID, limit: int) -> list[UUID]:
        """Delete up to `limit` events settled before then, with all that hangs on them, open dead letters too.

        Returns their ids. Walks the primary key from `after` to `below`, the first id of that time: what was recorded
        later is not old. What a replay has locked, or makes due meanwhile, stays.
        """
        with connection.cursor() as cursor:
            cursor.execute(_DELETE_SETTLED, {"before": before, "after": after, "below": below, "limit": limit})
            return [row[0] for row in cursor.fetchall()]

    def overtaken_by(self, order_id: str, recipient_key: str, stage: int) -> str:
        """ "TYPE id" of what overtakes a message for this order and recipient, as the claim finds it; else empty."""
        with connection.cursor() as cursor:
            cursor.execute(_OVERTAKEN_BY, [order_id, recipient_key, stage])
            return cursor.fetchone()[0] or ""

    def lock_alike(self, likenesses: Iterable[Likeness]) -> dict[Likeness, tuple[UUID, str]]:
        """What `alike` finds; who asks for the same waits for our end.

        For a transaction. The look is a statement of its own, so that it sees what was waited for.
        """
        wanted = list(likenesses)
        with connection.cursor() as cursor:
            # in one order: two calls wait for each other, and never in a circle
            locks = sorted({likeness.lock for likeness in wanted})
            cursor.execute("SELECT pg_advisory_xact_lock(lock) FROM unnest(%s::bigint[]) AS alike(lock)", [locks])
        return self.alike(wanted)

    def alike(self, likenesses: Iterable[Likeness]) -> dict[Likeness, tuple[UUID, str]]:
        """The first event (id, status) of each likeness, if there is one. Walks event_order."""
        wanted = list(likenesses)
        with connection.cursor() as cursor:
            cursor.execute(
                _ALIKE,
                [
                    [likeness.event_type for likeness in wanted],
                    [likeness.order_id for likeness in wanted],
                    [likeness.recipient_key for likeness in wanted],
                    [likeness.shipment_id for likeness in wanted],
                    [likeness.within for likeness in wanted],
                ],
            )
            return {wanted[place - 1]: (event_id, status) for place, event_id, status in cursor.fetchall()}

    def of_person(self, person: Person, limit: int, *, besides: Sequence[UUID] = (), erased: bool = True) -> list[UUID]:
        """Up to `limit` events for a person but for those `besides`, in id order.

        Walks event_user, event_guest_email and event_guest_phone.

        `erased`: also those that `erase` has been at.
        """
        known = {"user_id": person.user_id, "email": person.email.lower(), "phone": person.phone}
        queries = [_BY.format(condition=condition) for name, condition in _KNOWN_BY.items() if known[name]]
        if not queries:
            return []
        sql = _OF_PERSON.format(queries=" UNION ".join(queries))
        with connection.cursor() as cursor:
            cursor.execute(sql, {**known, "besides": list(besides), "erased": erased, "limit": limit})
            return [row[0] for row in cursor.fetchall()]

    def newest(self, sought: Sought, limit: int, *, before: UUID | None = None) -> list[UUID]:
        """Up to `limit` of the events that are sought, newest first; only those from before the event `before`.

        Walks the primary key, event_order, event_user, event_guest_email and event_guest_phone. None where that event
        is gone.
        """
        known = {
            "event_id": sought.event_id, "order_id": sought.order_id, "user_ids": list(sought.user_ids),
            "email": sought.email, "phone": sought.phone,
        }  # fmt: skip
        queries = [_LATEST_BY.format(condition=condition) for name, condition in _SOUGHT_BY.items() if known[name]]
        if not queries:
            return []
        sql = _LATEST.format(queries=" UNION ".join(queries), older=_OLDER if before else "")
        with connection.cursor() as cursor:
            cursor.execute(sql, {**known, "before": before, "limit": limit})
            return [row[0] for row in cursor.fetchall()]

    def erase(self, ids: Sequence[UUID], *, while_sending: bool = False) -> Erased:
        """Forget who these events were for and what they said; what was done, when and by which channel stays.

        What is not sent yet -> SKIPPED, and the event is due, so that the engine ends it. An event of which something
        is being sent is left as it is otherwise, unless `while_sending`. The caller is in a transaction.
        """
        with connection.cursor() as cursor:
            cursor.execute(_SKIP_ERASED, [list(ids)])
            skipped = [row[0] for row in cursor.fetchall()]
            cursor.execute(_ERASE, {"ids": list(ids), "while_sending": while_sending, "forgotten": FORGOTTEN})
            events, letters = cursor.fetchone()
        return Erased(events, skipped, letters)

    def insert_new(self, source: str, events: Sequence[NewEvent]) -> set[UUID]:
        """Insert the events whose key the source has not used before, due at once; the ids of those.

        They are recorded and due a microsecond after each other, up to now: so a batch keeps its order, and an event
        that comes later is later.

        One statement, whose rows travel as one JSON text: an array a column costs eight times as much to write.
        """
        if not events:
            return set()
        # in the order of their keys: two calls with the same keys wait for each other, and never in a circle
        rows = sorted(events, key=lambda event: event.idempotency_key or "")
        last = max(event.place for event in events)
        with connection.cursor() as cursor:
            cursor.execute(
                """
                INSERT INTO notifier_notificationevent (
                    id, source, idempotency_key, origin, body_hash, event_type, priority, stage, user_id,
                    recipient, recipient_key, order_id, metadata, status, round, recorded_at, due_at, expires_at)
                SELECT id, %s, idempotency_key, origin, decode(body_hash, 'hex'), event_type, priority, stage, user_id,
                    recipient, recipient_key, order_id, metadata, 'QUEUED', 0,
                    statement_timestamp() + (place - %s) * interval '1 microsecond',
                    statement_timestamp() + (place - %s) * interval '1 microsecond',
                    statement_timestamp() + time_to_live * interval '1 second'
                FROM json_to_recordset(%s) AS event(
                    id uuid, place int4,
                    idempotency_key text, origin jsonb, body_hash text, event_type text, priority int2,
                    stage int2, user_id uuid, recipient jsonb, recipient_key text, order_id text, metadata jsonb,
                    time_to_live float8)
                ON CONFLICT (source, idempotency_key) DO NOTHING
                RETURNING id
                """,
                [source, last, last, orjson.dumps(rows, default=bytes.hex).decode()],
            )
            return {event_id for (event_id,) in cursor.fetchall()}


# a query for each thing that is known of a person, so that each goes by its own index
_KNOWN_BY = {
    "user_id": "user_id = %(user_id)s",
    "email": "recipient ? 'email' AND lower(recipient ->> 'email') = %(email)s",
    "phone": "recipient ? 'phone' AND recipient ->> 'phone' = %(phone)s",
}
_OF_PERSON = """
SELECT id FROM ({queries}) AS event
WHERE (%(erased)s OR recipient_key <> '') AND id <> ALL(%(besides)s)
ORDER BY id LIMIT %(limit)s
"""
_SOUGHT_BY = {
    "event_id": "id = %(event_id)s",
    "order_id": "order_id <> '' AND order_id = %(order_id)s",
    "user_ids": "user_id = ANY(%(user_ids)s)",
    "email": _KNOWN_BY["email"],
    "phone": _KNOWN_BY["phone"],
}
_LATEST = """
SELECT id FROM ({queries}) AS event {older}
ORDER BY recorded_at DESC, id DESC LIMIT %(limit)s
"""
_LATEST_BY = "SELECT id, recorded_at FROM notifier_notificationevent WHERE {condition}"
_OLDER = """WHERE (recorded_at, id) < (
    SELECT recorded_at, id FROM notifier_notificationevent WHERE id = %(before)s)"""
_BY = "SELECT id, recipient_key FROM notifier_notificationevent WHERE {condition}"

# a row that is locked is being claimed or written down: it comes again
_SKIP_ERASED = """
WITH events AS MATERIALIZED (
    SELECT id FROM notifier_notificationevent WHERE id = ANY(%s) ORDER BY id FOR UPDATE
), open AS MATERIALIZED (
    SELECT id FROM notifier_delivery
    WHERE event_id = ANY(ARRAY(SELECT id FROM events)) AND status IN ('QUEUED', 'RETRYING')
    ORDER BY id FOR UPDATE SKIP LOCKED
)
UPDATE notifier_delivery
SET status = 'SKIPPED', skip_reason = 'ERASED', detail = '', finished_at = statement_timestamp()
WHERE id = ANY(ARRAY(SELECT id FROM open))
RETURNING channel
"""

_ERASE = """
WITH quiet AS MATERIALIZED (
    SELECT id FROM notifier_notificationevent AS event
    WHERE id = ANY(%(ids)s) AND (%(while_sending)s OR NOT EXISTS (
        SELECT FROM notifier_delivery AS delivery
        WHERE delivery.event_id = event.id AND delivery.status IN ('SENDING', 'QUEUED', 'RETRYING')))
), planned AS MATERIALIZED (
    SELECT id FROM notifier_delivery WHERE event_id = ANY(ARRAY(SELECT id FROM quiet))
), deliveries AS (
    UPDATE notifier_delivery SET detail = '' WHERE id = ANY(ARRAY(SELECT id FROM planned)) AND detail <> ''
), attempts AS (
    UPDATE notifier_attempt SET detail = '' WHERE delivery_id = ANY(ARRAY(SELECT id FROM planned)) AND detail <> ''
), letters AS (
    UPDATE notifier_deadletter
    SET last_error = '', status = CASE status WHEN 'OPEN' THEN 'DISCARDED' ELSE status END,
        closed_at = COALESCE(closed_at, statement_timestamp())
    WHERE delivery_id = ANY(ARRAY(SELECT id FROM planned))
    RETURNING id
), events AS (
    UPDATE notifier_notificationevent
    SET recipient = NULL, recipient_key = '', origin = NULL, metadata = '{}', body_hash = %(forgotten)s,
        due_at = CASE WHEN status IN ('QUEUED', 'DISPATCHED') THEN LEAST(due_at, statement_timestamp()) END
    WHERE id = ANY(ARRAY(SELECT id FROM quiet))
    RETURNING id
)
SELECT (SELECT COALESCE(array_agg(id), '{}') FROM events), (SELECT count(*) FROM letters)
"""

_CLAIM_DUE = f"""
WITH due AS (
    SELECT id FROM notifier_notificationevent
    WHERE due_at <= statement_timestamp() AND priority = ANY(%s)
    ORDER BY priority, due_at LIMIT %s
    FOR UPDATE SKIP LOCKED
)
UPDATE notifier_notificationevent AS event
SET status = 'DISPATCHED', round = round + 1, due_at = NULL,
    lease_until = statement_timestamp() + %s * interval '1 second'
WHERE event.id = ANY(ARRAY(SELECT id FROM due))
RETURNING event.id, event.event_type, event.round, event.round - event.plan_failures = 1,
    statement_timestamp(), extract(epoch FROM event.expires_at - statement_timestamp())::float8, event.user_id,
    CASE WHEN event.round - event.plan_failures = 1 THEN {glance_sql("event.user_id", "event.recipient", "%s")} END
"""  # noqa: S608 - every value is a parameter

_ALIKE = """
SELECT wanted.place, first.id, first.status
FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::float8[]) WITH ORDINALITY
  AS wanted(event_type, order_id, recipient_key, shipment_id, within, place)
CROSS JOIN LATERAL (
    SELECT event.id, event.status FROM notifier_notificationevent AS event
    WHERE event.order_id <> '' AND event.order_id = wanted.order_id AND event.event_type = wanted.event_type
      AND event.recipient_key = wanted.recipient_key
      AND COALESCE(event.metadata ->> 'shipmentId', '') = wanted.shipment_id
      AND event.recorded_at > statement_timestamp() - wanted.within * interval '1 second'
    ORDER BY event.recorded_at LIMIT 1) AS first
"""

_OVERTAKEN_BY = "SELECT " + overtaken_by_sql("%s", "%s", "%s")

# what is locked is what is written: so its rows are read from the first half, and not joined to the second
_CONCLUDE_SENT = """
WITH sent AS MATERIALIZED (
    SELECT event.id, event.event_type, told.finished_at
    FROM notifier_notificationevent AS event, LATERAL (
        SELECT bool_and(delivery.status IN ('SENT', 'DELIVERED', 'SKIPPED'))
               AND bool_or(delivery.status <> 'SKIPPED' AND delivery.fallback_of = '') AS all_sent,
               max(delivery.finished_at) AS finished_at
        FROM notifier_delivery AS delivery WHERE delivery.event_id = event.id) AS told
    WHERE event.id = ANY(%s) AND event.status = 'DISPATCHED' AND told.all_sent
    ORDER BY event.id FOR UPDATE OF event
), concluded AS (
    UPDATE notifier_notificationevent AS event
    SET status = 'SENT', settled_at = statement_timestamp(), due_at = NULL, lease_until = NULL
    WHERE event.id = ANY(ARRAY(SELECT id FROM sent))
)
SELECT id, event_type, 'SENT', extract(epoch FROM statement_timestamp() - finished_at)::float8 FROM sent
"""

_CONCLUDE = """
UPDATE notifier_notificationevent AS event
SET status = verdict.status, settled_at = statement_timestamp(), due_at = NULL, lease_until = NULL
FROM unnest(%(ids)s::uuid[], %(statuses)s::text[]) AS verdict(id, status)
WHERE event.id = ANY(%(ids)s) AND event.id = verdict.id
RETURNING event.id, event.event_type, event.status, extract(epoch FROM statement_timestamp() - (
    SELECT max(delivery.finished_at) FROM notifier_delivery AS delivery WHERE delivery.event_id = event.id))::float8
"""

# arrays instead of joins, so that the planner takes the indexes whatever it believes of the batch's size
_DELETE_SETTLED = """
WITH old AS MATERIALIZED (
    SELECT id FROM notifier_notificationevent
    WHERE id > %(after)s AND id < %(below)s AND settled_at < %(before)s
    ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), planned AS MATERIALIZED (
    SELECT id FROM notifier_delivery WHERE event_id = ANY(ARRAY(SELECT id FROM old))
), letters AS (
    DELETE FROM notifier_deadletter WHERE delivery_id = ANY(ARRAY(SELECT id FROM planned))
), attempts AS (
    DELETE FROM notifier_attempt WHERE delivery_id = ANY(ARRAY(SELECT id FROM planned))
), deliveries AS (
    DELETE FROM notifier_delivery WHERE id = ANY(ARRAY(SELECT id FROM planned))
)
DELETE FROM notifier_notificationevent WHERE id = ANY(ARRAY(SELECT id FROM old)) RETURNING id
"""
