"""How fast the engine works off what was recorded: every run is checked against the ledger and the sandbox's log."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from benchmarks.stage import Stage

SLOWEST = 5.0  # events a second, below which a run is given up
#: one event's deliveries
EXPECTED = {("EMAIL", "SENT", ""), ("SMS", "SENT", ""), ("IN_APP", "SENT", ""), ("PUSH", "SKIPPED", "NO_ADDRESS")}
CALLED = ("EMAIL", "SMS")  # channels whose messages reach the sandbox

COPY_EVENTS = """
    INSERT INTO notifier_notificationevent
    SELECT fresh.* FROM notifier_notificationevent AS template
    CROSS JOIN generate_series(1, %(number)s::int) AS n
    CROSS JOIN LATERAL (SELECT (%(people)s::uuid[])[1 + n %% cardinality(%(people)s::uuid[])] AS id) AS person
    CROSS JOIN LATERAL jsonb_populate_record(template, jsonb_build_object(
        'id', uuidv7(), 'source', %(source)s::text, 'idempotency_key', n::text,
        'order_id', %(source)s::text || '-' || n,
        'metadata', template.metadata || jsonb_build_object('orderId', %(source)s::text || '-' || n),
        'user_id', person.id, 'recipient_key', person.id,
        'status', 'QUEUED', 'round', 0, 'recorded_at', now(), 'due_at', now(), 'expires_at', now() + interval '1 day',
        'lease_until', NULL, 'settled_at', NULL
    )) AS fresh
    WHERE template.id = %(template)s::uuid
"""


@dataclass(frozen=True, slots=True)
class Run:
    """`cpu`: seconds by process group."""

    events: int
    seconds: float
    cpu: Mapping[str, float]

    @property
    def eps(self) -> float:
        return self.events / self.seconds

    @property
    def cpu_ms_per_event(self) -> dict[str, float]:
        return {name: round(1000 * used / self.events, 3) for name, used in self.cpu.items()}


def drain(stage: Stage, number: int) -> Run:
    """Record so many events at one instant, and measure until the last is settled.

    They become visible with one commit; Beat or the message of a doorbell, whichever is first, starts the engine.
    Raises RuntimeError where anything is not as it should be.
    """
    source, log_from = f"bench-{secrets.token_hex(4)}", stage.world.sandbox_log.stat().st_size
    with stage.connect(autocommit=False) as connection:
        people = [person.id for person in stage.world.people]
        given = {"number": number, "people": people, "source": source, "template": stage.template}
        connection.execute(COPY_EVENTS, given)
        before, began = stage.cpu(), time.time()
        connection.commit()
        stage.send("notifier.dispatch")
    stage.until_drained(30 + number / SLOWEST)
    after = stage.cpu()
    ended = _last_settled(stage, source)
    check(stage, source, number, log_from)
    stage.world.sandbox.clear()
    return Run(number, ended - began, {name: after[name] - before[name] for name in after})


def measure(stage: Stage, batch: int, seconds: float) -> Run:
    """Warm up, learn how fast it is, and drain what takes about so many seconds."""
    warm = drain(stage, min(max(4 * batch, 40), 1_000))
    return drain(stage, max(50, round(warm.eps * seconds)))


def _last_settled(stage: Stage, source: str) -> float:
    sql = "SELECT extract(epoch FROM max(settled_at))::float8 FROM notifier_notificationevent WHERE source = %s"
    return float(stage.one(sql, source))


def check(stage: Stage, source: str, number: int, log_from: int) -> None:
    """Every event is SENT with all its deliveries, and each message reached its provider exactly once."""
    counts = stage.query(
        "SELECT channel, delivery.status, skip_reason, count(*) FROM notifier_delivery AS delivery "
        "JOIN notifier_notificationevent AS event ON event.id = delivery.event_id AND event.status = 'SENT' "
        "WHERE source = %s GROUP BY 1, 2, 3",
        source,
    )
    found = {(row["channel"], row["status"], row["skip_reason"]): row["count"] for row in counts}
    if found != dict.fromkeys(EXPECTED, number):
        raise RuntimeError(f"of {number} events: {found}; logs: {stage.world.logs}")
    messages = received(stage, log_from)
    twice = sum(len(times) > 1 for times in messages.values())
    if twice or len(messages) != number * len(CALLED):
        raise RuntimeError(f"of {number} events {len(messages)} messages came, {twice} more than once")


def received(stage: Stage, log_from: int) -> dict[str, list[int]]:
    """When each delivery's message reached the sandbox (ms since the epoch), from this byte of its log on."""
    times: dict[str, list[int]] = {}
    with stage.world.sandbox_log.open("rb") as log:
        log.seek(log_from)
        for line in log:
            message = orjson.loads(line)
            times.setdefault(message["deliveryId"], []).append(message["at"])
    return times
