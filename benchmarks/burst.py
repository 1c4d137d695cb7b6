"""A surge by bulk triggers, at 10,000 events a second where web takes so many; its drain; urgent ones meanwhile."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import psycopg
import redis

from benchmarks.drain import SLOWEST, received
from benchmarks.intake import BULK_SIZE, bulk
from benchmarks.latency import acceptances
from benchmarks.load import ACCEPTED, BULK, Arrivals, Post, Posted, paced, with_api
from benchmarks.measures import spread
from benchmarks.options import Options, Show
from benchmarks.processes import resident_of
from benchmarks.stage import WORKERS, Stage

PER_SECOND = 12_000  # events: more than the 10,000 that are to be accepted
URGENT, URGENT_EVERY = "ORDER_DELAYED", 0.15  # seconds
WAITING = """
    SELECT EXISTS (SELECT 1 FROM notifier_notificationevent WHERE due_at IS NOT NULL AND event_type <> %s)
        OR EXISTS (SELECT 1 FROM notifier_notificationevent WHERE lease_until IS NOT NULL AND event_type <> %s)
"""
LAG = """
    SELECT coalesce(max(extract(epoch FROM now() - oldest.due_at)), 0)::float8
    FROM generate_series(0, 2) AS lane(priority)
    CROSS JOIN LATERAL (
        SELECT due_at FROM notifier_notificationevent AS event
        WHERE event.priority = lane.priority AND due_at IS NOT NULL ORDER BY due_at LIMIT 1
    ) AS oldest
"""


def burst(stage: Stage, options: Options, show: Show) -> dict[str, Any]:
    """Key of the report."""
    orders, log_from = f"burst{secrets.token_hex(4)}", stage.world.sandbox_log.stat().st_size
    bodies = [bulk(stage, BULK_SIZE, f"{orders}-{n}") for n in range(options.burst_events // BULK_SIZE)]
    urgent, watch = Arrivals(stage, itertools.count(0.0, URGENT_EVERY), URGENT), Watch(stage)
    show(f"burst: {options.burst_events} events arrive")
    urgent.start()
    watch.start()
    posted = asyncio.run(with_api(stage, lambda post: _pour(post, bodies)))
    accepted_at = max(one.answered for one in posted)
    _until_worked_off(stage, len(bodies) * BULK_SIZE, show)
    singles = urgent.stop()
    samples = watch.stop()
    stage.until_drained(60)
    facts = _facts(stage, orders, posted, log_from)
    return {"burst": {**facts, **_urgent(stage, singles, accepted_at, log_from), **samples}}


async def _pour(post: Post, bodies: Sequence[bytes]) -> list[Posted]:
    return await paced(post, BULK, bodies, BULK_SIZE / PER_SECOND)


def _until_worked_off(stage: Stage, events: int, show: Show) -> None:
    """No event but urgent ones is due or in a round."""
    began, deadline = time.monotonic(), 60 + events / SLOWEST
    while stage.one(WAITING, URGENT, URGENT):
        passed = time.monotonic() - began
        if passed > deadline:
            raise RuntimeError(f"the burst was not worked off in {deadline:.0f} s; logs: {stage.world.logs}")
        if int(passed) % 10 == 0:
            show(f"burst: draining for {passed:.0f} s")
        time.sleep(1)


def _facts(stage: Stage, orders: str, posted: Sequence[Posted], log_from: int) -> dict[str, Any]:
    accepted = sum(len(one.event_ids) for one in posted)
    first, last = min(one.began for one in posted), max(one.answered for one in posted)
    (row,) = stage.query(
        "SELECT count(*) AS sent, extract(epoch FROM max(settled_at))::float8 AS ended "
        "FROM notifier_notificationevent WHERE status = 'SENT' AND order_id LIKE %s",
        f"{orders}-%",
    )
    return {
        "accepted": accepted,
        "accepted_per_second": round(accepted / (last - first)),
        "drain_seconds": round(row["ended"] - last, 1),
        "seconds_from_first_trigger": round(row["ended"] - first, 1),
        "lost": accepted - row["sent"],
        "doubled": sum(len(times) > 1 for times in received(stage, log_from).values()),
        "errors": sum(one.status != ACCEPTED or len(one.event_ids) != BULK_SIZE for one in posted),
    }


def _urgent(stage: Stage, singles: Sequence[Posted], accepted_at: float, log_from: int) -> dict[str, Any]:
    """Urgent triggers that were posted after the surge had been accepted, and those before."""
    good = [one for one in singles if one.status == ACCEPTED]
    meanwhile = [one for one in good if one.began < accepted_at]
    during = [one for one in good if one.began >= accepted_at]
    latency = spread(acceptances(stage, during, log_from)[0]) if during else {}
    before = spread(acceptances(stage, meanwhile, log_from)[0]) if meanwhile else {}
    return {
        "urgent": len(during),
        "urgent_p99_ms": latency.get("p99"),
        "urgent_ms": latency,
        "urgent_answer_ms": spread([one.milliseconds for one in during]) if during else {},
        "urgent_while_arriving_ms": before,
        "urgent_errors": len(singles) - len(good),
    }


class Watch:
    """Looks once a second how old the oldest waiting event is, what lies in the queues, and what the workers hold."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.lag: list[float] = []
        self.queues: list[int] = []
        self.resident: list[float] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> dict[str, list[float] | list[int]]:
        self._stopping.set()
        self._thread.join()
        return {"lag_seconds": self.lag, "queued_messages": self.queues, "workers_rss_mb": self.resident}

    def _run(self) -> None:
        while not self._stopping.wait(1):
            with suppress(psycopg.Error, redis.RedisError):
                self.lag.append(round(self.stage.one(LAG), 1))
                self.queues.append(sum(self.stage.world.queues().values()))
                pids = [self.stage.child(name).pid for name in WORKERS]
                self.resident.append(round(sum(sum(resident_of(pid)) for pid in pids), 1))
