"""PostgreSQL, the ledger: what it must keep through a power cut, and whether we fit into it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from django.conf import settings
from django.db import connection

from notifier import health
from notifier.doctor.finding import Finding, ok, problem, warning

OLDEST = 14  # what Django 5.2 takes
TESTED = 18
#: What may be lost, by setting. `synchronous_commit=local` waits for this server's disk, as do the others but `off`.
DURABILITY = {
    "fsync": "Accepted events are lost in a crash of the machine, and the tables may be",
    "full_page_writes": "Tables may be broken after a crash of the machine",
    "synchronous_commit": "Events that got their 202 are lost in a crash of the server",
}
NEARLY_FULL = 0.8  # of the connections
SKEW_WARNING, SKEW_PROBLEM = 2.0, 60.0  # seconds; Google takes no token from a clock that is minutes off


def server() -> Iterator[Finding]:
    """Its version, and whether it takes writes."""
    version = int(_setting("server_version_num")) // 10_000
    if version < OLDEST:
        yield problem("postgres", f"PostgreSQL {version} is too old.", f"Upgrade to {OLDEST} or later.")
    elif _one("SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::bool"):
        advice = "Point DATABASE_URL to the primary."
        yield problem("postgres", f"PostgreSQL {version} takes no writes: it is a standby, or read-only.", advice)
    else:
        yield ok("postgres", f"PostgreSQL {version} takes writes (tested with {TESTED}).")


def durability() -> Iterator[Finding]:
    """A 202 is a promise that outlives a power cut."""
    yield from judge_durability({name: _setting(name) for name in DURABILITY})


def judge_durability(values: Mapping[str, str]) -> Iterator[Finding]:
    """By the names of DURABILITY."""
    off = [name for name, value in values.items() if value == "off"]
    for name in off:
        yield problem("postgres durability", f"{name} is off. {DURABILITY[name]}.", f"Set {name} = on.")
    if not off:
        yield ok("postgres durability", f"{', '.join(values)} are on.")


def statement_timeout() -> Iterator[Finding]:
    """A statement that hangs must end before the lease that it works under; a pooler may drop what we ask for."""
    milliseconds = int(_one("SELECT setting FROM pg_settings WHERE name = 'statement_timeout'"))
    yield judge_timeout(milliseconds / 1000, settings.DELIVERY_LEASE.total_seconds())


def judge_timeout(seconds: float, lease: float) -> Finding:
    """0 is none."""
    if 0 < seconds < lease:
        return ok("statement timeout", f"{seconds:.0f} s, below the delivery lease of {lease:.0f} s.")
    found = f"{seconds:.0f} s" if seconds else "none"
    advice = "Our connections ask for 15 s: have the pooler before PostgreSQL pass that on, or set it for our role."
    return problem("statement timeout", f"{found}, not below the delivery lease of {lease:.0f} s.", advice)


def connections() -> Iterator[Finding]:
    """Whether another web process would fit in; each child of a worker needs one, too."""
    most, reserved, used = _row(
        """
        SELECT current_setting('max_connections')::int, current_setting('superuser_reserved_connections')::int,
               (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')
        """
    )
    yield judge_connections(most - reserved, used, settings.WEB_DATABASE_POOL)


def judge_connections(most: int, used: int, pool: int) -> Finding:
    """`pool`: what one web process takes at most."""
    found = f"{used} of {most} are in use, and a web process may take {pool}."
    advice = "Raise max_connections, lower NOTIFIER_DATABASE_POOL, or put a pooler before PostgreSQL."
    if most < pool or used >= most:
        return problem("postgres connections", found, advice)
    if used > NEARLY_FULL * most or most - used < pool:
        return warning("postgres connections", found, advice)
    return ok("postgres connections", found)


def clock() -> Iterator[Finding]:
    """Leases go by the database's clock; tokens, signatures and logs by this machine's."""
    before = time.time()
    theirs = float(_one("SELECT extract(epoch FROM clock_timestamp())::float8"))
    after = time.time()
    yield judge_skew(theirs - (before + after) / 2, (after - before) / 2)


def judge_skew(skew: float, unsure: float) -> Finding:
    """Seconds that the database's clock is ahead, give or take `unsure`."""
    off = max(0.0, abs(skew) - unsure)
    found = f"The database's clock is {abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} this machine's."
    advice = "Have both synchronise their clocks (chrony, systemd-timesyncd)."
    if off > SKEW_PROBLEM:
        return problem("clock", found, advice)
    return warning("clock", found, advice) if off > SKEW_WARNING else ok("clock", "As the database's.")


def migrations() -> Iterator[Finding]:
    """The tables are those of this code."""
    pending = health.pending_migrations(connection)
    if pending:
        some = ", ".join(pending[:3]) + (", …" if len(pending) > 3 else "")
        yield problem("migrations", f"{len(pending)} are not applied: {some}.", "Run manage.py migrate.")
    else:
        yield ok("migrations", "All are applied.")


def _setting(name: str) -> str:
    return str(_one("SELECT current_setting(%s)", name))


def _one(sql: str, *parameters: Any) -> Any:
    return _row(sql, *parameters)[0]


def _row(sql: str, *parameters: Any) -> tuple[Any, ...]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        row: tuple[Any, ...] = cursor.fetchone()
    return row
