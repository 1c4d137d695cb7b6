"""Plots for docs/performance.md, from the JSON of script/bench and of benchmarks.autoscaler.

    python -m benchmarks.plots bench.json autoscaler.json

writes to docs/images what these files have figures for.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.svg import Axis, Line, Panel, figure, linear, logarithmic
from tests.processes import ROOT

LATENCY_WANTED = {20: 80.0, 50: 300.0, 200: 1_000.0}  # p99 in ms, by events a second
EVERY = 10  # seconds from point to point of a run of an hour


def latency_by_load(report: Mapping[str, Any]) -> str:
    """Percentiles, and the p99 that is wanted."""
    found = {int(rate): spread for rate, spread in report["latency_ms"].items()}
    rates = sorted(found)
    lines = [
        Line(name, [(rate, found[rate][name]) for rate in rates], colour, dots=True)
        for name, colour in (("p99", "blue"), ("p95", "green"), ("p50", "orange"))
    ]
    wanted = [(rate, LATENCY_WANTED[rate]) for rate in rates if rate in LATENCY_WANTED]
    if wanted:
        lines.append(Line("p99 wanted at most", wanted, "grey", dashed=True))
    values = [value for line in lines for _, value in line.points]
    y = logarithmic("milliseconds (log)", min(values), max(values))
    title = "From the recorded event to the provider's acceptance"
    return figure(title, Axis("events a second (log)", rates, log=True), [Panel(y, lines)])


def throughput_by_batch(report: Mapping[str, Any]) -> str:
    """The engine, and beside it what does not work in batches."""
    engine = sorted((int(batch), eps) for batch, eps in report["engine_eps"].items())
    x = Axis("most events of a batch (log)", [batch for batch, _ in engine], log=True)
    lines = [Line("Notifier", engine, "blue", dots=True)]
    for key, name, colour in (
        ("baseline_best", "empty chords, at best", "green"),
        ("baseline_chord_eps", "empty chords", "orange"),
        ("naive_eps", "a chord an event, ORM", "grey"),
    ):
        if key in report:
            lines.append(Line(name, [(x.ticks[0], report[key]), (x.ticks[-1], report[key])], colour, dashed=True))
    y = linear("events a second", max(value for line in lines for _, value in line.points))
    return figure(f"Events settled a second on {report['host']['cores']} cores", x, [Panel(y, lines)])


def burst_drain(report: Mapping[str, Any]) -> str:
    """Each second: the wait of the oldest event, what lies in Redis, what the workers hold."""
    burst = report["burst"]
    panels = [
        _over_time("seconds that the oldest event has waited", "lag", burst["lag_seconds"], "blue"),
        _over_time("messages in all queues of Redis", "messages", burst["queued_messages"], "orange"),
        _over_time("MB of memory of the workers", "resident", burst["workers_rss_mb"], "green"),
    ]
    x = linear("seconds since the first trigger", len(burst["lag_seconds"]))
    return figure(f"A burst of {burst['accepted']:,} events and its drain", x, panels)


def _over_time(label: str, name: str, values: Sequence[float], colour: str) -> Panel:
    return Panel(linear(label, max(values)), [Line(name, list(enumerate(values, 1)), colour)], 130)


def autoscaler(found: Mapping[str, Any]) -> str:
    """What comes and is done; then how late the runs are, and what they pay for."""
    scaled, seconds = found["runs"]["autoscaler"], len(found["runs"]["autoscaler"]["arrived"])
    events = [Line("done", _minutes(scaled["done"]), "blue"), Line("arrive", _minutes(scaled["arrived"]), "grey")]
    colours = dict(zip(found["runs"], ("blue", "green", "grey", "orange"), strict=True))
    panels = [Panel(linear("events a second", max(scaled["done"] + scaled["arrived"])), events, 150)]
    for key, label in (("lag_seconds", "seconds that the oldest event has waited"), ("workers", "workers")):
        lines = [Line(name, _minutes(run[key]), colours[name]) for name, run in found["runs"].items()]
        panels.append(Panel(linear(label, max(value for line in lines for _, value in line.points)), lines, 150))
    title = f"Black Friday, simulated with workers of {found['site']['eps_per_core']:g} events a second"
    return figure(title, linear("minutes", seconds / 60), panels)


def _minutes(values: Sequence[float]) -> list[tuple[float, float]]:
    """The most of every few seconds, without what lies within a level stretch."""
    points = [(at / 60, max(values[at : at + EVERY])) for at in range(0, len(values), EVERY)]
    inner = zip(points, points[1:], points[2:], strict=False)
    return [points[0], *(at for before, at, after in inner if not before[1] == at[1] == after[1]), points[-1]]


PLOTS = {
    "latency_ms": ("latency-by-load.svg", latency_by_load),
    "engine_eps": ("throughput-by-batch.svg", throughput_by_batch),
    "burst": ("burst-drain.svg", burst_drain),
    "runs": ("autoscaler.svg", autoscaler),
}


def write(found: Mapping[str, Any], folder: Path) -> list[Path]:
    """The plots for which there are figures; each file's place."""
    written = []
    for key, (name, plot) in PLOTS.items():
        if key in found:
            (folder / name).write_text(plot(found))
            written.append(folder / name)
    return written


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plots", description="Plots of what was measured.")
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="JSON of script/bench or of the autoscaler")
    parser.add_argument("--to", type=Path, default=ROOT / "docs" / "images", metavar="FOLDER", help="docs/images")
    given = parser.parse_args()
    for file in given.files:
        for path in write(json.loads(file.read_text()), given.to):
            Console().print(f"{path}")


if __name__ == "__main__":
    main()
