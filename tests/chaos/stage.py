"""A world with the test in the nemesis' place: it chooses what breaks and when, and everything is judged at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
from celery import Celery

from tests.chaos import oracle
from tests.chaos.children import Child
from tests.chaos.nemesis import Nemesis
from tests.chaos.oracle import Findings, Taken
from tests.chaos.world import World

CHANNELS = ("EMAIL", "SMS", "PUSH", "IN_APP")
WORKERS = ("worker", "worker-control")
DEADLINE = 60.0
EVER = [(0.0, 1e12)]  # tests know what they broke: every mark counts


class Stage:
    """What dies is started again at once, as long as somebody waits (`until`)."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.nemesis = Nemesis(world, seed=0, restart=(0.0, 0.0))
        self._guests = 0
        self._known: set[str] = set()  # problems that failed an earlier test
        self._calls = Celery("caller", broker=world.valkey.url, set_as_current=False)
        self._only_device, self._only_inbox = self._make_special_people()

    def whom(self, channel: str) -> dict[str, Any]:
        """Somebody whom only this channel reaches."""
        self._guests += 1
        if channel == "EMAIL":
            return {"recipient": {"email": f"guest{self._guests}@mail.example"}}
        if channel == "SMS":
            return {"recipient": {"phone": f"+120255588{self._guests % 100:02d}"}}
        return {"userId": self._only_device if channel == "PUSH" else self._only_inbox}

    def trigger(self, channel: str = "") -> str:
        """An event for this channel alone, or (empty) for all four; its id."""
        return self.world.trigger("ORDER_SHIPPED", self.whom(channel) if channel else None)

    def worker(self) -> Child:
        return self.world.children["worker"]

    # --- time --------------------------------------------------------------------------------------------------
    def until(self, what: Callable[[], object], why: str, deadline: float = DEADLINE) -> float:
        """Wait for it, starting again what is dead; the seconds it took."""
        began = time.monotonic()
        while True:
            self.nemesis.supervise()
            try:
                if what():
                    return time.monotonic() - began
            except psycopg.Error:
                pass  # it is away, and comes back
            if time.monotonic() - began > deadline:
                raise AssertionError(f"after {deadline:.0f} s still not: {why}")
            time.sleep(0.05)

    def until_settled(self, *events: str, deadline: float = DEADLINE) -> float:
        """All of these; without any, all there are."""
        return self.until(lambda: not self._unsettled(events), "events settled", deadline)

    def _unsettled(self, events: Sequence[str]) -> int:
        if not events:
            return self.world.open_events()
        sql = "SELECT count(*) FROM notifier_notificationevent WHERE settled_at IS NULL AND id = ANY(%s::uuid[])"
        return int(self.world.one(sql, list(events)))

    def until_hit(self, point: str) -> None:
        self.until(lambda: not self.world.is_armed(point), f"somebody at {point}")

    def until_up(self) -> None:
        """Everything runs: what a test killed last has been started again."""
        self.nemesis.heal()
        self.until(lambda: all(self.world.children[name].said(b" ready.") for name in WORKERS), "workers ready")

    def stand_still(self, seconds: float) -> None:
        """Let real processes live through an outage of this length."""
        ends = time.monotonic() + seconds
        self.until(lambda: time.monotonic() > ends, "never", seconds + 5)

    def stopped(self) -> list[int]:
        """Pool processes that a failpoint stopped."""
        return [pid for name in WORKERS for pid in self.world.children[name].pool() if _is_stopped(pid)]

    # --- rows and messages -------------------------------------------------------------------------------------
    def statuses(self, event: str) -> dict[str, str]:
        """Channel -> status."""
        sql = "SELECT channel, status FROM notifier_delivery WHERE event_id = %s"
        return {row["channel"]: row["status"] for row in self.world.query(sql, event)}

    def attempts(self, event: str, channel: str) -> list[Mapping[str, Any]]:
        sql = """
            SELECT number, outcome, maybe_duplicate, address_id FROM notifier_attempt AS attempt
            JOIN notifier_delivery AS delivery ON delivery.id = attempt.delivery_id
            WHERE event_id = %s AND channel = %s ORDER BY number, address_id
        """
        return list(self.world.query(sql, event, channel))

    def taken(self, event: str, channel: str) -> list[Taken]:
        """What providers accepted of a delivery."""
        sql = "SELECT id::text FROM notifier_delivery WHERE event_id = %s AND channel = %s"
        ids = {row["id"] for row in self.world.query(sql, event, channel)}
        return [message for message in oracle.taken(self.world.sandbox_log) if message.delivery_id in ids]

    def send(self, task: str, *arguments: Any, queue: str = "control", **keywords: Any) -> None:
        """Publish a message as any Celery client could."""
        self._calls.send_task(f"notifier.{task}", arguments, keywords, queue=queue, ignore_result=True)

    def judge(self) -> Findings:
        """The oracle over all that ever happened in this world."""
        world = self.world
        return oracle.judge(world.accepted, oracle.read(world.postgres), oracle.taken(world.sandbox_log), EVER)

    def check(self) -> None:
        """Everything that was accepted has arrived, or is marked or kept. Each problem fails one test, not all."""
        found = self.judge()
        problems = {*found.lost, *found.unexplained, *found.not_final, *found.odd}
        new, self._known = sorted(problems - self._known), self._known | problems
        assert not new, new[:10]

    def _make_special_people(self) -> tuple[str, str]:
        device, inbox = self.world.people[-1], self.world.people[-2]
        for person in (device, inbox):
            self.world.call("PUT", f"/notifications/users/{person.id}", {"email": None, "phone": None})
        self.world.call("PUT", f"/notifications/users/{device.id}/devices/only", {"platform": "ios"})
        for token in device.devices:
            self.world.call("DELETE", f"/notifications/users/{device.id}/devices/{token}")
        for token in inbox.devices:
            self.world.call("DELETE", f"/notifications/users/{inbox.id}/devices/{token}")
        choice = {"userId": device.id, "eventType": "ORDER_SHIPPED", "channel": "IN_APP", "enabled": False}
        self.world.call("POST", "/notifications/preferences", choice)
        return device.id, inbox.id


def _is_stopped(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False
