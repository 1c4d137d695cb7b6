"""What each process holds before and after many events."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.drain import drain, measure
from benchmarks.options import Options, Show
from benchmarks.processes import resident_of
from benchmarks.stage import Stage

WATCHED = ("worker-control", "worker", "beat")
CHUNK = 20_000  # events recorded at once
LONGEST = 600.0  # seconds, after which fewer events must do; the report says how many there were


def memory(stage: Stage, options: Options, show: Show) -> dict[str, Any]:
    """Keys of the report. Children that Celery replaces meanwhile (W8 in its settings) count as they are then."""
    measure(stage, stage.default_batch, options.seconds)
    before, events, ends = _resident(stage), 0, time.monotonic() + LONGEST
    series = [_total(before)]
    while events < options.memory_events and time.monotonic() < ends:
        show(f"memory: {events} of {options.memory_events} events, {series[-1]:.0f} MB")
        events += drain(stage, min(CHUNK, options.memory_events - events)).events
        after = _resident(stage)
        series.append(_total(after))
    return {
        "rss_mb": {name: {"before": before[name], "after": after[name]} for name in WATCHED},
        "rss_mb_total": {"events": events, "each": CHUNK, "mb": series},
    }


def _resident(stage: Stage) -> dict[str, list[float]]:
    """MB of a process's parent, then of each of its pool."""
    return {name: resident_of(stage.child(name).pid) for name in WATCHED}


def _total(resident: dict[str, list[float]]) -> float:
    return round(sum(sum(sizes) for sizes in resident.values()), 1)
