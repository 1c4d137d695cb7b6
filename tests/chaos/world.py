"""A whole Notifier of its own: both servers, the sandbox, and the Procfile's processes, all to be killed."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from sandbox import credentials
from tests.chaos.children import MARK, Child, Janitor
from tests.chaos.servers import Postgres, Valkey
from tests.ports import free_port
from tests.processes import ROOT, wait_for
from tests.sandbox_process import Sandbox

DATA_DIRS = ROOT / ".data"
HOST = "127.0.0.1"
STARTED = {
    "worker": b" ready.",
    "spare": b" ready.",
    "worker-control": b" ready.",
    "beat": b"beat: Starting",
    "web": b"startup complete",
}
QUEUES = {"events", "control", "urgent", "email", "sms", "push", "in_app"}
SABOTAGED = ("worker", "worker-control")


@dataclass(frozen=True, slots=True)
class Person:
    """A customer of the load."""

    id: str
    email: str
    phone: str
    devices: tuple[str, ...]

    @property
    def whom(self) -> dict[str, str]:
        return {"userId": self.id}

    @property
    def body(self) -> dict[str, str]:
        return {"userId": self.id, "email": self.email, "phone": self.phone, "locale": "en"}


def _person(number: int) -> Person:
    """Every third has no phone, every fifth two devices, every seventh none."""
    devices = 0 if number % 7 == 6 else 2 if number % 5 == 4 else 1
    return Person(
        id=str(uuid.uuid4()),
        email=f"customer{number}@mail.example",
        phone="" if number % 3 == 2 else f"+1202555{number:04d}",
        devices=tuple(f"device-{number}-{n}" for n in range(devices)),
    )


@dataclass(slots=True)
class Plan:
    """How a world is made. `app`: the Celery app of the workers. `environment`: what it overrides.

    `fast`: no fsync. `person`: the customer of that number, from 0.
    """

    fast: bool = True
    app: str = "config"
    environment: Mapping[str, str] = field(default_factory=dict)
    people: int = 20
    person: Callable[[int], Person] = _person
    spare: bool = False  # a second worker like the Procfile's


class World:
    """Started by `start`; `close` ends everything. Its folder holds data, logs, failpoints and the sandbox's log."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder, self.plan, self.mark = folder, plan, secrets.token_hex(8)
        self.logs, self.failpoints = folder / "logs", folder / "failpoints"
        self.logs.mkdir(parents=True)
        self.failpoints.mkdir()
        self.failpoints.chmod(0o777)
        self.janitor = Janitor(self.mark)
        self.postgres = Postgres(folder, self.mark, fast=plan.fast)
        self.valkey = Valkey(folder, self.mark)
        self.sandbox_log = folder / "sandbox.jsonl"
        self.web = f"http://{HOST}:{free_port()}"
        self.sandbox = Sandbox(f"http://{HOST}:{free_port()}")
        self.environment = self._environment()
        self.children = self._children()
        self.people: list[Person] = []
        self.api_key = ""
        self.accepted: dict[str, str] = {}  # idempotency key -> event id, of `trigger`

    # --- start and end -----------------------------------------------------------------------------------------
    def start(self) -> None:
        """Returns when everything is ready, with people and an API key."""
        self.postgres.start()
        self.valkey.start()
        self.children["sandbox"].start()
        self.postgres.wait()
        self.valkey.wait()
        for name in self.children.keys() - {"beat", "sandbox"}:  # they need the tables only when something happens
            self.children[name].start()
        self.manage("migrate", "--skip-checks")
        self.children["beat"].start()
        scopes = [part for scope in ("trigger", "read", "admin", "preferences") for part in ("--scope", scope)]
        self.api_key = self.manage("create_api_key", "chaos", *scopes).strip()
        self.wait_until_up()
        self.people = self._make_people(self.plan.people)

    def wait_until_up(self, deadline: float = 60.0) -> None:
        """Every process runs and answers, so far as its log or its port tells."""
        for name in self.children.keys() & STARTED.keys():
            self.children[name].wait_until_it_says(STARTED[name], deadline)
        wait_for(lambda: answers(f"{self.sandbox.url}/faults"), "the sandbox answers", deadline)
        wait_for(lambda: answers(f"{self.web}/health/ready"), "web is ready", deadline)

    def close(self) -> None:
        for child in (*self.children.values(), self.valkey.child, self.postgres.child):
            child.end()
        self.janitor.finish()

    def remove(self) -> None:
        shutil.rmtree(self.postgres.sockets, ignore_errors=True)  # may lie elsewhere
        shutil.rmtree(self.folder, ignore_errors=True)

    def all_children(self) -> list[Child]:
        return [*self.children.values(), self.valkey.child, self.postgres.child]

    def _environment(self) -> dict[str, str]:
        account = self.folder / "service-account.json"
        credentials.write_service_account(account, f"{self.sandbox.url}/token")
        kept = ("PATH", "HOME", "LANG", "LC_ALL", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")
        return {
            **{name: os.environ[name] for name in kept if name in os.environ},
            MARK: self.mark,
            "DEBUG": "1",
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": str(ROOT),
            "NOTIFIER_DATA_DIR": str(self.folder),
            "NOTIFIER_FAILPOINTS": str(self.failpoints),
            "DATABASE_URL": self.postgres.url,
            "REDIS_URL": self.valkey.url,
            "PUBLIC_URL": self.web,
            "SANDBOX_URL": self.sandbox.url,
            "SANDBOX_LOG": str(self.sandbox_log),
            "FCM_PROJECT_ID": credentials.FCM_PROJECT_ID,
            "FCM_SERVICE_ACCOUNT_FILE": str(account),
            "NOTIFIER_KEY_RATE": "60000000/minute",  # counted, and never reached: few people stand for many here
            "NOTIFIER_RECIPIENT_RATE": "60000000/minute",
            "NOTIFIER_DAILY_CAP": "60000",
            **self.plan.environment,
        }

    def _children(self) -> dict[str, Child]:
        lines = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines() if ": " in line)
        commands = {name: self._command(name, lines[name]) for name in ("web", "worker-control", "worker", "beat")}
        if self.plan.spare:
            commands["spare"] = [word.replace("worker@", "spare@") for word in commands["worker"]]
        commands["sandbox"] = [
            sys.executable, "-m", "uvicorn", "sandbox.app:app", "--host", HOST, "--no-access-log",
            "--port", self.sandbox.url.rpartition(":")[2],
        ]  # fmt: skip
        return {
            name: Child(name, command, self.environment, self.logs / f"{name}.log")
            for name, command in commands.items()
        }

    def _command(self, name: str, line: str) -> list[str]:
        """The Procfile's line, on this run's port, on loopback only, and with the plan's Celery app."""
        words = shlex.split(line.replace("${PORT:-8000}", self.web.rpartition(":")[2]).replace("0.0.0.0", HOST))
        if name in SABOTAGED:
            words[words.index("-A") + 1] = self.plan.app
        first = words.index("celery") if "celery" in words else 0  # after `nice`, which becomes what it starts
        return [*words[:first], sys.executable, "-m", *words[first:]]

    def manage(self, *arguments: str) -> str:
        """Run a management command; its output."""
        command = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(command, env=self.environment, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"manage.py {arguments[0]} failed: {done.stderr[-2000:]}")
        return done.stdout

    def _make_people(self, number: int) -> list[Person]:
        people = [self.plan.person(n) for n in range(number)]
        self.call("POST", "/notifications/users/bulk", {"users": [person.body for person in people]})
        for person in people:
            for device in person.devices:
                self.call("PUT", f"/notifications/users/{person.id}/devices/{device}", {"platform": "android"})
        return people

    # --- use ---------------------------------------------------------------------------------------------------
    def call(self, method: str, path: str, body: object = None, *, key: str = "", timeout: float = 15.0) -> Any:
        """An API call; raises urllib's errors."""
        headers = {"Content-Type": "application/json", "Authorization": f"Api-Key {self.api_key}"}
        if key:
            headers["Idempotency-Key"] = key
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.web}{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def trigger(self, event_type: str, whom: Mapping[str, Any] | None = None, **metadata: Any) -> str:
        """Post one trigger, tried until it is recorded; the event's id. `whom` as a trigger names its recipient."""
        metadata = {"orderId": f"ORD{secrets.token_hex(4)}", **metadata}
        if event_type == "ORDER_SHIPPED":
            metadata.setdefault("trackingUrl", "https://track.example/1")
        body = {"eventType": event_type, "metadata": metadata, **(whom or self.people[0].whom)}
        key, ends = secrets.token_hex(8), time.monotonic() + 60
        while True:
            try:
                event_id = str(self.call("POST", "/notifications/trigger", body, key=key)["eventId"])
            except OSError as error:  # URLError and HTTPError too
                if time.monotonic() > ends or (isinstance(error, urllib.error.HTTPError) and error.code < 500):
                    raise
                time.sleep(0.2)
            else:
                self.accepted[key] = event_id
                return event_id

    def query(self, sql: str, *parameters: Any) -> list[dict[str, Any]]:
        return self.postgres.query(sql, *parameters)

    def one(self, sql: str, *parameters: Any) -> Any:
        """The single value of a query."""
        (row,) = self.query(sql, *parameters)
        (value,) = row.values()
        return value

    def open_events(self) -> int:
        return int(self.one("SELECT count(*) FROM notifier_notificationevent WHERE settled_at IS NULL"))

    def arm(self, point: str, action: str) -> None:
        """The next process that comes by the point does this; file appears in one step."""
        draft = self.failpoints / f".{point}"
        draft.write_text(action)
        draft.rename(self.failpoints / point)

    def disarm(self) -> None:
        for armed in self.failpoints.iterdir():
            armed.unlink(missing_ok=True)

    def is_armed(self, point: str) -> bool:
        return (self.failpoints / point).exists()

    def queues(self) -> dict[str, int]:
        """Length of each list in Valkey that holds messages, and of `unacked`; only those that are not empty."""
        with self.valkey.client() as client:
            lengths = {key: int(client.llen(key)) for key in queue_keys(client)}
            unacked = int(client.hlen("unacked"))
        return {**lengths, **({"unacked": unacked} if unacked else {})}


def queue_keys(client: redis.Redis) -> Sequence[str]:
    """Keys of the broker's lists that are not empty, whatever their priority (kombu's separator is two characters)."""
    return sorted(key for key in client.scan_iter(_type="list") if key.partition("\x06\x16")[0] in QUEUES)


def answers(url: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(url, timeout=2) as answer:
        return bool(answer.status < 300)
    return False


@contextmanager
def running(name: str, plan: Plan | None = None) -> Iterator[World]:
    """A started world in a folder of its own, which is kept where the block raises."""
    world = World(DATA_DIRS / f"{name}-{secrets.token_hex(4)}", plan or Plan())
    try:
        world.start()
        yield world
    finally:
        world.close()
    world.remove()
