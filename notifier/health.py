"""Is this process ready, and what else is sick? Asked by load balancers and orchestrators every few seconds.

Ready is what recording needs: the database, with our tables. Without Redis, Beat or workers events are recorded all
the same and wait, so their absence is told and takes no web process out of service: taken out, it could not even
record.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import redis
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError, connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader

from notifier import liveness
from notifier.liveness import Signs
from notifier.probe import Probe
from notifier.synthetic import Result, results

log = logging.getLogger(__name__)

PATIENCE = 0.8  # seconds for the database: a busy machine is not to count as a sick one
REDIS_PATIENCE = 0.3  # seconds for a connection, and again for an answer
BEAT_IS_LATE = 15.0  # seconds since its last tick; it ticks each second, and a restart takes some
CONNECTION_GOES = 3_000  # milliseconds until a connection is given up whose other end takes nothing any more

OK, PROBLEM = "ok", "problem"


@dataclass(frozen=True, slots=True)
class Check:
    """What became of one check. `told`: facts for staff, without secrets and personal data."""

    status: str
    told: Mapping[str, Any] = field(default_factory=dict)


def essentials() -> dict[str, Check]:
    """What recording needs: `database` and `migrations`, known within PATIENCE; the second not without the first."""
    wanted = _migrations()  # from disk: not a matter of patience
    try:
        applied = _database.ask().result(PATIENCE)
    except Exception as error:  # noqa: BLE001 - whatever it is, nothing can be recorded
        log.warning("not ready, the database is away: %s", type(error).__name__)
        return {"database": Check(PROBLEM, {"message": "It cannot be reached."})}
    pending = sorted(wanted - applied)
    if pending:
        log.warning("not ready, %d migrations are not applied", len(pending))
    told = {"pending": [".".join(migration) for migration in pending]} if pending else {}
    return {"database": Check(OK), "migrations": Check(PROBLEM if pending else OK, told)}


def others() -> dict[str, Check]:
    """What sending needs besides: `redis`, `beat` and `workers`; known within twice REDIS_PATIENCE."""
    try:
        signs, synthetic = _redis.ask().result(2 * REDIS_PATIENCE)
    except (redis.RedisError, FutureTimeoutError, OSError) as error:
        log.warning("Redis is away: %s", type(error).__name__)
        unknown = Check(PROBLEM, {"message": "Not known while Redis is away."})
        return {"redis": Check(PROBLEM, {"message": "It cannot be reached."}), "beat": unknown, "workers": unknown}
    checks = {"redis": Check(OK), "beat": judge_beat(signs.beat), "workers": judge_workers(signs.workers)}
    return checks | ({"synthetic": judge_synthetic(synthetic)} if settings.SYNTHETIC_USER else {})


def judge_beat(age: float | None) -> Check:
    """By the age of its last tick in seconds; None: none is known."""
    if age is None:
        return Check(PROBLEM, {"ageSeconds": None})
    return Check(OK if age <= BEAT_IS_LATE else PROBLEM, {"ageSeconds": round(age, 1)})


def judge_synthetic(found: Mapping[str, Result]) -> Check:
    """By what the synthetic customer got of each event type; nothing: no run has ended lately."""
    if not found:
        return Check(PROBLEM, {"message": "No run has ended lately."})
    told = {name: {"seconds": result.seconds, "problem": result.reason} for name, result in found.items()}
    return Check(OK if all(result.ok for result in found.values()) else PROBLEM, {"eventTypes": told})


def judge_workers(workers: Mapping[str, frozenset[str]]) -> Check:
    """By the queues of each worker: every queue needs one."""
    unserved = queues_without_worker(workers)
    return Check(PROBLEM if unserved else OK, {"number": len(workers), "queuesWithoutWorker": unserved})


def queues_without_worker(workers: Mapping[str, frozenset[str]]) -> list[str]:
    """In the order of the settings."""
    served = frozenset().union(*workers.values())
    return [queue.name for queue in settings.CELERY_TASK_QUEUES if queue.name not in served]


def pending_migrations(of: BaseDatabaseWrapper) -> list[str]:
    """Those that the code needs and this database lacks, as "notifier.0007_name"."""
    return [".".join(migration) for migration in sorted(_migrations() - _applied(of))]


@cache
def _migrations() -> frozenset[tuple[str, str]]:
    """(app, name) of every migration on disk: the code of a process does not change."""
    return frozenset(MigrationLoader(None).graph.nodes)


def _applied(of: BaseDatabaseWrapper) -> frozenset[tuple[str, str]]:
    with of.cursor() as cursor:
        cursor.execute("SELECT to_regclass('django_migrations') IS NOT NULL")
        if not cursor.fetchone()[0]:
            return frozenset()
        cursor.execute("SELECT app, name FROM django_migrations")
        return frozenset(cursor.fetchall())


@cache
def _own_connection() -> BaseDatabaseWrapper:
    """Beside the pool: when that is used up, this process is busy, not sick. It is kept, and one thread at a time uses
    it.
    """
    own = connection.copy(alias=DEFAULT_DB_ALIAS)
    options = {name: value for name, value in own.settings_dict["OPTIONS"].items() if name != "pool"}
    options |= {"connect_timeout": 2, "tcp_user_timeout": CONNECTION_GOES}
    own.settings_dict |= {"CONN_MAX_AGE": None, "OPTIONS": options}
    own.inc_thread_sharing()
    return own


def close() -> None:
    """Close the probe's own connection; the next question opens another."""
    _own_connection().close()
    _own_connection.cache_clear()


def _ask_database() -> frozenset[tuple[str, str]]:
    """A connection that broke, as by a restart of the server, costs a second try and not a wrong answer."""
    own = _own_connection()
    try:
        return _applied(own)
    except (DatabaseError, InterfaceError):
        own.close()
        return _applied(own)


def _ask_redis() -> tuple[Signs, Mapping[str, Result]]:
    with liveness.client_with(REDIS_PATIENCE) as client:
        return liveness.signs(client), results(client)


_database = Probe(_ask_database)
_redis = Probe(_ask_redis)
