"""Orders that move along, posted over HTTP: each trigger is tried with its key until it is recorded."""

from __future__ import annotations

import asyncio
import heapq
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.chaos.world import World

STAGES = ("ORDER_PLACED", "ORDER_CONFIRMED", "ORDER_PACKED", "ORDER_SHIPPED", "ORDER_DELIVERED")
TYPES = (*STAGES, "ORDER_DELAYED", "ORDER_CANCELLED")
GAP = (4.0, 25.0)  # seconds between two events of an order
GUESTS, DELAYS, CANCELLATIONS = 0.05, 0.2, 0.15  # shares of the orders
TRY_AGAIN = (0.2, 0.8)  # seconds after an answer that was none
PATIENCE = 15.0  # seconds for an answer


@dataclass(frozen=True, slots=True)
class Accepted:
    """A trigger that got its 202 or 200. `seconds`: from the first try to the answer."""

    key: str
    event_id: str
    event_type: str
    at: float
    seconds: float


@dataclass(slots=True)
class Order:
    id: str
    whom: dict[str, Any]
    steps: list[str]


class Orders:
    """The next trigger of a seeded, endless stream of orders."""

    def __init__(self, people: list[str], seed: int) -> None:
        self._random, self._people, self._made = random.Random(seed), people, 0
        self._waiting: list[tuple[float, int, Order]] = []

    def next(self, now: float) -> dict[str, Any]:
        moves_on = bool(self._waiting) and self._waiting[0][0] <= now
        order = heapq.heappop(self._waiting)[2] if moves_on else self._new()
        event_type = order.steps.pop(0)
        if order.steps:
            self._made += 1
            heapq.heappush(self._waiting, (now + self._random.uniform(*GAP), self._made, order))
        metadata = {"orderId": order.id, "total": "126.50", "currency": "EUR"}
        if event_type == "ORDER_SHIPPED":
            metadata["trackingUrl"] = f"https://track.example/{order.id}"
        return {"eventType": event_type, "metadata": metadata, **order.whom}

    def _new(self) -> Order:
        self._made += 1
        chance, steps = self._random, list(STAGES)
        if chance.random() < DELAYS:
            steps.insert(chance.randint(1, 4), "ORDER_DELAYED")
        if chance.random() < CANCELLATIONS:
            steps[chance.randint(1, len(steps)) :] = ["ORDER_CANCELLED"]
        guest = {"recipient": {"email": f"guest{self._made}@mail.example", "phone": "+12025559999"}}
        whom = guest if chance.random() < GUESTS else {"userId": chance.choice(self._people)}
        return Order(f"ORD{self._made}-{chance.getrandbits(32):08x}", whom, steps)


@dataclass(slots=True)
class Answers:
    """What web said: how often each answer came, and the slowest of each (seconds)."""

    counts: Counter[str] = field(default_factory=Counter)
    slowest: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, seconds: float) -> None:
        self.counts[name] += 1
        self.slowest[name] = max(self.slowest.get(name, 0.0), seconds)

    @property
    def wrong(self) -> dict[str, int]:
        """Answers that no outage excuses: neither a success nor a 503 that says when to come back."""
        return {name: n for name, n in self.counts.items() if name.isdecimal() and name not in ("200", "202", "503")}


class Load:
    """Runs in a thread of its own, at `rate` triggers a second, until `stop`."""

    def __init__(self, world: World, rate: float, seed: int) -> None:
        self._world, self.rate = world, rate
        self._orders = Orders([person.id for person in world.people], seed)
        self._prefix, self._posted = f"chaos-{seed}", 0
        self._stopping, self._ends = threading.Event(), 0.0
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="load", daemon=True)
        self.accepted: list[Accepted] = []
        self.answers = Answers()
        self.given_up = 0  # triggers that never got an answer: nothing is promised about them
        self.error: BaseException | None = None

    def start(self) -> None:
        self._thread.start()

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self, patience: float = 60.0) -> None:
        """No new triggers; those under way are still tried, for `patience` seconds."""
        self._ends = time.monotonic() + patience
        self._stopping.set()
        self._thread.join()
        if self.error:
            raise self.error

    async def _run(self) -> None:
        headers = {"Authorization": f"Api-Key {self._world.api_key}"}
        timeout = aiohttp.ClientTimeout(total=PATIENCE, connect=PATIENCE)
        connector = aiohttp.TCPConnector(limit=50)
        try:
            async with (
                aiohttp.ClientSession(headers=headers, timeout=timeout, connector=connector) as session,
                asyncio.TaskGroup() as group,
            ):
                await self._post_all(session, group)
        except* Exception as errors:  # noqa: BLE001 - a bug of this file, for the main thread to raise
            self.error = errors

    async def _post_all(self, session: aiohttp.ClientSession, group: asyncio.TaskGroup) -> None:
        begins = time.monotonic()
        while not self._stopping.is_set():
            due = begins + self._posted / self.rate
            await asyncio.sleep(min(0.2, max(0.0, due - time.monotonic())))
            if time.monotonic() >= due:
                self._posted += 1
                body = self._orders.next(time.monotonic())
                group.create_task(self._post(session, body, f"{self._prefix}-{self._posted}"))

    async def _post(self, session: aiohttp.ClientSession, body: dict[str, Any], key: str) -> None:
        began = time.monotonic()
        while not (self._stopping.is_set() and time.monotonic() > self._ends):
            event_id = await self._try(session, body, key)
            if event_id:
                taken = time.monotonic() - began
                self.accepted.append(Accepted(key, event_id, body["eventType"], time.time(), taken))
                return
            await asyncio.sleep(random.uniform(*TRY_AGAIN))
        self.given_up += 1

    async def _try(self, session: aiohttp.ClientSession, body: dict[str, Any], key: str) -> str:
        """The event's id; empty without a success."""
        began = time.monotonic()
        url, headers = f"{self._world.web}/notifications/trigger", {"Idempotency-Key": key}
        try:
            async with session.post(url, json=body, headers=headers) as answer:
                name = str(answer.status)
                if answer.status == 503 and "Retry-After" not in answer.headers:
                    name = "5030"  # counts as wrong
                found = await answer.json() if answer.status in (200, 202) else {}
        except TimeoutError:
            name, found = "timeout", {}
        except aiohttp.ClientError:
            name, found = "no connection", {}
        self.answers.add(name, time.monotonic() - began)
        return str(found.get("eventId", ""))
