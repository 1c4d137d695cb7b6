"""The engine beside bare Celery, and beside a first try: run after run on the same servers, one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.chords import NO_RESULTS, SOLO, Bare, Chords, Naive
from benchmarks.drain import Run, measure
from benchmarks.measures import median_of, ratio
from benchmarks.options import Options, Show
from benchmarks.stage import Stage

CHORD, BEST, NAIVE = "bare chords", "bare chords, no results, two solo processes", "naive"


def throughput(stage: Stage, options: Options, show: Show) -> dict[str, Any]:
    """Keys of the report. The stage's engine runs before and after."""
    default = stage.default_batch
    bare: dict[str, Chords] = {CHORD: Bare(stage)}
    if not options.quick:
        bare |= {BEST: Bare(stage, SOLO, NO_RESULTS), NAIVE: Naive(stage)}
    batches = [default, *(batch for batch in options.batches if batch != default)]
    runs: dict[str, list[Run]] = {}
    for number in range(options.rounds):
        for name, run in _round(stage, bare, batches, options.seconds, show, f"{number + 1} of {options.rounds}"):
            runs.setdefault(name, []).append(run)
            show(f"{name}: {run.eps:.0f} events/s")
    stage.start()
    return report(runs, default, batches)


def _round(
    stage: Stage, bare: Mapping[str, Chords], batches: Sequence[int], seconds: float, show: Show, number: str
) -> Iterator[tuple[str, Run]]:
    """Ends with the engine stopped."""
    stage.stop()
    for name, chords in bare.items():
        show(f"throughput, round {number}: {name}")
        yield name, chords.measure(seconds)
    for batch in batches:
        show(f"throughput, round {number}: engine, batches of {batch}")
        stage.start(environment={"NOTIFIER_DISPATCH_BATCH": str(batch)})
        yield engine(batch), measure(stage, batch, seconds)
        stage.stop()


def engine(batch: int) -> str:
    return f"engine, batch {batch}"


def report(runs: Mapping[str, Sequence[Run]], default: int, batches: Sequence[int]) -> dict[str, Any]:
    """Keys of the report; a list holds a run for each round.

    `engine_cpu_ratio` is of the CPU an event takes, servers and sandbox too: others on the machine move it less.
    """
    eps = {name: [run.eps for run in found] for name, found in runs.items()}
    middle = {name: round(median(found), 1) for name, found in eps.items()}
    cpu = {name: median_of([run.cpu_ms_per_event for run in found]) for name, found in runs.items()}
    ours = engine(default)
    numbers = {
        "baseline_chord_eps": middle[CHORD],
        "engine_eps": {str(batch): middle[engine(batch)] for batch in sorted(batches)},
        "engine_default_batch": default,
        "engine_ratio": ratio(eps[ours], eps[CHORD]),
        "engine_cpu_ratio": round(sum(cpu[CHORD].values()) / sum(cpu[ours].values()), 3),
        "cpu_ms_per_event": cpu[ours],
        "cpu_ms_per_event_by_run": cpu,
        "runs_eps": {name: [round(one, 1) for one in found] for name, found in eps.items()},
    }
    if BEST in runs:
        best = {"baseline_best": middle[BEST], "engine_ratio_best": ratio(eps[ours], eps[BEST])}
        numbers |= {**best, "naive_eps": middle[NAIVE]}
    return numbers
