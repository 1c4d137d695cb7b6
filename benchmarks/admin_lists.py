"""How long the admin's lists, filters, searches and the timeline take beside millions of deliveries."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import psycopg

from benchmarks.history import make
from benchmarks.options import Options, Show
from benchmarks.stage import ENGINE, Stage
from tests.processes import ROOT

RUNS = 5  # of each page, of which the median counts

#: what the history lacks: failures with their dead letters, many more people, and what was changed of them
MORE = (
    "UPDATE notifier_notificationevent SET status = 'FAILED' WHERE source = 'history' AND order_id LIKE '%%77'",
    """
    INSERT INTO notifier_deadletter
        (id, delivery_id, source, event_type, channel, cause, last_error, status, created_at)
    SELECT gen_random_uuid(), delivery.id, '', event.event_type, delivery.channel, 'ProviderUnavailable', '',
           CASE WHEN event.order_id LIKE '%%777' THEN 'OPEN' ELSE 'REPLAYED' END, delivery.first_due_at
    FROM notifier_notificationevent AS event JOIN notifier_delivery AS delivery ON delivery.event_id = event.id
    WHERE event.status = 'FAILED'
    """,
    """
    INSERT INTO preferences_user (id, password, is_superuser, email, phone, locale, time_zone, is_active, is_staff)
    SELECT gen_random_uuid(), '!', false, 'many' || n || '@mail.example', '', 'en', 'UTC', n %% 1000 <> 0, false
    FROM generate_series(1, %(people)s::int) AS n
    """,
    """
    INSERT INTO preferences_preference (id, user_id, event_type, channel, enabled, updated_at)
    SELECT gen_random_uuid(), id, '', 'SMS', false, now() FROM preferences_user
    """,
    """
    INSERT INTO preferences_suppressedaddress (kind, address, reason)
    SELECT CASE WHEN n %% 1000 = 0 THEN 'phone' ELSE 'email' END, 'gone' || n || '@mail.example',
           CASE WHEN n %% 1000 = 0 THEN 'OPTED_OUT' ELSE 'INVALID' END
    FROM generate_series(1, %(people)s::int) AS n
    """,
)


def admin_lists(stage: Stage, options: Options, show: Show) -> dict[str, Any]:
    """Keys of the report. The stage's own database is empty but for people, or it would be copied."""
    stage.stop(("web", *ENGINE))
    url = make(stage, stage.database, "admin", options.history_deliveries, show)
    show("admin: failures, dead letters, people and their changes")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET statement_timeout = 0")
        for statement in MORE:
            connection.execute(statement.encode(), {"people": options.history_deliveries // 50})
        connection.execute("VACUUM (ANALYZE)")
    show(f"admin: each page {RUNS} times")
    command = [sys.executable, "-m", "benchmarks.admin_lists_process", str(RUNS)]
    environment = {**stage.world.environment, "DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "config.settings"}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the admin's pages failed: {done.stderr[-2000:]}")
    stage.start(("web", *ENGINE))
    return {"admin_ms": json.loads(done.stdout.splitlines()[-1])}
