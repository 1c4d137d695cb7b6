"""Throughput beside millions of settled rows against throughput beside ten thousand, in two databases of one server."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from benchmarks.drain import Run, measure
from benchmarks.measures import median_of, ratio
from benchmarks.options import Options, Show
from benchmarks.stage import ENGINE, Stage

SHORT = 10_000  # deliveries
CHANNELS = 4  # deliveries of an event
TABLES = ("notifier_notificationevent", "notifier_delivery", "notifier_attempt", "notifier_channels_inboxmessage")

#: copies of one settled event and of all that hangs on it, over the 90 days that events are kept
FILL = {
    "notifier_notificationevent": """
        SELECT fresh.* FROM notifier_notificationevent AS template
        CROSS JOIN generate_series(1, %(events)s::int) AS n
        CROSS JOIN LATERAL (SELECT now() - interval '90 days' * (1 - n::float8 / %(events)s::int) AS at) AS moment
        CROSS JOIN LATERAL (SELECT (%(people)s::uuid[])[1 + n %% cardinality(%(people)s::uuid[])] AS id) AS person
        CROSS JOIN LATERAL jsonb_populate_record(template, jsonb_build_object(
            'id', uuidv7(moment.at - now()), 'source', 'history', 'idempotency_key', n::text, 'order_id', 'OLD' || n,
            'user_id', person.id, 'recipient_key', person.id,
            'recorded_at', moment.at, 'settled_at', moment.at, 'expires_at', moment.at + interval '1 day'
        )) AS fresh WHERE template.id = %(template)s::uuid
    """,
    "notifier_delivery": """
        SELECT fresh.* FROM notifier_notificationevent AS event
        JOIN notifier_delivery AS template ON template.event_id = %(template)s::uuid
        CROSS JOIN LATERAL jsonb_populate_record(template, jsonb_build_object(
            'id', uuidv7(event.recorded_at - now()), 'event_id', event.id,
            'first_due_at', event.recorded_at, 'due_at', event.recorded_at,
            'provider_message_id', template.provider_message_id || event.order_id
        )) AS fresh WHERE event.source = 'history'
    """,
    "notifier_attempt": """
        SELECT fresh.* FROM notifier_delivery AS first
        JOIN notifier_attempt AS template ON template.delivery_id = first.id
        JOIN notifier_delivery AS delivery ON delivery.channel = first.channel AND delivery.id <> first.id
        CROSS JOIN LATERAL jsonb_populate_record(template, jsonb_build_object(
            'id', uuidv7(delivery.first_due_at - now()), 'delivery_id', delivery.id
        )) AS fresh WHERE first.event_id = %(template)s::uuid
    """,
    "notifier_channels_inboxmessage": """
        SELECT fresh.* FROM notifier_delivery AS first
        JOIN notifier_channels_inboxmessage AS template ON template.delivery_id = first.id
        JOIN notifier_delivery AS delivery ON delivery.channel = first.channel AND delivery.id <> first.id
        JOIN notifier_notificationevent AS event ON event.id = delivery.event_id
        CROSS JOIN LATERAL jsonb_populate_record(template, jsonb_build_object(
            'id', uuidv7(delivery.first_due_at - now()), 'delivery_id', delivery.id, 'user_id', event.user_id,
            'created_at', delivery.first_due_at
        )) AS fresh WHERE first.event_id = %(template)s::uuid
    """,
}


def history(stage: Stage, options: Options, show: Show) -> dict[str, Any]:
    """Keys of the report. The stage's own database is empty but for people, or it would be copied twice."""
    own = stage.database
    stage.stop(("web", *ENGINE))
    began = time.monotonic()
    sizes = {"short": SHORT, "long": options.history_deliveries}
    urls = {name: make(stage, own, name, deliveries, show) for name, deliveries in sizes.items()}
    filled = round(time.monotonic() - began)
    runs: dict[str, list[Run]] = {name: [] for name in urls}
    for number in range(options.rounds):
        for name in list(urls)[:: -1 if number % 2 else 1]:  # neither is always the first
            show(f"history, round {number + 1} of {options.rounds}: {sizes[name]} settled deliveries")
            stage.database = urls[name]
            stage.start()
            runs[name].append(run := measure(stage, stage.default_batch, options.seconds))
            stage.stop()
            show(f"{name} history: {run.eps:.0f} events/s")
    rows = {name: _rows(url) for name, url in urls.items()}
    stage.database = own
    stage.start(("web", *ENGINE))
    return _report(runs, rows, filled)


def make(stage: Stage, own: str, name: str, deliveries: int, show: Show) -> str:
    """A copy of the stage's database with so many settled deliveries; its URL."""
    url = own.replace("@/postgres?", f"@/{name}?")
    with psycopg.connect(own.replace("@/postgres?", "@/template1?"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE postgres".encode())
    given = {
        "events": deliveries // CHANNELS,
        "people": [person.id for person in stage.world.people],
        "template": stage.template,
    }
    with psycopg.connect(url, autocommit=True) as connection:
        for table in TABLES:
            show(f"history: filling {table} for {deliveries} deliveries")
            connection.execute(f"INSERT INTO {table} {FILL[table]}".encode(), given)
        show("history: vacuum")
        connection.execute("VACUUM (ANALYZE)")
        connection.execute("CHECKPOINT")
    return url


def _rows(url: str) -> dict[str, float]:
    """Rows in millions by table, and GB of the whole, by the planner's last count."""
    with psycopg.connect(url) as connection:
        sql = "SELECT relname, reltuples / 1e6 FROM pg_class WHERE relname = ANY(%s) ORDER BY 1"
        counts = {str(table): round(float(rows), 3) for table, rows in connection.execute(sql, [list(TABLES)])}
        (size,) = connection.execute("SELECT pg_database_size(current_database()) / 1e9").fetchone() or (0,)
    return {**counts, "gb": round(float(size), 2)}


def _report(runs: Mapping[str, Sequence[Run]], rows: Mapping[str, Any], filled: int) -> dict[str, Any]:
    eps = {name: [round(run.eps, 1) for run in found] for name, found in runs.items()}
    return {
        "history_ratio": ratio(eps["long"], eps["short"]),
        "history_eps": eps,
        "history_cpu_ms_per_event": {
            name: median_of([run.cpu_ms_per_event for run in found]) for name, found in runs.items()
        },
        "history_rows_millions": rows,
        "history_filled_seconds": filled,
    }
