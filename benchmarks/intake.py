"""How many triggers are recorded a second: over HTTP by one web process on an idle machine, by Celery, from Kafka."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import orjson

from benchmarks.bus import kafka
from benchmarks.load import ACCEPTED, BULK, SINGLE, Post, Posted, crowd, with_api
from benchmarks.measures import percentile
from benchmarks.options import Options, Show
from benchmarks.stage import METADATA, Stage, body
from tests.chaos.world import Person

SINGLE_CALLERS, BULK_CALLERS = 4, 2
SINGLE_SECONDS, REFUSED_SECONDS, BULK_SECONDS = 6.0, 3.0, 6.0
BULK_SIZE = 1_000  # the most that the API takes
MANY = 100  # triggers in a message of a Celery caller
CELERY_EVENTS = {1: 1_000, MANY: 5_000}  # by triggers in a message
FROM_CELERY = "SELECT count(*) FROM notifier_notificationevent WHERE source = 'celery'"
LAST_FROM_CELERY = FROM_CELERY.replace("count(*)", "extract(epoch FROM max(recorded_at))::float8")
GIVEN_UP = 300.0  # seconds


def intake(stage: Stage, options: Options, show: Show) -> dict[str, Any]:
    """Keys of the report. The workers stand still while HTTP is measured, and their backlog is deleted."""
    found: list[dict[str, float]] = []
    for number in range(options.api_rounds):
        show(f"intake, round {number + 1} of {options.api_rounds}")
        stage.stop()
        run = _single(stage)
        if not options.quick:
            run |= _bulk(stage)
        _forget(stage)
        stage.start()
        if not options.quick:
            run["celery"] = _celery(stage, 1)
            run["celery_many"] = _celery(stage, MANY)
            stage.stop()
            run |= kafka(stage)
            stage.start()
        found.append(run)
        show("intake: " + ", ".join(f"{name} {value:.2f}" for name, value in run.items()))
    return {"intake_eps": {name: _short(median(run[name] for run in found)) for name in found[0]}}


def single(stage: Stage, number: int) -> bytes:
    people = stage.world.people
    return orjson.dumps(body(people[number % len(people)]))


def bulk(stage: Stage, size: int, prefix: str = "") -> bytes:
    """A bulk trigger's body; `prefix`: of the order ids."""
    people, orders = stage.world.people, prefix or secrets.token_hex(6)
    events = [
        {
            "eventType": "ORDER_SHIPPED",
            "userId": people[number % len(people)].id,
            "metadata": {**METADATA, "orderId": f"{orders}-{number}"},
        }
        for number in range(size)
    ]
    return orjson.dumps({"events": events})


def _single(stage: Stage) -> dict[str, float]:
    """`own`: what a trigger costs web beyond a call of the same view that is refused at once."""
    posted, cpu = _crowd(stage, SINGLE, partial(single, stage), SINGLE_CALLERS, SINGLE_SECONDS)
    events, times = _accepted(posted, 1), [one.milliseconds for one in posted]
    refused, floor = _crowd(stage, SINGLE, lambda _: b"{}", SINGLE_CALLERS, REFUSED_SECONDS)
    cost = {name: 1000 * used / events for name, used in cpu.items()}
    return {
        "single": _rate(posted, events),
        "single_p50_ms": percentile(times, 0.5),
        "single_p99_ms": percentile(times, 0.99),
        "single_cpu_ms_web": cost["web"],
        "single_cpu_ms_web_own": cost["web"] - 1000 * floor["web"] / len(refused),
        "single_cpu_ms_postgres": cost["postgres"],
    }


def _bulk(stage: Stage) -> dict[str, float]:
    bodies = [bulk(stage, BULK_SIZE) for _ in range(8)]  # without keys, the same body again is another event
    posted, cpu = _crowd(stage, BULK, lambda number: bodies[number % len(bodies)], BULK_CALLERS, BULK_SECONDS)
    events = _accepted(posted, BULK_SIZE)
    return {
        "bulk": _rate(posted, events),
        "bulk_p99_ms": percentile([one.milliseconds for one in posted], 0.99),
        "bulk_cpu_ms_web": 1000 * cpu["web"] / events,
        "bulk_cpu_ms_postgres": 1000 * cpu["postgres"] / events,
    }


def _crowd(
    stage: Stage, path: str, make: Callable[[int], bytes], callers: int, seconds: float
) -> tuple[list[Posted], dict[str, float]]:
    """What the callers got, and the CPU seconds that it took by process group."""

    async def use(post: Post) -> tuple[list[Posted], dict[str, float]]:
        await post(path, make(0))  # the process is warm then
        before = stage.cpu()
        posted = await crowd(post, path, make, callers, seconds)
        after = stage.cpu()
        return posted, {name: after[name] - before[name] for name in after}

    return asyncio.run(with_api(stage, use))


def _accepted(posted: list[Posted], size: int) -> int:
    """Events recorded. Raises RuntimeError where one was refused."""
    wrong = [one.status for one in posted if one.status != ACCEPTED or len(one.event_ids) != size]
    if wrong:
        raise RuntimeError(f"{len(wrong)} of {len(posted)} requests were not accepted whole: {sorted(set(wrong))}")
    return size * len(posted)


def _rate(posted: list[Posted], events: int) -> float:
    return events / (max(one.answered for one in posted) - min(one.began for one in posted))


def _forget(stage: Stage) -> None:
    """What was recorded while the workers stood still."""
    stage.query("DELETE FROM notifier_notificationevent WHERE settled_at IS NULL AND round = 0")


def _celery(stage: Stage, size: int) -> float:
    """Events a second recorded from Celery callers who send so many in a message, while the engine delivers them."""
    events = CELERY_EVENTS[size]
    people, wanted, began = stage.world.people, stage.one(FROM_CELERY) + events, time.time()
    for first in range(0, events, size):
        given = [_of_celery(people[number % len(people)]) for number in range(first, first + size)]
        if size == 1:
            stage.send("notifier.trigger", queue="events", **given[0])
        else:
            stage.send("notifier.trigger_many", given, queue="events")
    while left := wanted - stage.one(FROM_CELERY):
        if time.time() - began > GIVEN_UP:
            raise RuntimeError(f"{left} of {events} triggers by Celery were never recorded")
        time.sleep(0.2)
    ended = float(stage.one(LAST_FROM_CELERY))
    stage.until_drained(GIVEN_UP)
    return events / (ended - began)


def _of_celery(person: Person) -> dict[str, Any]:
    trigger = body(person)
    return {"event_type": trigger["eventType"], "user_id": trigger["userId"], "metadata": trigger["metadata"]}


def _short(value: float) -> float:
    """A CPU time of a few microseconds, in ms, keeps its digits."""
    return round(value, 2 if value >= 1 else 5)
