"""One worker process against two, each with a pool of one."""

from __future__ import annotations

from statistics import median
from typing import Any

from benchmarks.drain import Run, measure
from benchmarks.measures import ratio
from benchmarks.options import Options, Show
from benchmarks.stage import Stage


def scaling(stage: Stage, options: Options, show: Show) -> dict[str, Any]:
    """Keys of the report. The workers serve all queues, as the Procfile's second does."""
    names = [_add(stage, number) for number in (1, 2)]
    runs: dict[int, list[Run]] = {1: [], 2: []}
    stage.stop()
    for number in range(options.rounds):
        for workers, found in runs.items():
            show(f"scaling, round {number + 1} of {options.rounds}: {workers} worker processes")
            stage.start(running := [*names[:workers], "beat"])
            found.append(run := measure(stage, stage.default_batch, options.seconds))
            stage.stop(running)
            show(f"{workers} worker processes: {run.eps:.0f} events/s")
    stage.start()
    eps = {workers: [round(run.eps, 1) for run in found] for workers, found in runs.items()}
    middle = {str(workers): median(found) for workers, found in eps.items()}
    return {"workers": {**middle, "speed_up": ratio(eps[2], eps[1])}, "workers_runs_eps": eps}


def _add(stage: Stage, number: int) -> str:
    name = f"scaling-{number}"
    command = stage.world.children["worker"].command
    line = [word.replace("worker@", f"{name}@") for word in command[command.index("celery") :]]
    stage.add(name, *line, "--concurrency", "1")
    return name
