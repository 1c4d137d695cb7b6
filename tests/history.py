"""Tables as months leave them behind: settled events with all that hangs on them, and the people they were for."""

from __future__ import annotations

from django.db import connection, transaction

DAYS = 180  # over which the events came, evenly, until yesterday
TABLES = (
    "notifier_notificationevent",
    "notifier_delivery",
    "notifier_attempt",
    "notifier_deadletter",
    "notifier_channels_inboxmessage",
    "preferences_user",
    "preferences_device",
    "preferences_preference",
    "preferences_suppressedaddress",
)


def fill(events: int = 50_000, people: int = 10_000) -> None:
    """So many events of so many customers, each with three deliveries of one attempt; one in ten has a dead letter."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0")
        for statement in _FILL:
            cursor.execute(statement, {"events": events, "people": people, "days": DAYS})
        cursor.execute(f"ANALYZE {', '.join(TABLES)}")


def clear() -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {', '.join(TABLES)} CASCADE")
        cursor.execute("TRUNCATE preferences_change")  # where the triggers wrote of it


def _uuid7(at: str, seed: str) -> str:
    """SQL of a UUIDv7 that was made at that time."""
    time = f"lpad(to_hex((extract(epoch FROM {at}) * 1000)::bigint), 12, '0')"
    return f"({time} || '7' || left(md5({seed}), 3) || '8' || right(md5({seed}), 15))::uuid"


# names of tables and columns alone are put in
_FILL = [
    f"""
    INSERT INTO preferences_user (id, password, is_superuser, email, phone, locale, time_zone, is_active, is_staff)
    SELECT {_uuid7("statement_timestamp() - interval '1 year'", "'person' || n")}, '!', false,
           'person' || n || '@shop.example', '+49151' || 10000000 + n, 'de', 'Europe/Berlin', true, false
    FROM generate_series(1, %(people)s) AS n
    """,
    """
    INSERT INTO preferences_device (id, user_id, token, platform)
    SELECT gen_random_uuid(), id, 'token ' || id, 'android' FROM preferences_user
    """,
    """
    INSERT INTO preferences_preference (id, user_id, event_type, channel, enabled, updated_at)
    SELECT gen_random_uuid(), id, '', 'SMS', row_number() OVER () %% 2 = 0, statement_timestamp() FROM preferences_user
    """,
    """
    INSERT INTO preferences_suppressedaddress (kind, address, reason)
    SELECT 'email', 'gone' || n || '@shop.example', 'INVALID' FROM generate_series(1, %(people)s) AS n
    """,
    f"""
    INSERT INTO notifier_notificationevent (id, source, idempotency_key, body_hash, event_type, priority, stage,
        user_id, recipient_key, order_id, metadata, status, round, recorded_at, expires_at, due_at, settled_at)
    SELECT {_uuid7("at", "'event' || n")}, 'shop', 'key' || n, sha256(n::text::bytea), 'ORDER_SHIPPED', 1, 4,
           person.id, person.id, 'ORD' || n / 4, jsonb_build_object('orderId', 'ORD' || n / 4, 'trackingUrl', 'https://t.example'),
           CASE WHEN n %% 10 = 0 THEN 'FAILED' ELSE 'SENT' END, 1, at, at + interval '1 day', NULL, at
    FROM (SELECT n, statement_timestamp() - interval '1 day' * (1 + %(days)s * (1 - n::float8 / %(events)s)) AS at
          FROM generate_series(1, %(events)s) AS n) AS past
    JOIN (SELECT id, row_number() OVER () AS place FROM preferences_user) AS person
      ON person.place = 1 + n %% %(people)s
    ORDER BY n
    """,
    f"""
    INSERT INTO notifier_delivery (id, event_id, channel, status, skip_reason, hold_reason, detail, fallback_of,
        attempt, tries, crashes, provider, provider_message_id, first_due_at, due_at, sent_at, finished_at)
    SELECT {_uuid7("event.settled_at", "channel || event.id")}, event.id, channel,
           CASE WHEN event.status = 'FAILED' AND channel = 'EMAIL' THEN 'FAILED' ELSE 'SENT' END, '', '', '', '', 1, 1,
           0, 'provider', md5(event.id::text), event.settled_at, event.settled_at, event.settled_at, event.settled_at
    FROM notifier_notificationevent AS event, unnest(ARRAY['EMAIL', 'PUSH', 'IN_APP']) AS channel
    """,
    f"""
    INSERT INTO notifier_attempt (id, delivery_id, number, address_id, provider, started_at, finished_at, outcome, code,
        detail, provider_message_id, maybe_duplicate)
    SELECT {_uuid7("finished_at", "'attempt' || id")}, id, 1, '', provider, finished_at, finished_at, 'ACCEPTED', '',
           '', provider_message_id, false
    FROM notifier_delivery
    """,
    """
    INSERT INTO notifier_deadletter (id, delivery_id, source, event_type, channel, cause, last_error, status,
        created_at)
    SELECT gen_random_uuid(), id, '', 'ORDER_SHIPPED', channel, 'ProviderUnavailable', '',
           CASE WHEN number < 300 THEN 'OPEN' ELSE 'REPLAYED' END, finished_at
    FROM (SELECT *, row_number() OVER (ORDER BY id DESC) AS number
          FROM notifier_delivery WHERE status = 'FAILED') AS failed
    """,
    f"""
    INSERT INTO notifier_channels_inboxmessage (id, user_id, delivery_id, event_type, title, body, url, created_at)
    SELECT {_uuid7("delivery.finished_at", "'message' || delivery.id")}, event.user_id, delivery.id, event.event_type,
           'Your order was shipped', 'It is on its way.', '', delivery.finished_at
    FROM notifier_delivery AS delivery JOIN notifier_notificationevent AS event ON event.id = delivery.event_id
    WHERE delivery.channel = 'IN_APP'
    """,
]
