"""Breaks things, by a seed: kills, freezes, faults and duplicates. What dies is started again as a supervisor would."""

from __future__ import annotations

import heapq
import json
import random
import signal
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import psycopg
import redis

from tests.chaos.children import Child, send, send_all
from tests.chaos.world import World, queue_keys

PAUSE = (5.0, 20.0)  # seconds between two acts
RESTART = (0.0, 3.0)  # seconds until a dead process is started again
ABSENCE = (0.0, 5.0)  # seconds a killed server stays away
FAULT = (2.0, 15.0)  # seconds a provider misbehaves
FREEZE = (3.0, 25.0)  # seconds a worker is stopped: up to more than the delivery lease
ORPHANS = 20.0  # seconds after which what a dead process left behind is ended too
PROVIDERS = ("sendgrid", "twilio", "fcm")
POINTS = (
    "dispatch.planned", "dispatch.committed", "publish.deliver", "deliver.claimed", "deliver.sent", "deliver.recorded",
    "publish.settle", "settle.deciding", "settle.committed", "sweep.freeing",
)  # fmt: skip
FAULTS: dict[str, dict[str, object]] = {
    "fault-503": {"mode": "status", "status": 503},
    "fault-500": {"mode": "status", "status": 500},
    "fault-429": {"mode": "rate_limit", "retry_after": 2},
    "fault-timeout": {"mode": "timeout"},
    "fault-reset": {"mode": "reset"},
    "fault-drop": {"mode": "accept_then_drop"},
    "fault-latency": {"mode": "latency"},
    "fault-slow": {"mode": "latency", "latency": 4.2},  # nearly too late, which is no failure
}


#: acts that may leave a send without a known outcome; nothing else excuses a double that the sweeper made
OPENS_THE_WINDOW = ("kill-child", "kill-main", "kill-group", "kill-control", "stop-", "failpoint", "postgres-")
RECOVERY = 10.0  # seconds an act may still be felt after its end


@dataclass(frozen=True, slots=True)
class Act:
    """What the nemesis did; `at` in seconds since it began."""

    at: float
    kind: str
    target: str
    seconds: float = 0.0

    def __str__(self) -> str:
        lasting = f" for {self.seconds:.1f} s" if self.seconds else ""
        return f"{self.kind} {self.target}{lasting}".strip()


class Nemesis:
    """`tick` often; `heal` at the end. The acts are the seed's; only their moments depend on the machine."""

    def __init__(
        self,
        world: World,
        seed: int,
        kinds: Sequence[str] = (),
        pause: tuple[float, float] = PAUSE,
        restart: tuple[float, float] = RESTART,
    ) -> None:
        self._world, self._random, self._pause, self._restart = world, random.Random(seed), pause, restart
        self.kinds = list(kinds) or list(KINDS)
        self.acts: list[Act] = []
        self._began = time.monotonic()
        self._next = self._began + 2
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._scheduled = 0
        self._down: dict[str, float] = {}  # name -> when it is started again
        self.restarts = 0
        self.excuses: list[tuple[float, float]] = []  # when a send may have lost its process: from, to (epoch)

    @property
    def last(self) -> Act | None:
        return self.acts[-1] if self.acts else None

    def tick(self) -> None:
        """Do what is due: restarts, ends of acts, and the next act."""
        now = time.monotonic()
        self.supervise()
        while self._later and self._later[0][0] <= now:
            heapq.heappop(self._later)[2]()
        if now >= self._next:
            self._next = now + self._random.uniform(*self._pause)
            self.act(self._random.choice(self.kinds))

    def act(self, kind: str) -> None:
        """One act of this kind; nothing is recorded where its target is away just now."""
        with suppress(OSError, psycopg.Error, redis.RedisError, IndexError):
            target, seconds = KINDS[kind](self)
            self.acts.append(Act(time.monotonic() - self._began, kind, target, seconds))
            if kind.startswith(OPENS_THE_WINDOW):
                self._excuse(seconds)

    def _excuse(self, seconds: float = 0.0) -> None:
        self.excuses.append((time.time(), time.time() + seconds + RECOVERY))

    def supervise(self) -> None:
        """Start again what is dead, each after its delay."""
        now = time.monotonic()
        for child in self._world.all_children():
            child.bury(ORPHANS)
            if child.is_alive():
                continue
            if child.name not in self._down:
                self._down[child.name] = now + self._random.uniform(*self._restart)
                if child.name.startswith("worker"):
                    self._excuse()
            if now >= self._down[child.name]:
                del self._down[child.name]
                child.forget()
                child.start()
                self.restarts += 1

    def heal(self, deadline: float = 30.0) -> None:
        """End every act, start everything that is down, and wait until it runs."""
        while self._later:
            heapq.heappop(self._later)[2]()
        self._world.sandbox.heal()
        self._world.disarm()
        self._down = dict.fromkeys(self._down, 0.0)
        ends = time.monotonic() + deadline
        while not self._is_up():
            if time.monotonic() > ends:
                raise AssertionError(f"not up {deadline:.0f} s after healing")
            self.supervise()
            self._down = dict.fromkeys(self._down, 0.0)
            time.sleep(0.1)

    def _is_up(self) -> bool:
        world = self._world
        alive = all(child.is_alive() for child in world.all_children())
        return alive and world.postgres.is_ready() and world.valkey.is_ready()

    # --- tools of the acts -------------------------------------------------------------------------------------
    def _after(self, seconds: float, what: Callable[[], None]) -> None:
        self._scheduled += 1
        heapq.heappush(self._later, (time.monotonic() + seconds, self._scheduled, what))

    def hold(self, name: str, span: tuple[float, float] = ABSENCE) -> float:
        """Have the supervisor wait this long before it starts a dead server again."""
        seconds = self._random.uniform(*span)
        self._down[name] = time.monotonic() + seconds
        return seconds

    def _worker(self) -> Child:
        return self._world.children[self._random.choice(("worker", "worker", "worker-control"))]

    # --- processes ---------------------------------------------------------------------------------------------
    def kill_child(self) -> tuple[str, float]:
        worker = self._worker()
        pid = self._random.choice(worker.pool())
        send(pid, signal.SIGKILL)
        return worker.name, 0

    def kill_main(self) -> tuple[str, float]:
        worker = self._worker()
        worker.send(signal.SIGKILL)
        return worker.name, 0

    def kill_group(self) -> tuple[str, float]:
        worker = self._worker()
        worker.send_group(signal.SIGKILL)
        return worker.name, 0

    def kill_control(self) -> tuple[str, float]:
        self._world.children["worker-control"].send_group(signal.SIGKILL)
        return "worker-control", 0

    def kill_beat(self) -> tuple[str, float]:
        self._world.children["beat"].send_group(signal.SIGKILL)
        return "beat", self.hold("beat", RESTART)

    def kill_web(self) -> tuple[str, float]:
        self._world.children["web"].send_group(signal.SIGKILL)
        return "web", self.hold("web", RESTART)

    def stop_worker(self) -> tuple[str, float]:
        """Freeze a worker, pool and all, as a paused virtual machine is; it wakes with a lease that is long over."""
        worker, seconds = self._worker(), self._random.uniform(*FREEZE)
        pids = [worker.pid, *worker.pool()]
        return worker.name, self._freeze(pids, seconds)

    def stop_child(self) -> tuple[str, float]:
        """Freeze one process of a pool."""
        worker, seconds = self._worker(), self._random.uniform(*FREEZE)
        return worker.name, self._freeze([self._random.choice(worker.pool())], seconds)

    def _freeze(self, pids: Sequence[int], seconds: float) -> float:
        send_all(pids, signal.SIGSTOP)
        self._after(seconds, lambda: send_all(pids, signal.SIGCONT))
        return seconds

    def stop_sending(self) -> tuple[str, float]:
        """Freeze a pool process just after its provider accepted, beyond the lease of what it sends."""
        self._world.arm("deliver.sent", "stop")
        seconds = self._random.uniform(22, 25)
        workers = [self._world.children[name] for name in ("worker", "worker-control")]
        self._after(seconds, lambda: send_all([pid for worker in workers for pid in worker.pool()], signal.SIGCONT))
        return "deliver.sent", seconds

    def stop_failed(self) -> tuple[str, float]:
        """Freeze a worker in calls that fail, beyond their lease: meanwhile another worker succeeds."""
        for provider in PROVIDERS:
            self._world.sandbox.fault(provider, mode="timeout", latency=2.5)
        worker, seconds = self._world.children["worker"], 32.0  # the lease, the sweeper's tick, and a send
        pids = [worker.pid, *worker.pool()]
        self._after(1.2, lambda: send_all(pids, signal.SIGSTOP))
        self._after(1.3, self._world.sandbox.heal)
        self._after(seconds, lambda: send_all(pids, signal.SIGCONT))
        return "worker", seconds

    def failpoint(self) -> tuple[str, float]:
        """Have whoever comes by one of the engine's labelled points killed."""
        point = self._random.choice(POINTS)
        action = self._random.choice(("kill", "kill", "kill-parent", "kill-group"))
        self._world.arm(point, action)
        self._after(10, lambda: (self._world.failpoints / point).unlink(missing_ok=True))
        return f"{point} {action}", 0

    # --- servers -----------------------------------------------------------------------------------------------
    def valkey_restart(self) -> tuple[str, float]:
        self._world.valkey.kill(wipe=False)
        return "valkey", self.hold("valkey")

    def valkey_wipe(self) -> tuple[str, float]:
        self._world.valkey.kill(wipe=True)
        return "valkey", self.hold("valkey")

    def valkey_freeze(self) -> tuple[str, float]:
        """Half-open: connections stand, and nothing answers."""
        seconds = self._random.uniform(*ABSENCE)
        return "valkey", self._freeze([self._world.valkey.child.pid], seconds)

    def postgres_quit(self) -> tuple[str, float]:
        self._world.postgres.child.send(signal.SIGQUIT)
        return "postgres", self.hold("postgres")

    def postgres_kill(self) -> tuple[str, float]:
        self._world.postgres.child.send(signal.SIGKILL)
        return "postgres", self.hold("postgres")

    def postgres_backend(self) -> tuple[str, float]:
        """Kill one session's process: Postgres then ends them all and recovers."""
        send(self._random.choice(self._world.postgres.backends()), signal.SIGKILL)
        return "a backend", 0

    def postgres_terminate(self) -> tuple[str, float]:
        self._world.postgres.terminate_backends()
        return "all sessions", 0

    # --- providers ---------------------------------------------------------------------------------------------
    def fault(self, kind: str) -> tuple[str, float]:
        providers = self._random.sample(PROVIDERS, self._random.choice((1, 1, 2, 3)))
        seconds, rate = self._random.uniform(*FAULT), self._random.choice((1.0, 1.0, 0.5))
        if kind == "fault-slow":
            rate = 0.2
        options = dict(FAULTS[kind])
        if kind == "fault-latency":
            options["latency"] = round(self._random.uniform(0.3, 3.5), 1)
        for provider in providers:
            self._world.sandbox.fault(provider, error_rate=rate, **options)
            self._after(seconds, lambda name=provider: self._world.sandbox.heal(name))  # type: ignore[misc]
        return ", ".join(providers), seconds

    # --- messages ----------------------------------------------------------------------------------------------
    def duplicate(self) -> tuple[str, float]:
        """For some seconds, push copies of what is in the queues and under way."""
        seconds = self._random.uniform(2, 5)
        self._copy_until(time.monotonic() + seconds)
        return "messages", seconds

    def _copy_until(self, ends: float) -> None:
        with suppress(redis.RedisError, OSError):
            copy_messages(self._world, self._random, 10)
        if time.monotonic() < ends:
            self._after(0.1, lambda: self._copy_until(ends))


def copy_messages(world: World, chance: random.Random, most: int) -> int:
    """Push copies of messages that wait or are being worked on; how many. A copy has a delivery tag of its own."""
    with world.valkey.client() as client:
        held = [(key, str(text)) for key in queue_keys(client) for text in client.lrange(key, 0, most)]
        for text in client.hvals("unacked")[:most]:
            message, _exchange, queue = json.loads(text)
            held.append((queue, json.dumps(message)))
        chosen = chance.sample(held, min(most, len(held)))
        for queue, text in chosen:
            message = json.loads(text)
            message["properties"]["delivery_tag"] = str(uuid.uuid4())
            client.lpush(queue, json.dumps(message))
    return len(chosen)


KINDS: dict[str, Callable[[Nemesis], tuple[str, float]]] = {
    "kill-child": Nemesis.kill_child,
    "kill-main": Nemesis.kill_main,
    "kill-group": Nemesis.kill_group,
    "kill-control": Nemesis.kill_control,
    "kill-beat": Nemesis.kill_beat,
    "kill-web": Nemesis.kill_web,
    "stop-worker": Nemesis.stop_worker,
    "stop-child": Nemesis.stop_child,
    "stop-sending": Nemesis.stop_sending,
    "stop-failed": Nemesis.stop_failed,
    "failpoint": Nemesis.failpoint,
    "valkey-restart": Nemesis.valkey_restart,
    "valkey-wipe": Nemesis.valkey_wipe,
    "valkey-freeze": Nemesis.valkey_freeze,
    "postgres-quit": Nemesis.postgres_quit,
    "postgres-kill": Nemesis.postgres_kill,
    "postgres-backend": Nemesis.postgres_backend,
    "postgres-terminate": Nemesis.postgres_terminate,
    **{kind: (lambda nemesis, kind=kind: nemesis.fault(kind)) for kind in FAULTS},  # type: ignore[misc]
    "duplicate": Nemesis.duplicate,
}
