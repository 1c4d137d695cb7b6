"""Measure throughput, latency, intake and what they cost. Run by script/bench, with the checkout on the import path.

Starts its own PostgreSQL (with fsync), Valkey, sandbox and the processes of the Procfile, and ends them. Nothing else
should run on the machine meanwhile: all of it shares the cores.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from benchmarks import report as reports
from benchmarks import stage as stages
from benchmarks.admin_lists import admin_lists
from benchmarks.burst import burst
from benchmarks.costs import costs
from benchmarks.history import history
from benchmarks.intake import intake
from benchmarks.latency import latency
from benchmarks.memory import memory
from benchmarks.options import PARTS, QUICK, Options, Show
from benchmarks.planning import planning
from benchmarks.scaling import scaling
from benchmarks.stage import Stage
from benchmarks.throughput import throughput

console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)

COLUMNS = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())

Part = Callable[[Stage, Options, Show], dict[str, Any]]
MEASURED: dict[str, Part] = {
    "throughput": throughput,
    "latency": latency,
    "planning": planning,
    "intake": intake,
    "scaling": scaling,
    "costs": costs,
    "history": history,
    "admin": admin_lists,
    "burst": burst,
    "memory": memory,
}

EPILOG = f"""\
parts: {", ".join(PARTS)}.
  throughput  events a second that the engine settles, by batch size, and CPU by process; beside it bare Celery
              chords of tasks that do nothing, and a service as it is first written
  latency     from the recorded event to the provider's acceptance, by events a second
  planning    a batch of 500: who is reached how, and the engine's whole step, with the cache of people and without
  intake      triggers a second: single and bulk over HTTP with one web process, by Celery, and from Kafka
  scaling     one worker process against two
  costs       throughput without the cache of people, the daily cap, metrics and task events, each beside the whole
  history     throughput with millions of settled rows against ten thousand
  admin       the admin's lists, filters, searches and timeline beside millions of deliveries, in milliseconds
  burst       a surge by bulk triggers, its drain, and urgent triggers meanwhile
  memory      each process before and after 200,000 events

examples:
  script/bench --json bench.json
  script/bench --only throughput --batches 100 --rounds 1
  script/bench --only latency --rates 20,50
"""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="script/bench",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--json", type=Path, metavar="FILE", help="write the numbers to this file too")
    add("--quick", action="store_true", help="within 3 minutes: the ratio, latency at 20 a second, single intake")
    add("--only", type=_parts, metavar="PARTS", help="parts by commas; all where not given")
    add("--rounds", type=int, metavar="N", help="runs of which the median counts (3)")
    add("--seconds", type=float, metavar="S", help="about so long is a run of throughput (12)")
    add("--batches", type=_numbers, metavar="N,…", help="batch sizes beside the default (1,10,100,500)")
    add("--rates", type=_numbers, metavar="N,…", help="latency: triggers a second (20,50,200)")
    add("--latency-seconds", type=float, metavar="S", help="how long each rate is held (15)")
    add("--random-arrivals", action="store_true", help="latency: triggers at random moments instead of evenly spaced")
    add("--burst-events", type=int, metavar="N", help="events of the burst (100000)")
    add("--history-deliveries", type=int, metavar="N", help="settled deliveries of the long history (5000000)")
    add("--memory-events", type=int, metavar="N", help="events between the two looks at memory (200000)")
    return parser.parse_args()


def _parts(text: str) -> tuple[str, ...]:
    parts = tuple(part.strip() for part in text.split(",") if part.strip())
    if unknown := [part for part in parts if part not in PARTS]:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    return parts


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(",") if number.strip())


def options(given: argparse.Namespace) -> Options:
    base = QUICK if given.quick else Options()
    names = {"only": "parts", **{name: name for name in Options.__slots__ if name not in ("parts", "quick")}}
    chosen = {field: value for name, field in names.items() if (value := getattr(given, name, None))}
    if given.rounds:
        chosen["api_rounds"] = given.rounds
    return replace(base, **chosen)


def run(chosen: Options, report: dict[str, Any], show: Show, done: Callable[[int], None]) -> None:
    """Each part on servers of its own, so that none works on what another left behind; a quick run on the same.

    What breaks ends its part alone, and is told in the report.
    """
    parts = [part for part in PARTS if part in chosen.parts]
    for together in [parts] if chosen.quick else [[part] for part in parts]:
        show("starting")
        try:
            _measure(together, chosen, report, show)
        except Exception as error:  # noqa: BLE001 - whatever it is, the other parts may still be measured
            report.setdefault("failed", {})[", ".join(together)] = f"{type(error).__name__}: {error}"
            show(f"failed: {error}")
        done(len(together))


def _measure(parts: Sequence[str], chosen: Options, report: dict[str, Any], show: Show) -> None:
    with stages.running() as stage:
        if "host" not in report:
            report |= {"host": reports.host(stage), "settings": reports.settings(stage, chosen)}
        for part in parts:
            report |= MEASURED[part](stage, chosen, show)


def bench(given: argparse.Namespace) -> dict[str, Any]:
    """The report, written after each part."""
    chosen, report, began = options(given), dict[str, Any](), time.monotonic()
    with Progress(*COLUMNS, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=len(chosen.parts))

        def show(text: str) -> None:
            progress.update(task, description=text)
            if not console.is_terminal:
                console.print(f"{time.monotonic() - began:5.0f} s  {text}")

        def done(parts: int) -> None:
            progress.advance(task, parts)
            report.pop("seconds", None)
            report["seconds"] = round(time.monotonic() - began)  # at the end
            if given.json:
                given.json.write_text(json.dumps(report, indent=2) + "\n")

        run(chosen, report, show, done)
    return report


def _stop(signum: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt(signal.Signals(signum).name)


def main() -> int:
    given = arguments()
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, _stop)
    try:
        report = bench(given)
    except KeyboardInterrupt:
        console.print("Stopped.")
        return 130
    console.print(reports.table(report))
    return 1 if "failed" in report else 0


if __name__ == "__main__":
    sys.exit(main())
