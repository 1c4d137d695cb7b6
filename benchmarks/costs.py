"""What parts of the engine cost: it runs without each of them in turn, beside the whole, on the same servers."""

from __future__ import annotations

from typing import Any

from benchmarks.drain import Run, measure
from benchmarks.measures import median_of, ratio
from benchmarks.options import Options, Show
from benchmarks.stage import Stage

WHOLE = "whole"
#: by part, the setting that leaves it out
WITHOUT = {
    "cache": {"NOTIFIER_CACHE_SECONDS": "0"},
    "daily_cap": {"NOTIFIER_DAILY_CAP": "0"},
    "metrics": {"NOTIFIER_METRICS": "0"},
    "task_events": {"NOTIFIER_TASK_EVENTS": "0"},
}


def costs(stage: Stage, options: Options, show: Show) -> dict[str, Any]:
    """Keys of the report. `costs`: what the whole does of the events a second that it does without this part.

    `costs_cpu`: the CPU of an event with it as a multiple of that without it; others on the machine move it less.
    """
    runs: dict[str, list[Run]] = {name: [] for name in (WHOLE, *WITHOUT)}
    stage.stop()
    for number in range(options.rounds):
        for name, found in runs.items():
            show(f"costs, round {number + 1} of {options.rounds}: {name if name == WHOLE else f'without {name}'}")
            stage.start(environment=WITHOUT.get(name, {}))
            found.append(run := measure(stage, stage.default_batch, options.seconds))
            stage.stop()
            show(f"{run.eps:.0f} events/s")
    stage.start()
    eps = {name: [run.eps for run in found] for name, found in runs.items()}
    cpu = {name: [sum(run.cpu_ms_per_event.values()) for run in found] for name, found in runs.items()}
    return {
        "costs": {name: ratio(eps[WHOLE], eps[name]) for name in WITHOUT},
        "costs_cpu": {name: ratio(cpu[WHOLE], cpu[name]) for name in WITHOUT},
        "costs_cpu_ms": {name: median_of([run.cpu_ms_per_event for run in found]) for name, found in runs.items()},
        "costs_runs_eps": {name: [round(one, 1) for one in found] for name, found in eps.items()},
    }
