"""From the recorded event to the provider's acceptance, with triggers over HTTP at a steady rate."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.bus import kafka_latency
from benchmarks.drain import CALLED, SLOWEST, drain, received
from benchmarks.load import ACCEPTED, Arrivals, Posted
from benchmarks.measures import median_of, spread
from benchmarks.options import Options, Show
from benchmarks.stage import Stage

KAFKA_RATE = 50  # events a second published
WARM_EVENTS = 50  # before the first rate
WARM = 3.0  # seconds at each rate that do not count


def latency(stage: Stage, options: Options, show: Show) -> dict[str, Any]:
    """Keys of the report."""
    drain(stage, WARM_EVENTS)
    runs: dict[str, list[dict[str, dict[str, float]]]] = {}
    for number in range(options.api_rounds):
        for rate in options.rates:
            show(f"latency, round {number + 1} of {options.api_rounds}: {rate} events/s")
            runs.setdefault(str(rate), []).append(found := _at(stage, rate, options, number))
            show(f"latency at {rate} events/s: {found['latency_ms']}")
    keys = ("latency_ms", "latency_from_answer_ms", "latency_accepted")
    report: dict[str, Any] = {
        key: {rate: median_of([run[key] for run in found]) for rate, found in runs.items()} for key in keys
    }
    if not options.quick:
        show(f"latency from Kafka: {KAFKA_RATE} events/s")
        from_kafka = [kafka_latency(stage, KAFKA_RATE, options.latency_seconds) for _ in range(options.api_rounds)]
        report["latency_kafka_ms"] = {str(KAFKA_RATE): median_of(from_kafka)}
    return {**report, "latency_arrivals": "random" if options.random_arrivals else "even"}


def _at(stage: Stage, rate: int, options: Options, seed: int) -> dict[str, dict[str, float]]:
    log_from = stage.world.sandbox_log.stat().st_size
    arrivals = Arrivals(stage, moments(rate, WARM + options.latency_seconds, seed if options.random_arrivals else None))
    arrivals.start()
    posted = sorted(arrivals.wait(), key=lambda one: one.began)
    if wrong := [one.status for one in posted if one.status != ACCEPTED]:
        raise RuntimeError(f"{len(wrong)} of {len(posted)} triggers were not accepted: {sorted(set(wrong))}")
    stage.until_drained(60 + len(posted) / SLOWEST)
    counted = [one for one in posted if one.began > posted[0].began + WARM]
    recorded, answered = acceptances(stage, counted, log_from)
    took = counted[-1].answered - counted[0].began
    return {
        "latency_ms": spread(recorded),
        "latency_from_answer_ms": spread(answered),
        "latency_accepted": {"eps": round(len(counted) / took, 1), **spread([one.milliseconds for one in counted])},
    }


def moments(rate: int, seconds: float, seed: int | None) -> Iterator[float]:
    """Evenly spaced, or with a seed a Poisson process."""
    chance, moment = random.Random(seed), 0.0
    while moment < seconds:
        yield moment
        moment += 1 / rate if seed is None else chance.expovariate(rate)


def acceptances(stage: Stage, posted: Sequence[Posted], log_from: int) -> tuple[list[float], list[float]]:
    """Milliseconds from the event's recording to each message's acceptance, and from the caller's 202 to it.

    The second may be negative: a message can be out before the caller has read its answer. Raises RuntimeError where
    a message never came.
    """
    answers = {event: 1000 * one.answered for one in posted for event in one.event_ids}
    log = received(stage, log_from)
    rows = stage.query(
        "SELECT delivery.id::text, event.id::text AS event, extract(epoch FROM recorded_at)::float8 * 1000 AS recorded "
        "FROM notifier_delivery AS delivery JOIN notifier_notificationevent AS event ON event.id = delivery.event_id "
        "WHERE event.id = ANY(%s::uuid[]) AND channel = ANY(%s)",
        list(answers),
        list(CALLED),
    )
    if len(rows) != len(CALLED) * len(answers) or any(row["id"] not in log for row in rows):
        raise RuntimeError(f"of {len(answers)} events {sum(row['id'] in log for row in rows)} messages came")
    recorded = [log[row["id"]][0] - row["recorded"] for row in rows]
    return recorded, [log[row["id"]][0] - answers[row["event"]] for row in rows]
