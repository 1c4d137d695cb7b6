"""Redis or Valkey, the doorbell and the queues: what it must not forget, and what it must not throw away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import redis

from notifier import liveness
from notifier.doctor.finding import Finding, ok, problem, warning

OLDEST = (6, 2)  # SET with GET, as notifier/liveness.py uses it
PATIENCE = 2.0  # seconds
NEARLY_FULL = 0.8  # of maxmemory
LEAST_TIMEOUT = 60  # seconds


def server() -> Iterator[Finding]:
    """Its version, and whether it takes writes."""
    yield judge_server(info())


def judge_server(facts: Mapping[str, Any]) -> Finding:
    """By INFO. Valkey names the version of Redis that it is compatible with beside its own."""
    version = str(facts.get("redis_version", "0"))
    name = f"Valkey {facts['valkey_version']}" if "valkey_version" in facts else f"Redis {version}"
    if tuple(int(part) for part in version.split(".")[:2] if part.isdecimal()) < OLDEST:
        return problem("redis", f"{name} is too old.", f"Upgrade to Redis {'.'.join(map(str, OLDEST))} or later.")
    if facts.get("role") == "slave":
        return problem("redis", f"{name} is a replica: it takes no writes.", "Point REDIS_URL to the primary.")
    return ok("redis", f"{name} takes writes.")


def memory() -> Iterator[Finding]:
    """What is thrown away to make room is a queue, or half a chord."""
    yield judge_memory(info())


def judge_memory(facts: Mapping[str, Any]) -> Finding:
    """By INFO, which also servers answer whose CONFIG is closed."""
    policy, most, used = str(facts["maxmemory_policy"]), int(facts["maxmemory"]), int(facts["used_memory"])
    if policy != "noeviction":
        text = f"maxmemory-policy is {policy}: queued messages may be thrown away."
        return problem("redis memory", text, "Set maxmemory-policy noeviction.")
    if most and used > NEARLY_FULL * most:
        text = f"{used / most:.0%} of maxmemory is used; full, it refuses messages."
        return warning("redis memory", text, "Raise maxmemory, or see which queue grows.")
    return ok("redis memory", "noeviction, " + (f"{used / most:.0%} of maxmemory used." if most else "no maxmemory."))


def persistence() -> Iterator[Finding]:
    """Queued triggers of Celery callers are in Redis alone until a worker records them."""
    yield judge_persistence(info(), config("appendfsync"))


def judge_persistence(facts: Mapping[str, Any], appendfsync: str | None) -> Finding:
    """By INFO; `appendfsync` is None where CONFIG is closed."""
    if not int(facts["aof_enabled"]):
        text = "appendonly is off: a restart loses what is queued, triggers of Celery callers among it."
        return warning("redis persistence", text, "Set appendonly yes.")
    if facts.get("aof_last_write_status") == "err":
        return problem("redis persistence", "The append-only file cannot be written.", "See to Redis's disk.")
    if appendfsync == "no":
        text = "appendfsync is no: a crash of the machine loses up to half a minute of messages."
        return warning("redis persistence", text, "Set appendfsync everysec.")
    return ok("redis persistence", f"appendonly, appendfsync {appendfsync or 'not to be seen'}.")


def costs() -> Iterator[Finding]:
    """What makes each command dearer, or ends connections that only rest."""
    yield from judge_costs(config("notify-keyspace-events"), config("timeout"))


def judge_costs(notify: str | None, timeout: str | None) -> Iterator[Finding]:
    """Both None where CONFIG is closed."""
    if notify:
        text = "notify-keyspace-events is set: Redis publishes each change of a key, and nobody here listens."
        yield warning("redis events", text, 'Set notify-keyspace-events "" unless another program needs it.')
    if timeout and 0 < int(timeout) < LEAST_TIMEOUT:
        text = f"timeout is {timeout} s: connections that rest are ended, and made anew all the time."
        yield warning("redis connections", text, "Set timeout 0.")
    if not notify and not (timeout and 0 < int(timeout) < LEAST_TIMEOUT):
        yield ok("redis events", "None are published, and connections that rest are kept.")


def info() -> dict[str, Any]:
    """INFO. Raises redis.RedisError."""
    with liveness.client_with(PATIENCE) as client:
        return cast("dict[str, Any]", client.info())


def config(name: str) -> str | None:
    """A setting of the server; None where it may not be seen, as with most hosters."""
    try:
        with liveness.client_with(PATIENCE) as client:
            found = cast("dict[str, str]", client.config_get(name))
    except redis.ResponseError:  # unknown command, or no permission
        return None
    return found.get(name)
