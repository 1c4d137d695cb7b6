"""What chords of one event each can do, on the same servers, pool and concurrency as the engine."""

from __future__ import annotations

import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import redis
from celery import Celery

from benchmarks.drain import Run
from benchmarks.stage import Stage
from tests.processes import wait_for

CHUNK = 20  # chords that one task publishes: all processes publish, and the task itself costs next to nothing
QUIET = 1.0  # seconds with empty lists, after which all is done: no task takes so long
WARM = 60  # events
NO_RESULTS = {"BASELINE_IGNORES_RESULTS": "1"}
GIVEN_UP = 300.0  # seconds
INSPECTED = 5.0  # seconds for the workers' answer

#: as the Procfile has them: two workers of a prefork pool, each with a process a core
PREFORK = (("--hostname", "control@%h", "--loglevel", "INFO"), ("--hostname", "worker@%h", "--loglevel", "INFO"))
#: with NO_RESULTS the best that was found for tasks that do nothing: no pool, no parent process, no log line a task
SOLO = tuple(
    ("--hostname", f"{name}@%h", "--loglevel", "WARNING", "--pool", "solo", "--without-gossip", "--without-mingle")
    for name in ("one", "two")
)


class Chords(ABC):
    """Two workers of another Celery app than the product's, whose engine is stopped meanwhile."""

    app = ""  # the app's module in benchmarks, and its queue

    def __init__(
        self, stage: Stage, lines: Sequence[Sequence[str]] = PREFORK, environment: Mapping[str, str] | None = None
    ) -> None:
        self.stage, self.environment = stage, environment
        self.names = [f"{self.app}-{line[1].partition('@')[0]}" for line in lines]
        for name, line in zip(self.names, lines, strict=True):
            stage.add(name, "celery", "-A", f"benchmarks.{self.app}", "worker", *line)
        self.broker: redis.Redis = stage.world.valkey.client()
        self.control = Celery(self.app, broker=stage.world.valkey.url, set_as_current=False).control

    def measure(self, seconds: float) -> Run:
        """Start, warm up, run what takes about so many seconds, stop. Raises RuntimeError where a task is missing."""
        self.stage.start(self.names, self.environment, wait=False)
        try:
            wait_for(lambda: len(self.control.ping(limit=len(self.names)) or ()) == len(self.names), "workers answer")
            warm = self._run(WARM)
            return self._run(max(WARM, round(warm.eps * seconds)))
        finally:
            self.stage.stop(self.names)

    @abstractmethod
    def publish(self, events: int) -> None:
        """Hand the workers so many events."""

    @abstractmethod
    def done(self) -> int:
        """Events whose chord's body has run since the start."""

    def _run(self, events: int) -> Run:
        done_before, before, began = self.done(), self.stage.cpu(), time.monotonic()
        self.publish(events)
        ended = self._until_quiet()
        after = self.stage.cpu()
        if (count := self.done() - done_before) != events:
            raise RuntimeError(f"{self.app}: {count} of {events} events were done")
        return Run(events, ended - began, {name: after[name] - before[name] for name in after})

    def _until_quiet(self) -> float:
        """When messages were last seen."""
        seen = began = time.monotonic()
        while (now := time.monotonic()) - seen < QUIET:
            waiting = self.broker.llen(self.app) + self.broker.hlen("unacked")
            seen = now if waiting else seen
            if now - began > GIVEN_UP:
                raise RuntimeError(f"{self.app}: not done after {GIVEN_UP:.0f} s")
            time.sleep(0.02)
        return seen


class Bare(Chords):
    """Tasks that do nothing."""

    app = "baseline"

    def publish(self, events: int) -> None:
        for first in range(0, events, CHUNK):
            self.stage.send("baseline.publish", min(CHUNK, events - first), queue=self.app)

    def done(self) -> int:
        answers = self.control.inspect(timeout=INSPECTED, limit=len(self.names)).stats() or {}
        if len(answers) != len(self.names):
            raise RuntimeError(f"of {len(self.names)} workers only {sorted(answers)} answered")
        return sum(int(answer["total"].get("baseline.done", 0)) for answer in answers.values())


class Naive(Chords):
    """A first try at the product."""

    app = "naive"

    def publish(self, events: int) -> None:
        people, source = self.stage.world.people, f"naive-{secrets.token_hex(4)}"
        for number in range(events):
            person = people[number % len(people)]
            self.stage.send("naive.handle", person.id, f"ORD{number}", source, queue=self.app)

    def done(self) -> int:
        sql = "SELECT count(*) FROM notifier_notificationevent WHERE source LIKE 'naive-%' AND status = 'SENT'"
        return int(self.stage.one(sql))
