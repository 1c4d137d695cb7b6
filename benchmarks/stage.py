"""The product's own processes and servers, as in production, for one part of the benchmark.

DEBUG is off (it would keep every SQL statement in memory), fsync is on, there are no failpoints, and the providers'
addresses are the sandbox's. Everything else is the product's default, but for TWILIO_RATE: a short code's 100 messages
a second would be all that is measured.
"""

from __future__ import annotations

import secrets
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from celery import Celery
from psycopg.rows import dict_row

from benchmarks import processes
from sandbox import credentials
from tests.chaos.children import Child
from tests.chaos.world import DATA_DIRS, STARTED, Person, Plan, World

PEOPLE = 500
TWILIO_RATE = 5_000  # messages a second: more than a machine sends, so that the limiter works and never binds
ENGINE = ("worker-control", "worker", "beat")  # lines of the Procfile
WORKERS = ("worker-control", "worker")
STOP_TIMEOUT = 30.0  # seconds for a warm shutdown
METADATA = {
    "trackingUrl": "https://track.example/SHP-77120",
    "carrier": "DHL",
    "shipmentId": "SHP-77120",
    "eta": "2026-12-01",
    "total": "126.50",
    "currency": "EUR",
    "items": [
        {"name": "Walnut desk lamp", "quantity": 1, "price": "89.00"},
        {"name": "Linen notebook", "quantity": 3, "price": "12.50"},
    ],
}


def person(number: int) -> Person:
    """Reached by EMAIL, SMS and IN_APP: with no device, PUSH is skipped."""
    return Person(str(uuid.uuid4()), f"customer{number}@mail.example", f"+1202555{number:04d}", ())


def body(person: Person, event_type: str = "ORDER_SHIPPED") -> dict[str, Any]:
    """A trigger of an order of its own: nothing is overtaken by another event."""
    order = {"orderId": f"ORD{secrets.token_hex(6)}", **METADATA}
    return {"eventType": event_type, "userId": person.id, "metadata": order}


class Stage:
    """A world whose engine can be stopped and started with other settings or on another database."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.database = world.postgres.url
        self.extra: dict[str, Child] = {}  # processes that are not in the Procfile, by name
        self._calls = Celery("bench", broker=world.valkey.url, set_as_current=False)
        self.template = ""  # id of a settled ORDER_SHIPPED, of which others are copied
        self.default_batch = 0  # events a round, where nothing is set

    # --- processes ---------------------------------------------------------------------------------------------
    def child(self, name: str) -> Child:
        return self.extra.get(name) or self.world.children[name]

    def start(
        self, names: Sequence[str] = ENGINE, environment: Mapping[str, str] | None = None, *, wait: bool = True
    ) -> None:
        """Start these, and wait until they say that they are ready."""
        for name in names:
            child = self.child(name)
            child.environment = {**self.world.environment, "DATABASE_URL": self.database, **(environment or {})}
            child.start()
        for name in names if wait else ():
            self.child(name).wait_until_it_says(STARTED.get(name, b" ready."))

    def stop(self, names: Sequence[str] = ENGINE) -> None:
        """Warm: tasks that run may end, so that no message comes back later."""
        alive = [child for name in names if (child := self.child(name)).is_alive()]
        for child in alive:
            child.send(signal.SIGTERM)
        for child in alive:
            with suppress(subprocess.TimeoutExpired):
                child.wait(STOP_TIMEOUT)
            child.end()

    def add(self, name: str, *command: str) -> None:
        """A Python module's command line as a process of this world, to be started."""
        line = [sys.executable, "-m", *command]
        self.extra[name] = Child(name, line, self.world.environment, self.world.logs / f"{name}.log")

    def send(self, task: str, *arguments: Any, queue: str = "control", **keywords: Any) -> None:
        """Publish a message as any Celery client could."""
        self._calls.send_task(task, arguments, keywords, queue=queue, ignore_result=True)

    def groups(self) -> dict[str, list[int]]:
        """Process ids by what they are."""
        children = {**self.world.children, **self.extra}
        workers = [c.pid for name, c in children.items() if name not in ("web", "beat", "sandbox") and c.is_alive()]
        others = {name: [children[name].pid] for name in ("web", "beat", "sandbox") if children[name].is_alive()}
        servers = {"postgres": [self.world.postgres.child.pid], "valkey": [self.world.valkey.child.pid]}
        return {"workers": workers, **servers, **others}

    def cpu(self) -> dict[str, float]:
        """CPU seconds used so far, by group."""
        return {name: processes.cpu_of(pids) for name, pids in self.groups().items()}

    # --- rows --------------------------------------------------------------------------------------------------
    def connect(self, *, autocommit: bool = True) -> psycopg.Connection[dict[str, Any]]:
        return psycopg.connect(self.database, autocommit=autocommit, row_factory=dict_row)

    def query(self, sql: str, *parameters: Any) -> list[dict[str, Any]]:
        with self.connect() as connection:
            cursor = connection.execute(sql.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    def one(self, sql: str, *parameters: Any) -> Any:
        """The single value of a query."""
        ((value,),) = (row.values() for row in self.query(sql, *parameters))
        return value

    def is_drained(self) -> bool:
        """No event is due or in a round. Asks two small partial indexes."""
        return not self.one(
            "SELECT EXISTS (SELECT 1 FROM notifier_notificationevent WHERE due_at IS NOT NULL) "
            "OR EXISTS (SELECT 1 FROM notifier_notificationevent WHERE lease_until IS NOT NULL)"
        )

    def until_drained(self, deadline: float) -> None:
        """Raises RuntimeError when it takes longer."""
        ends = time.monotonic() + deadline
        while not self.is_drained():
            if time.monotonic() > ends:
                raise RuntimeError(f"not drained after {deadline:.0f} s; logs: {self.world.logs}")
            time.sleep(0.2)

    def prepare(self) -> None:
        self.template = self.world.trigger(**_keywords(body(self.world.people[0])))
        self.until_drained(60)
        code = "from django.conf import settings; print(settings.DISPATCH_BATCH)"
        self.default_batch = int(self.world.manage("shell", "--verbosity", "0", "--command", code))


def _keywords(trigger: Mapping[str, Any]) -> dict[str, Any]:
    return {"event_type": trigger["eventType"], **trigger["metadata"]}


def production(world: World) -> dict[str, str]:
    """What makes a world of the tests a production of its own."""
    return {
        "DEBUG": "",
        "NOTIFIER_FAILPOINTS": "",
        "SECRET_KEY": secrets.token_hex(32),
        "SENDGRID_API_KEY": credentials.SENDGRID_API_KEY,
        "SENDGRID_BASE_URL": world.sandbox.url,
        "TWILIO_ACCOUNT_SID": credentials.TWILIO_ACCOUNT_SID,
        "TWILIO_AUTH_TOKEN": credentials.TWILIO_AUTH_TOKEN,
        "TWILIO_FROM": credentials.TWILIO_FROM,
        "TWILIO_BASE_URL": world.sandbox.url,
        "TWILIO_RATE": str(TWILIO_RATE),
        "FCM_BASE_URL": world.sandbox.url,
    }


@contextmanager
def running() -> Iterator[Stage]:
    """A started stage in a folder of its own; its logs are kept where the block fails."""
    world = World(DATA_DIRS / f"bench-{secrets.token_hex(4)}", Plan(fast=False, people=PEOPLE, person=person))
    world.environment.update(production(world))
    stage = Stage(world)
    try:
        world.start()
        stage.prepare()
        yield stage
    except Exception:
        _end(stage)
        shutil.rmtree(world.postgres.data)  # may be gigabytes
        raise
    except BaseException:
        _end(stage)
        world.remove()
        raise
    _end(stage)
    world.remove()


def _end(stage: Stage) -> None:
    for child in stage.extra.values():
        child.end()
    stage.world.close()
