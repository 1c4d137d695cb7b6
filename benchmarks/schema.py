"""What the JSON of script/bench looks like, as a JSON Schema (draft 2020-12) for the parts that were measured."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

NUMBER: dict[str, Any] = {"type": "number"}
SPREAD = {"type": "object", "required": ["p50", "p95", "p99"], "additionalProperties": NUMBER}
NUMBERS = {"type": "object", "minProperties": 1, "additionalProperties": NUMBER}
BY_RATE = {"type": "object", "minProperties": 1, "additionalProperties": SPREAD}

#: what a quick run measures, too
QUICK: dict[str, dict[str, Any]] = {
    "throughput": {
        "baseline_chord_eps": NUMBER,
        "engine_eps": NUMBERS,
        "engine_default_batch": {"type": "integer"},
        "engine_ratio": NUMBER,
        "engine_cpu_ratio": NUMBER,
        "cpu_ms_per_event": NUMBERS,
    },
    "latency": {"latency_ms": BY_RATE, "latency_from_answer_ms": BY_RATE, "latency_accepted": BY_RATE},
    "intake": {"intake_eps": {**NUMBERS, "required": ["single", "single_p99_ms"]}},
}
WHOLE: dict[str, dict[str, Any]] = {
    "throughput": {
        **QUICK["throughput"],
        "baseline_best": NUMBER,
        "engine_ratio_best": NUMBER,
        "naive_eps": NUMBER,
    },
    "latency": {**QUICK["latency"], "latency_kafka_ms": BY_RATE},
    "intake": {
        "intake_eps": {**NUMBERS, "required": ["single", "single_p99_ms", "bulk", "celery", "celery_many", "kafka"]},
    },
    "planning": {
        name: {**NUMBERS, "required": ["uncached", "cold", "warm"]}
        for name in ("plan_500_ms", "plan_500_queries", "dispatch_500_ms", "dispatch_500_queries")
    },
    "scaling": {"workers": {**NUMBERS, "required": ["1", "2", "speed_up"]}},
    "costs": {"costs": NUMBERS, "costs_cpu": NUMBERS},
    "history": {"history_ratio": NUMBER},
    "admin": {"admin_ms": {**NUMBERS, "required": ["events", "dead letters", "timeline by order", "event"]}},
    "burst": {
        "burst": {
            "type": "object",
            "required": [
                "accepted_per_second", "drain_seconds", "lost", "doubled", "errors", "urgent_p99_ms", "lag_seconds",
            ],
        }
    },
    "memory": {
        "rss_mb": {
            "type": "object",
            "additionalProperties": {"type": "object", "required": ["before", "after"]},
        }
    },
}  # fmt: skip


def schema(parts: Iterable[str], *, quick: bool = False) -> dict[str, Any]:
    """Of a report of these parts, none of which failed."""
    of_part = {**WHOLE, **(QUICK if quick else {})}
    fields = {name: kind for part in parts for name, kind in of_part[part].items()}
    always = {"host": {"type": "object"}, "settings": {"type": "object"}, "seconds": NUMBER}
    properties = {**always, **fields, "failed": False}
    return {"type": "object", "properties": properties, "required": [*always, *fields]}
