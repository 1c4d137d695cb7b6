"""One chaos run: load while the nemesis acts, then healing, draining, and the oracle's verdict."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import redis
from rich.console import Console
from rich.table import Table

from tests.chaos import oracle
from tests.chaos.load import Load
from tests.chaos.nemesis import PAUSE, Nemesis
from tests.chaos.oracle import Findings
from tests.chaos.world import World

TICK = 0.05  # seconds
PROMISE = 60.0  # seconds after healing by which every event is final
DEADLINE = 300.0  # seconds after healing when we stop waiting
QUEUES_DEADLINE = 360.0  # seconds more for the broker's own lists: copies that a dead worker held come back after 300
SHOWN = 20  # problems of a kind


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    minutes: float
    seed: int
    rate: float = 20.0
    without: str = ""
    kinds: tuple[str, ...] = ()
    pause: tuple[float, float] = PAUSE


@dataclass(slots=True)
class Report:
    """Everything that is worth knowing of a run; `problems` is empty when all promises held."""

    options: Options
    acts: Counter[str] = field(default_factory=Counter)
    history: list[str] = field(default_factory=list)
    restarts: int = 0
    accepted: int = 0
    given_up: int = 0
    answers: dict[str, int] = field(default_factory=dict)
    slowest_answers: dict[str, float] = field(default_factory=dict)
    events: int = 0
    deliveries: int = 0
    attempts: int = 0
    messages: int = 0
    findings: Findings = field(default_factory=Findings)
    drain: float | None = None  # seconds from healing until every event was final; None: not within DEADLINE
    queues: dict[str, int] = field(default_factory=dict)  # what was left in the broker
    queues_empty_after: float | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.problems

    @property
    def as_expected(self) -> bool:
        """Without one of its guards the engine must fail: a check that cannot fail proves nothing."""
        return self.ok != bool(self.options.without)


def run(world: World, options: Options, show: Callable[[str], None]) -> Report:
    """Load and chaos for the given time, then heal and judge. `show` is told how it goes, several times a second."""
    load = Load(world, options.rate, options.seed)
    nemesis = Nemesis(world, options.seed, options.kinds, options.pause)
    load.start()
    began = time.monotonic()
    ends, shown = began + options.minutes * 60, 0.0
    while (now := time.monotonic()) < ends:
        nemesis.tick()
        if not load.is_alive():
            break
        if now - shown > 0.5:
            shown = now
            show(_progress(now - began, load, world, nemesis))
        time.sleep(TICK)
    show("healing")
    nemesis.heal()
    healed = time.monotonic()
    report = Report(options)
    load.stop()
    report.drain = _drain(world, healed, show, nemesis.supervise, PROMISE if options.without else DEADLINE)
    if report.drain is not None:
        report.queues_empty_after = _empty_queues(world, healed, show, nemesis.supervise)
    _collect(report, world, load, nemesis)
    return report


def _progress(seconds: float, load: Load, world: World, nemesis: Nemesis) -> str:
    try:
        still_open: object = world.open_events()
    except psycopg.Error:
        still_open = "?"
    return f"{seconds:4.0f} s  {len(load.accepted)} accepted  {still_open} open  last: {nemesis.last or '-'}"


def _drain(
    world: World, healed: float, show: Callable[[str], None], supervise: Callable[[], None], deadline: float
) -> float | None:
    """Seconds after healing when the last event was final. What dies after healing is started again, too."""
    while (passed := time.monotonic() - healed) < deadline:
        supervise()
        with suppress(psycopg.Error):
            still_open = world.open_events()
            if not still_open:
                return round(passed, 1)
            show(f"draining: {passed:.0f} s, {still_open} open")
        time.sleep(0.2)
    return None


def _empty_queues(
    world: World, healed: float, show: Callable[[str], None], supervise: Callable[[], None]
) -> float | None:
    ends = time.monotonic() + QUEUES_DEADLINE
    while time.monotonic() < ends:
        supervise()
        with suppress(redis.RedisError):
            left = world.queues()
            if not left:
                return round(time.monotonic() - healed, 1)
            show(f"waiting for the broker's lists: {left}")
        time.sleep(0.2)
    return None


def _collect(report: Report, world: World, load: Load, nemesis: Nemesis) -> None:
    ledger, log = oracle.read(world.postgres), oracle.taken(world.sandbox_log)
    report.findings = found = oracle.judge({a.key: a.event_id for a in load.accepted}, ledger, log, nemesis.excuses)
    report.acts = Counter(act.kind for act in nemesis.acts)
    report.history = [f"{act.at:7.1f} {act}" for act in nemesis.acts]
    report.restarts = nemesis.restarts
    report.accepted, report.given_up = len(load.accepted), load.given_up
    report.answers, report.slowest_answers = dict(load.answers.counts), load.answers.slowest
    report.events, report.deliveries = len(ledger.events), len(ledger.deliveries)
    report.attempts, report.messages = len(ledger.attempts), len(log)
    with suppress(redis.RedisError):
        report.queues = world.queues()
    report.problems = list(_problems(report, found, load))


def _problems(report: Report, found: Findings, load: Load) -> Iterable[str]:
    for name in ("lost", "unexplained", "not_final", "odd"):
        lines: list[str] = getattr(found, name)
        if lines:
            yield f"{name.replace('_', ' ')}: {len(lines)}, such as {lines[0]}"
    if report.drain is None or report.drain > PROMISE:
        yield f"not every event was final within {PROMISE:.0f} s of healing"
    if report.drain is not None and report.queues_empty_after is None:
        yield f"the broker's lists never became empty: {report.queues}"
    if load.answers.wrong:
        yield f"answers that no outage excuses: {load.answers.wrong}"


def as_json(report: Report) -> dict[str, Any]:
    found = report.findings
    return {
        **{name: value for name, value in asdict(report.options).items() if name != "pause"},
        "verdict": "ok" if report.ok else "failed",
        "problems": report.problems,
        "accepted": report.accepted,
        "events": report.events,
        "deliveries": report.deliveries,
        "attempts": report.attempts,
        "messages": report.messages,
        "acts": dict(sorted(report.acts.items())),
        "restarts": report.restarts,
        "lost": len(found.lost),
        "doubled": found.doubled,
        "doubled_in_the_window": len(found.explained),
        "unexplained": len(found.unexplained),
        "not_final": len(found.not_final),
        "odd": len(found.odd),
        "channels": {channel: dict(states) for channel, states in sorted(found.channels.items())},
        "seconds_to_final": oracle.spread(found.to_final),
        "seconds_to_first_acceptance": oracle.spread(found.to_accepted),
        "seconds_to_drain": report.drain,
        "seconds_until_queues_empty": report.queues_empty_after,
        "queues_left": report.queues,
        "answers": report.answers,
        "slowest_answers": {name: round(seconds, 2) for name, seconds in report.slowest_answers.items()},
        "triggers_given_up": report.given_up,
        "details": {
            name: getattr(found, name)[:SHOWN] for name in ("lost", "unexplained", "explained", "not_final", "odd")
        },
        "history": report.history,
    }


def write(report: Report, path: Path) -> None:
    path.write_text(json.dumps(as_json(report), indent=2) + "\n")


def show_table(report: Report, console: Console) -> None:
    """The one table."""
    o, found = report.options, report.findings
    title = f"chaos --minutes {o.minutes:g} --seed {o.seed} --rate {o.rate:g}" + (
        f" --without {o.without}" if o.without else ""
    )
    table = Table(title=title, title_justify="left", show_header=False)
    for name, value in _rows(report, found):
        table.add_row(name, value)
    console.print(table)
    for problem in report.problems:
        console.print(f"[red]{problem}[/]", highlight=False)


def _rows(report: Report, found: Findings) -> Iterable[tuple[str, str]]:
    final, accepted = oracle.spread(found.to_final), oracle.spread(found.to_accepted)
    yield "events", f"{report.events} recorded, {report.accepted} triggers accepted"
    yield "answers", _counts(report.answers)
    yield "deliveries", f"{report.deliveries} with {report.attempts} attempts; providers accepted {report.messages}"
    for channel, states in sorted(found.channels.items()):
        yield f"  {channel}", _counts(states)
    yield "acts", f"{sum(report.acts.values())}; {report.restarts} processes started again"
    yield "", _counts(report.acts)
    yield "lost", str(len(found.lost))
    yield "doubled", f"{found.doubled}, of them {len(found.explained)} inside the window (maybe_duplicate)"
    yield "unexplained", str(len(found.unexplained))
    yield "to first acceptance", _times(accepted)
    yield "to final", _times(final)
    yield "drained", "never" if report.drain is None else f"{report.drain:.1f} s after healing"
    empty = report.queues_empty_after
    yield "queues empty", f"never: {report.queues}" if empty is None else f"{empty:.1f} s after healing"
    yield "verdict", _verdict(report)


def _verdict(report: Report) -> str:
    if report.options.without:
        missed = f"[red]found nothing without the {report.options.without}: this check proves nothing[/]"
        return missed if report.ok else f"[green]failed, as it must without the {report.options.without}[/]"
    return "[green]nothing lost, nothing doubled without a mark[/]" if report.ok else "[red]failed[/]"


def _counts(counts: Counter[str] | dict[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in sorted(counts.items()))


def _times(seconds: dict[str, float]) -> str:
    return f"p50 {seconds['p50']:.2f} s, p99 {seconds['p99']:.2f} s, longest {seconds['max']:.1f} s"
