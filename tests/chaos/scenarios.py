"""Measured stories: an SMS provider that is down for two minutes, and kill -9 of a worker and of both servers.

Each returns rows for a table (what, measured, asked for, whether it holds) and judges the whole run by the oracle.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.chaos import oracle
from tests.chaos.load import Load
from tests.chaos.stage import EVER, Stage
from tests.chaos.world import Plan, World

Show = Callable[[str], None]
SMS_LIMIT = 30  # messages a second, of which the load needs about half: a herd would show
BEFORE, OUTAGE, AFTER = 20.0, 120.0, 60.0  # seconds
URGENT = ("ORDER_DELAYED", "ORDER_CANCELLED")


@dataclass(frozen=True, slots=True)
class Row:
    """A measurement; `holds` is None where nothing is asked for."""

    what: str
    measured: str
    asked: str = ""
    holds: bool | None = None


@dataclass(slots=True)
class Story:
    rows: list[Row] = field(default_factory=list)

    def add(self, what: str, value: float, limit: float, unit: str = " s") -> None:
        self.rows.append(Row(what, f"{value:.2f}{unit}", f"< {limit:g}{unit}", value < limit))

    def note(self, what: str, measured: object) -> None:
        self.rows.append(Row(what, str(measured)))

    @property
    def ok(self) -> bool:
        return all(row.holds is not False for row in self.rows)


def plan_of(name: str) -> Plan:
    environment = {"TWILIO_RATE": str(SMS_LIMIT)} if name == "sms-outage" else {}
    return Plan(fast=False, people=200, environment=environment)


def tell(name: str, world: World, rate: float, seed: int, show: Show) -> Story:
    return (sms_outage if name == "sms-outage" else kill9)(world, rate, seed, show)


# --- the SMS provider is down for two minutes ---
def sms_outage(world: World, rate: float, seed: int, show: Show) -> Story:
    """It takes every call and answers none, which is worse than a refusal: who calls it waits for 5 s."""
    stage, load = Stage(world), Load(world, rate, seed)
    load.start()
    _live(stage, BEFORE, "before the outage", load, show)
    down = time.time()
    world.sandbox.fault("twilio", mode="timeout")
    _live(stage, OUTAGE, "SMS is down", load, show)
    back = time.time()
    world.sandbox.heal()
    _live(stage, AFTER, "SMS is back", load, show)
    load.stop()
    stage.until_settled(deadline=300)
    drained = time.time()
    story = Story()
    _measure_breaker(story, world, down, back)
    _measure_channels(story, world, down, back)
    _measure_return(story, world, back, drained)
    _judge(story, world, load)
    return story


def _live(stage: Stage, seconds: float, name: str, load: Load, show: Show) -> None:
    ends = time.monotonic() + seconds
    while (left := ends - time.monotonic()) > 0:
        stage.nemesis.supervise()
        show(f"{name}: {left:.0f} s left, {len(load.accepted)} accepted")
        time.sleep(0.25)


def _measure_breaker(story: Story, world: World, down: float, back: float) -> None:
    changes = world.query(
        "SELECT state, extract(epoch FROM at)::float8 AS at FROM notifier_channels_breakerchange "
        "WHERE provider = 'twilio' ORDER BY at"
    )
    opened = [row["at"] for row in changes if row["state"] == "OPEN" and row["at"] > down]
    closed = [row["at"] for row in changes if row["state"] == "CLOSED" and row["at"] > back]
    story.add("breaker open after", (opened[0] if opened else back) - down, 10)
    story.add("breaker closed after the return", (closed[0] if closed else time.time()) - back, 30)
    calls = _refused(world, "twilio", down, back)
    late = sum(at > opened[0] + 5 for at in calls) if opened else len(calls)
    story.note("calls to the provider while it was down", f"{len(calls)}, of them {late} trials after the opening")


def _refused(world: World, provider: str, start: float, end: float) -> list[float]:
    answer = world.sandbox.call("GET", f"/messages?provider={provider}&accepted=false")
    times = [float(message["receivedAt"]) / 1_000 for message in answer["results"]]
    return [at for at in times if start <= at <= end]


def _measure_channels(story: Story, world: World, down: float, back: float) -> None:
    window = "recorded_at BETWEEN to_timestamp(%s) AND to_timestamp(%s)"
    for channel in ("EMAIL", "PUSH", "IN_APP"):
        for name, start, end in (("before", down - BEFORE, down), ("during the outage", down, back)):
            seconds = world.query(
                "SELECT extract(epoch FROM sent_at - recorded_at)::float8 AS seconds "
                "FROM notifier_delivery AS delivery "
                f"JOIN notifier_notificationevent AS event ON event.id = delivery.event_id WHERE {window} "
                "AND channel = %s AND sent_at IS NOT NULL AND fallback_of = ''",
                start, end, channel,
            )  # fmt: skip
            spread = oracle.spread([row["seconds"] for row in seconds])
            if name == "before":
                story.note(f"{channel} {name}: p50, p99", f"{spread['p50']:.2f} s, {spread['p99']:.2f} s")
            else:
                story.note(f"{channel} {name}: p50", f"{spread['p50']:.2f} s")
                story.add(f"{channel} {name}: p99", spread["p99"], 1)
    _measure_urgent(story, world, window, down, back)


def _measure_urgent(story: Story, world: World, window: str, down: float, back: float) -> None:
    """Of urgent events in the outage whose SMS failed: when somebody was reached, and when it was given up."""
    rows = world.query(
        "SELECT extract(epoch FROM min(other.sent_at) - event.recorded_at)::float8 AS reached, "
        "       extract(epoch FROM max(sms.finished_at) - event.recorded_at)::float8 AS given_up "
        "FROM notifier_notificationevent AS event "
        "JOIN notifier_delivery AS sms ON sms.event_id = event.id AND sms.channel = 'SMS' AND sms.status = 'FAILED' "
        "LEFT JOIN notifier_delivery AS other ON other.event_id = event.id AND other.channel IN ('EMAIL', 'PUSH') "
        f"WHERE {window} AND event_type = ANY(%s) GROUP BY event.id",
        down, back - 10, list(URGENT),
    )  # fmt: skip
    reached = [row["reached"] for row in rows if row["reached"] is not None]
    story.note("urgent events whose SMS failed", f"{len(rows)}, {len(rows) - len(reached)} without another channel")
    story.add("  reached by another channel, longest", max(reached, default=0.0), 5)
    story.add("  SMS given up, longest", max((row["given_up"] for row in rows), default=0.0), 5)


def _measure_return(story: Story, world: World, back: float, drained: float) -> None:
    times = [int(m.at) for m in oracle.taken(world.sandbox_log) if m.provider == "twilio" and m.at >= back]
    peak = max(Counter(times).values(), default=0)
    story.rows.append(Row("SMS a second after the return, at most", str(peak), f"<= {SMS_LIMIT}", peak <= SMS_LIMIT))
    story.note("all was final", f"{drained - back - AFTER:.1f} s after the end of the load")


# --- kill -9 ---
def kill9(world: World, rate: float, seed: int, show: Show) -> Story:
    """A worker, then the broker with its data, then the database; each under load, each timed."""
    stage, load, story = Stage(world), Load(world, rate, seed), Story()
    load.start()
    _live(stage, 15, "warming up", load, show)
    _kill_worker(story, stage, show, load)
    for name, kill in (("Valkey, emptied", _kill_valkey), ("Postgres", _kill_postgres)):
        _live(stage, 10, f"before killing {name}", load, show)
        kill(world)
        killed = time.monotonic()
        stage.nemesis.heal()
        show(f"{name} is back")
        mark = time.time()
        took = stage.until(lambda mark=mark: not _open_before(world, mark), "drained", 300)  # type: ignore[misc]
        back = time.monotonic() - killed - took
        story.add(f"{name} killed and back after {back:.1f} s: drained after", took, 60)
    load.stop()
    stage.until_settled(deadline=300)
    _judge(story, world, load)
    return story


def _kill_worker(story: Story, stage: Stage, show: Show, load: Load) -> None:
    """Its providers are slow, so that it is sending when it dies, and holds more that it has only fetched."""
    world = stage.world
    for provider in ("sendgrid", "twilio", "fcm"):
        world.sandbox.fault(provider, mode="latency", latency=3)
    stage.until(lambda: len(_in(world, "SENDING")) >= 3, "sends under way")
    stage.stand_still(2)
    sending, waiting = _in(world, "SENDING"), _in(world, "QUEUED")
    killed = time.time()
    world.children["worker"].send_group(signal.SIGKILL)
    world.sandbox.heal()
    _live(stage, 20, "a worker was killed", load, show)
    stage.until(lambda: not _left(world, sending), "what it was sending", 300)
    stage.until(lambda: not _left(world, waiting), "what it had fetched", 300)
    story.note("a worker killed: sends under way, and deliveries that waited", f"{len(sending)}, {len(waiting)}")
    story.add("  what was being sent went on after", _went_on(world, sending, killed) - killed, 30)
    story.note("  what was being sent was done after", f"{_last(world, sending) - killed:.2f} s")
    story.add("  what waited was done after", _last(world, waiting) - killed, 100)


def _kill_valkey(world: World) -> None:
    world.valkey.kill(wipe=True)


def _kill_postgres(world: World) -> None:
    world.postgres.child.send(signal.SIGQUIT)
    world.postgres.child.wait(30)


def _in(world: World, status: str) -> list[str]:
    rows = world.query("SELECT id::text FROM notifier_delivery WHERE status = %s", status)
    return [row["id"] for row in rows]


def _left(world: World, ids: Sequence[str]) -> int:
    sql = "SELECT count(*) FROM notifier_delivery WHERE id = ANY(%s::uuid[]) AND finished_at IS NULL"
    return int(world.one(sql, list(ids)))


def _last(world: World, ids: Sequence[str]) -> float:
    sql = "SELECT extract(epoch FROM max(finished_at))::float8 FROM notifier_delivery WHERE id = ANY(%s::uuid[])"
    return float(world.one(sql, list(ids)) or 0.0)


def _went_on(world: World, ids: Sequence[str], killed: float) -> float:
    """When the last of these was tried again, or was done by another worker that had it."""
    return float(
        world.one(
            "SELECT max(at) FROM (SELECT COALESCE("
            "  (SELECT extract(epoch FROM min(started_at))::float8 FROM notifier_attempt "
            "   WHERE delivery_id = delivery.id AND started_at > to_timestamp(%s)), "
            "  extract(epoch FROM finished_at)::float8) AS at "
            "FROM notifier_delivery AS delivery WHERE id = ANY(%s::uuid[])) AS tried",
            killed,
            list(ids),
        )
    )


def _open_before(world: World, at: float) -> int:
    sql = "SELECT count(*) FROM notifier_notificationevent WHERE settled_at IS NULL AND recorded_at < to_timestamp(%s)"
    return int(world.one(sql, at))


def _judge(story: Story, world: World, load: Load) -> None:
    accepted = {a.key: a.event_id for a in load.accepted}
    found = oracle.judge(accepted, oracle.read(world.postgres), oracle.taken(world.sandbox_log), EVER)
    story.note("events", f"{len(accepted)} triggers accepted; answers {_counts(load.answers.counts)}")
    story.note("doubled", f"{found.doubled}, of them {len(found.explained)} inside the window (maybe_duplicate)")
    for name, problems in (("lost", found.lost), ("unexplained doubles", found.unexplained), ("odd", found.odd)):
        measured = f"{len(problems)}" + (f", such as {problems[0]}" if problems else "")
        story.rows.append(Row(name, measured, "0", not problems))
    wrong: Mapping[str, Any] = load.answers.wrong
    story.rows.append(Row("answers that no outage excuses", _counts(wrong) or "none", "none", not wrong))


def _counts(counts: Mapping[str, int]) -> str:
    pairs: Iterable[tuple[str, int]] = sorted(counts.items())
    return ", ".join(f"{name} {n}" for name, n in pairs)
