"""Load, a seeded nemesis, healing, and the oracle's verdict. `script/chaos --tests` runs the slow tests of tests/chaos.

Ends with 0 when nothing was lost, every double is explained and all was final in time; else with 1, and the logs of
all processes are kept. With a guard switched off it is the other way round: the check must then find something.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import NoReturn

from rich.console import Console
from rich.status import Status
from rich.table import Table

from tests.chaos import run as chaos
from tests.chaos import scenarios
from tests.chaos.guards import GUARDS
from tests.chaos.nemesis import KINDS
from tests.chaos.world import DATA_DIRS, Plan, World

RATE = 20.0  # triggers a second
SCENARIO_RATES = {"sms-outage": 50.0, "kill9": 10.0}
MARKS = {None: "", True: "[green]holds[/]", False: "[red]does not hold[/]"}
SILENCE = 30.0  # seconds between two lines where nobody watches a terminal

console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)


class Progress:
    """A line that changes on a terminal, and now and then a line elsewhere."""

    def __init__(self, status: Status) -> None:
        self._status, self._said = status, 0.0

    def __call__(self, text: str) -> None:
        if console.is_terminal:
            self._status.update(text)
        elif time.monotonic() - self._said > SILENCE:
            self._said = time.monotonic()
            console.print(text)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="script/chaos", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=2.0, help="how long load and nemesis go on (2)")
    parser.add_argument("--seed", type=int, default=None, help="names the orders and the acts; random where not given")
    parser.add_argument("--rate", type=float, help=f"triggers a second ({RATE:g} where not given)")
    parser.add_argument("--json", type=Path, help="write what was found to this file")
    parser.add_argument("--without", choices=sorted(GUARDS), default="", help="switch a guard off; 0 if that was found")
    parser.add_argument("--faults", default="", help=f"only these acts, by commas: {', '.join(KINDS)}")
    parser.add_argument("--scenario", choices=sorted(SCENARIO_RATES), help="a measured story in place of a run")
    return parser.parse_args()


def options(given: argparse.Namespace) -> chaos.Options:
    kinds = tuple(kind.strip() for kind in given.faults.split(",") if kind.strip())
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        sys.exit(f"unknown in --faults: {', '.join(unknown)}; there are {', '.join(KINDS)}")
    seed = secrets.randbelow(1_000_000) if given.seed is None else given.seed
    if not given.without:
        return chaos.Options(given.minutes, seed, given.rate or RATE, kinds=kinds)
    guard = GUARDS[given.without]
    return chaos.Options(given.minutes, seed, given.rate or RATE, given.without, kinds or guard.kinds, guard.pause)


def plan_of(without: str) -> Plan:
    if not without:
        return Plan(fast=False, people=200)
    sabotage = {"NOTIFIER_SABOTAGE": without}
    return Plan(fast=False, people=200, app="tests.chaos.sabotage", environment=sabotage, spare=without == "fence")


def run(given: argparse.Namespace) -> int:
    world = World(DATA_DIRS / f"chaos-{secrets.token_hex(4)}", plan_of(given.without))
    ok = False
    try:
        with console.status("starting") as status:
            world.start()
            report = chaos.run(world, options(given), Progress(status))
        chaos.show_table(report, console)
        if given.json:
            chaos.write(report, given.json)
        ok = report.as_expected
    finally:
        end(world, ok)
    return 0 if ok else 1


def tell(given: argparse.Namespace) -> int:
    """A scenario in a world of its own; the table goes to --json too."""
    world = World(DATA_DIRS / f"chaos-{secrets.token_hex(4)}", scenarios.plan_of(given.scenario))
    seed = 1 if given.seed is None else given.seed
    rate = given.rate or SCENARIO_RATES[given.scenario]
    ok = False
    try:
        with console.status("starting") as status:
            world.start()
            story = scenarios.tell(given.scenario, world, rate, seed, Progress(status))
        show_story(given.scenario, rate, story)
        if given.json:
            given.json.write_text(json.dumps([asdict(row) for row in story.rows], indent=2) + "\n")
        ok = story.ok
    finally:
        end(world, ok)
    return 0 if ok else 1


def show_story(name: str, rate: float, story: scenarios.Story) -> None:
    table = Table("", "measured", "asked for", "", title=f"chaos --scenario {name}, {rate:g} events a second")
    for row in story.rows:
        table.add_row(row.what, row.measured, row.asked, MARKS[row.holds])
    console.print(table)


def end(world: World, ok: bool) -> None:
    """End the world; its logs are kept where something went wrong."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)  # ending is bounded, and must not be cut short
    world.close()
    if ok:
        world.remove()
    else:
        console.print(f"Logs: {os.path.relpath(world.logs)}")


def _stop(signum: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt(signal.Signals(signum).name)


def main() -> int:
    given = arguments()
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, _stop)
    try:
        return tell(given) if given.scenario else run(given)
    except KeyboardInterrupt:
        console.print("Stopped.")
        return 130


if __name__ == "__main__":
    sys.exit(main())
