"""A surge against workers that come and go, second by second: what an autoscaler on the lag makes of Black Friday.

A model, not a measurement: a worker is one process on a core of its own, and works off a constant number of events a
second. Nothing is random, so two runs are the same. The lag is the age of the oldest waiting event, as one indexed
query tells it; the rules are those of Kubernetes' HorizontalPodAutoscaler, which KEDA feeds.

    python -m benchmarks.autoscaler --eps-per-core 500 --json autoscaler.json
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

BASE, PEAK = 1_000, 10_000  # events a second
QUIET, RAMP, HOLD, DECAY, HALF_LIFE = 120, 60, 600, 1_200, 180  # seconds
CALM, SPIKE, AFTER = 420, 60, 540  # seconds: the spike comes when the workers are gone again
URGENT = 0.02  # share of the events
POSTGRES = 15_000.0  # events a second


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Events that come within one second."""

    urgent: int
    normal: int


def black_friday() -> list[Arrivals]:
    """A ramp to the peak within a minute, ten minutes of it, its decay; later a minute at the peak without a ramp."""
    above = PEAK - BASE
    rates = [
        *[float(BASE)] * QUIET,
        *[BASE + above * (second + 1) / RAMP for second in range(RAMP)],
        *[float(PEAK)] * HOLD,
        *[BASE + above * 0.5 ** ((second + 1) / HALF_LIFE) for second in range(DECAY)],
        *[float(BASE)] * CALM,
        *[float(PEAK)] * SPIKE,
        *[float(BASE)] * AFTER,
    ]
    return [Arrivals(urgent := round(rate * URGENT), round(rate) - urgent) for rate in rates]


@dataclass(frozen=True, slots=True)
class Site:
    """`eps_per_core`: events a second of a worker that is never idle. `postgres_eps`: what all of them may reach.

    `boot`: seconds from the order of a worker to its first event, 30 for the image and 15 until Celery is ready.
    `utilisation`: how busy workers are meant to be.
    """

    eps_per_core: float
    postgres_eps: float = POSTGRES
    boot: int = 45
    utilisation: float = 0.7

    def workers_for(self, eps: float) -> int:
        return math.ceil(eps / self.eps_per_core / self.utilisation)

    def capacity(self, workers: int) -> int:
        """Whole events within a second."""
        return int(min(workers * self.eps_per_core, self.postgres_eps))


@dataclass(frozen=True, slots=True)
class Rules:
    """`every`: seconds between two looks. `catch_up`: seconds in which a lag is to be gone.

    `doubling`: at most so many times the workers at one look, or `step` more where that is more. `down_after`: seconds
    for which fewer workers must have been enough before some go.
    """

    minimum: int
    maximum: int
    every: int = 15
    catch_up: float = 60.0
    doubling: float = 2.0
    step: int = 4
    down_after: int = 300


class Lane:
    """Events that wait, by the second in which they came."""

    def __init__(self) -> None:
        self.backlog = 0
        self._waiting: deque[tuple[int, int]] = deque()

    def add(self, now: int, events: int) -> None:
        if events:
            self._waiting.append((now, events))
            self.backlog += events

    def work_off(self, capacity: int) -> int:
        """The oldest first; how many they were."""
        left = capacity
        while left and self._waiting:
            came, events = self._waiting.popleft()
            done = min(left, events)
            left -= done
            if events > done:
                self._waiting.appendleft((came, events - done))
        self.backlog -= capacity - left
        return capacity - left

    def lag(self, now: int) -> int:
        """Seconds at the end of this one."""
        return now + 1 - self._waiting[0][0] if self._waiting else 0


class Fleet:
    """Workers that serve, and those that were ordered and start."""

    def __init__(self, serving: int, boot: int) -> None:
        self.serving = serving
        self._boot = boot
        self._starting: deque[tuple[int, int]] = deque()  # when they are ready, and how many

    @property
    def ordered(self) -> int:
        """All that are paid for."""
        return self.serving + sum(workers for _, workers in self._starting)

    def pass_time(self, now: int) -> None:
        while self._starting and self._starting[0][0] <= now:
            self.serving += self._starting.popleft()[1]

    def order(self, now: int, workers: int) -> None:
        """Have so many; those that still start are given up first."""
        if more := max(0, workers - self.ordered):
            self._starting.append((now + self._boot, more))
        while self._starting and (fewer := self.ordered - workers) > 0:
            ready, starting = self._starting.pop()
            if starting > fewer:
                self._starting.append((ready, starting - fewer))
        self.serving = min(self.serving, workers)


class Autoscaler:
    """Orders what the lag asks for, or what the load asks for, whichever is more."""

    def __init__(self, rules: Rules, utilisation: float) -> None:
        self._rules = rules
        self._utilisation = utilisation
        self._lag = 0  # at the last look
        self._busy: list[float] = []  # since then
        self._wanted: deque[int] = deque(maxlen=max(1, rules.down_after // rules.every))

    def watch(self, now: int, lag: int, busy: float, fleet: Fleet) -> None:
        """Once a second. `busy`: the share of the serving workers' time."""
        self._busy.append(busy)
        if (now + 1) % self._rules.every == 0:
            fleet.order(now + 1, self._look(lag, fleet))

    def _look(self, lag: int, fleet: Fleet) -> int:
        """How many workers there are to be."""
        rules, ordered = self._rules, fleet.ordered
        by_load = sum(self._busy) / len(self._busy) / self._utilisation
        wanted = math.ceil(fleet.serving * max(by_load, self._by_lag(lag)))
        most = min(max(int(ordered * rules.doubling), ordered + rules.step), rules.maximum)
        self._wanted.append(max(rules.minimum, min(wanted, most)))
        self._lag = lag
        self._busy.clear()
        return max(self._wanted[-1], min(ordered, max(self._wanted)))

    def _by_lag(self, lag: int) -> float:
        """How many times the serving workers keep up with what comes, and work off the lag in time.

        While a lag grows by g seconds a second, the workers do 1 - g of what comes.
        """
        growth = min((lag - self._lag) / self._rules.every, 0.9)
        return (1 + lag / self._rules.catch_up) / (1 - growth) if lag else 0.0


@dataclass(frozen=True, slots=True)
class Second:
    """What was at its end. `workers`: all that are paid for, of which `serving` are ready."""

    arrived: int
    done: int
    backlog: int
    lag_seconds: int
    urgent_lag_seconds: int
    workers: int
    serving: int


def simulate(arrivals: Sequence[Arrivals], site: Site, workers: int, rules: Rules | None = None) -> list[Second]:
    """Begins with so many workers; without rules they stay. Urgent events go first, then the others by age."""
    fleet, urgent, normal, seconds = Fleet(workers, site.boot), Lane(), Lane(), list[Second]()
    scaler = Autoscaler(rules, site.utilisation) if rules else None
    for now, come in enumerate(arrivals):
        fleet.pass_time(now)
        urgent.add(now, come.urgent)
        normal.add(now, come.normal)
        serving, capacity = fleet.serving, site.capacity(fleet.serving)
        done = urgent.work_off(capacity)
        done += normal.work_off(capacity - done)
        lag, urgent_lag, backlog = normal.lag(now), urgent.lag(now), urgent.backlog + normal.backlog
        if scaler:
            scaler.watch(now, max(lag, urgent_lag), done / (serving * site.eps_per_core), fleet)
        total = come.urgent + come.normal
        seconds.append(Second(total, done, backlog, lag, urgent_lag, fleet.ordered, serving))
    return seconds


def summary(seconds: Sequence[Second]) -> dict[str, float]:
    """`longest_…`: of any event; nought where each was done within its second."""
    return {
        "events": sum(one.arrived for one in seconds),
        "peak_backlog": max(one.backlog for one in seconds),
        "longest_lag_seconds": max(one.lag_seconds for one in seconds),
        "longest_urgent_lag_seconds": max(one.urgent_lag_seconds for one in seconds),
        "minutes_behind": round(sum(one.backlog > 0 for one in seconds) / 60, 1),
        "most_workers": max(one.workers for one in seconds),
        "worker_hours": round(sum(one.workers for one in seconds) / 3_600, 1),
    }


def compare(site: Site, arrivals: Sequence[Arrivals]) -> dict[str, Any]:
    """The autoscaler, one that never goes below half the peak, and fleets that stay: for the peak, and as dear."""
    lean = Rules(minimum=site.workers_for(BASE), maximum=math.ceil(site.postgres_eps / site.eps_per_core))
    warm = replace(lean, minimum=site.workers_for(PEAK / 2))
    scaled = simulate(arrivals, site, lean.minimum, lean)
    same_cost = round(sum(one.workers for one in scaled) / len(scaled))
    runs = {
        "autoscaler": scaled,
        "autoscaler, half kept warm": simulate(arrivals, site, warm.minimum, warm),
        "fleet for the peak": simulate(arrivals, site, site.workers_for(PEAK)),
        "fleet of the same cost": simulate(arrivals, site, same_cost),
    }
    return {
        "site": asdict(site),
        "rules": asdict(lean),
        "runs": {name: {"summary": summary(found), **_columns(found)} for name, found in runs.items()},
    }


def _columns(seconds: Sequence[Second]) -> dict[str, list[int]]:
    return {name: [getattr(one, name) for one in seconds] for name in Second.__slots__}


def table(found: Mapping[str, Any]) -> Table:
    """The summaries, a column for each run."""
    site, rules = found["site"], found["rules"]
    title = (
        f"{site['eps_per_core']:g} events/s a worker, {rules['minimum']} to {rules['maximum']} workers, "
        f"PostgreSQL carries {site['postgres_eps']:g} events/s"
    )
    shown = Table("", *found["runs"], title=title, title_justify="left")
    summaries = [run["summary"] for run in found["runs"].values()]
    for name in summaries[0]:
        shown.add_row(name.replace("_", " "), *(f"{one[name]:,}" for one in summaries))
    return shown


def main() -> None:
    description = "Black Friday against workers that come and go."
    parser = argparse.ArgumentParser(prog="python -m benchmarks.autoscaler", description=description)
    add = parser.add_argument
    add("--eps-per-core", type=float, required=True, metavar="X", help="1000 / the workers' CPU ms per event")
    add("--postgres-eps", type=float, default=POSTGRES, metavar="X", help=f"PostgreSQL's ceiling ({POSTGRES:g})")
    add("--json", type=Path, metavar="FILE", help="write each second and the summaries to this file")
    given = parser.parse_args()
    found = compare(Site(given.eps_per_core, given.postgres_eps), black_friday())
    if given.json:
        given.json.write_text(json.dumps(found) + "\n")
    Console(width=None if sys.stdout.isatty() else 120).print(table(found))


if __name__ == "__main__":
    main()
