"""Callers of the HTTP API, in this process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import aiohttp
import orjson

from benchmarks.stage import Stage, body

SINGLE, BULK = "/notifications/trigger", "/notifications/trigger/bulk"
PATIENCE = 60.0  # seconds for an answer
CONNECTIONS = 100
ACCEPTED = 202


@dataclass(frozen=True, slots=True)
class Posted:
    """A request. Times in seconds since the epoch; status 0 without an answer; `event_ids` of what was recorded."""

    began: float
    answered: float
    status: int
    event_ids: tuple[str, ...] = ()

    @property
    def milliseconds(self) -> float:
        return 1000 * (self.answered - self.began)


Post = Callable[[str, bytes], Awaitable[Posted]]
T = TypeVar("T")


class Arrivals:
    """Single triggers at given moments, whatever becomes of the ones before (an open loop), in a thread of its own.

    `moments`: seconds from the start, in order; may be endless.
    """

    def __init__(self, stage: Stage, moments: Iterable[float], event_type: str = "ORDER_SHIPPED") -> None:
        self.stage, self.moments, self.event_type = stage, moments, event_type
        self.posted: list[Posted] = []
        self._stopping = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="arrivals", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> list[Posted]:
        """No more; waits for the answers of those under way."""
        self._stopping.set()
        return self.wait()

    def wait(self) -> list[Posted]:
        """Until all moments have passed and all is answered."""
        self._thread.join()
        if self._error:
            raise self._error
        return self.posted

    def _run(self) -> None:
        try:
            asyncio.run(with_api(self.stage, self._arrive))
        except BaseException as error:  # noqa: BLE001 - for the thread that waits
            self._error = error

    async def _arrive(self, post: Post) -> None:
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number, moment in enumerate(self.moments):
                await asyncio.sleep(max(0.0, began + moment - time.monotonic()))
                if self._stopping.is_set():
                    break
                group.create_task(self._post(post, number))

    async def _post(self, post: Post, number: int) -> None:
        people = self.stage.world.people
        trigger = body(people[number % len(people)], self.event_type)
        self.posted.append(await post(SINGLE, orjson.dumps(trigger)))


async def crowd(post: Post, path: str, make: Callable[[int], bytes], callers: int, seconds: float) -> list[Posted]:
    """So many callers, each of whom posts again as soon as it is answered (a closed loop)."""
    posted: list[Posted] = []
    ends = time.monotonic() + seconds

    async def call(first: int) -> None:
        number = first
        while time.monotonic() < ends:
            posted.append(await post(path, make(number)))
            number += callers

    async with asyncio.TaskGroup() as group:
        for caller in range(callers):
            group.create_task(call(caller))
    return posted


async def paced(post: Post, path: str, bodies: Sequence[bytes], every: float) -> list[Posted]:
    """One each `every` seconds, whatever the answers do."""
    began = time.monotonic()
    tasks = []
    async with asyncio.TaskGroup() as group:
        for number, data in enumerate(bodies):
            await asyncio.sleep(max(0.0, began + number * every - time.monotonic()))
            tasks.append(group.create_task(_awaited(post(path, data))))
    return [task.result() for task in tasks]


async def _awaited(posted: Awaitable[Posted]) -> Posted:
    return await posted


async def with_api(stage: Stage, use: Callable[[Post], Awaitable[T]]) -> T:
    """`use` is given what posts a body to a path of the stage's web process."""
    headers = {"Authorization": f"Api-Key {stage.world.api_key}", "Content-Type": "application/json"}
    timeout, connector = aiohttp.ClientTimeout(total=PATIENCE), aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(stage.world.web, headers=headers, timeout=timeout, connector=connector) as session:

        async def post(path: str, data: bytes) -> Posted:
            began = time.time()
            try:
                async with session.post(path, data=data) as answer:
                    found = orjson.loads(await answer.read()) if answer.status == ACCEPTED else {}
                    return Posted(began, time.time(), answer.status, _event_ids(found))
            except (TimeoutError, aiohttp.ClientError):
                return Posted(began, time.time(), 0)

        return await use(post)


def _event_ids(answer: dict[str, object]) -> tuple[str, ...]:
    results = answer.get("results", [answer])
    assert isinstance(results, list)
    return tuple(str(result["eventId"]) for result in results if "eventId" in result)
