"""Workers on a Redis of the test's own, with the test in Beat's place: so nothing moves between two of its steps."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import redis

from config.celery import app
from notifier import liveness
from notifier.models import NotificationEvent
from tests import processes
from tests.chaos.servers import Valkey
from tests.integration.started import Started, worker

TICK = 0.5  # seconds between two ticks; Beat's are 1 s and 5 s apart
QUEUES = ("events", "control", "urgent", "email", "sms", "push", "in_app")


@dataclass(slots=True)
class Stage:
    """`crew` is the worker that the tests of a module share."""

    valkey: Valkey
    env: Mapping[str, str]
    folder: Path
    _crew: Any = None
    crew: Started = field(init=False, repr=False)

    # --- workers -----------------------------------------------------------------------------------------------
    @contextmanager
    def worker(self, name: str, *options: str, **env: str) -> Iterator[Started]:
        with worker({**self.env, **env}, self.folder / f"{name}.log", "--hostname", f"{name}@here", *options) as one:
            yield one

    def ensure_crew(self) -> None:
        """Started once for the module, and again after a test that killed it."""
        if self._crew is not None and self.crew.process.poll() is None:
            return
        self.end_crew()
        self._crew = self.worker("crew")
        self.crew = self._crew.__enter__()

    def end_crew(self) -> None:
        if self._crew is not None:
            self._crew.__exit__(None, None, None)
            self._crew = None

    # --- Beat's part -------------------------------------------------------------------------------------------
    def tell(self, task: str, *arguments: Any, queue: str = "control", **options: Any) -> None:
        """Publish a message for the workers, past our own app's connections."""
        with app.connection_for_write(url=self.valkey.url) as connection:
            app.send_task(
                f"notifier.{task}", arguments, queue=queue, connection=connection, ignore_result=True, **options
            )

    def until(self, done: Callable[[], object], why: str, deadline: float = processes.DEADLINE) -> None:
        """Tick like Beat until it is done."""
        last = 0.0

        def ticked() -> object:
            nonlocal last
            if time.monotonic() - last > TICK:
                for task in ("dispatch", "sweep"):
                    self.tell(task)
                last = time.monotonic()
            return done()

        processes.wait_for(ticked, why, deadline)

    def until_settled(self, *events: UUID, deadline: float = processes.DEADLINE) -> None:
        self.until(lambda: is_settled(*events), "events settled", deadline)

    # --- Redis -------------------------------------------------------------------------------------------------
    def client(self) -> redis.Redis:
        return self.valkey.client()

    def empty(self) -> None:
        """Without a message, and without the loss that this would be to notifier/liveness.py."""
        with self.client() as client:
            client.flushdb()
            client.set(liveness.RUN, client.info("server")["run_id"])

    def waiting(self) -> dict[str, list[str]]:
        """Raw messages in the queues, by queue, the next one last."""
        with self.client() as client:
            found = {queue: cast("list[str]", client.lrange(queue, 0, -1)) for queue in QUEUES}
        return {queue: messages for queue, messages in found.items() if messages}

    def unacknowledged(self) -> int:
        with self.client() as client:
            return int(cast("int", client.hlen("unacked")))

    def forget_unacknowledged(self) -> None:
        """What a killed worker held, or could not acknowledge: for the next test, which waits for no timeout."""
        with self.client() as client:
            client.delete("unacked", "unacked_index")

    def is_calm(self) -> bool:
        return not self.waiting() and not self.unacknowledged()

    # --- failpoints (notifier/failpoints.py) -------------------------------------------------------------------
    @property
    def points(self) -> Path:
        return Path(self.env["NOTIFIER_FAILPOINTS"])

    def arm(self, point: str, action: str) -> None:
        draft = self.points / f".{point}"
        draft.write_text(action)
        draft.rename(self.points / point)

    def wait_until_hit(self, point: str) -> None:
        processes.wait_for(lambda: not (self.points / point).exists(), f"{point} hit")

    def disarm(self) -> None:
        for armed in self.points.iterdir():
            armed.unlink(missing_ok=True)


def is_settled(*events: UUID) -> bool:
    """All of these; of all there are, without any."""
    rows = NotificationEvent.objects.filter(settled_at=None)
    return not (rows.filter(id__in=events) if events else rows).exists()


def stopped_child(started: Started) -> int:
    """The child that a failpoint stopped."""
    found: list[int] = []

    def look() -> bool:
        found.extend(pid for pid in started.children() if _state(pid) == "T")
        return bool(found)

    processes.wait_for(look, "a stopped child", 10)
    return found[0]


def go_on(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def _state(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ""


def headers(message: str) -> dict[str, Any]:
    """Of a raw message: `task`, `id`, `expires`, `retries` and so on."""
    return cast("dict[str, Any]", json.loads(message)["headers"])
