"""Which workers are alive, and whether Redis kept its data: what has been lost is named within about 15 seconds.

It only makes recovery fast. A worker refreshes a key of its own every 2 s (config/consumer.py); the repair scan asks
for the losses and ends the leases of what was in flight, which else would run out by themselves. So a loss that is
named without need costs a look at the rows, and one that nobody names costs time, never a message.

Beat leaves its sign here too, with each tick that it published. Health and `manage.py doctor` read both.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from typing import Any

import redis
from django.conf import settings

log = logging.getLogger(__name__)

BEAT = 2.0  # seconds between two signs of life
ALIVE_TTL = 10  # seconds; five beats
# seconds; a beat shorter: when Redis hung so long that a living worker's key ran out, this one did too
WATCH_TTL = 8
GRACE = 5  # seconds that workers have to come back after Redis was away, or nobody asked for losses

KNOWN = "notifier:workers"  # a set of names
WATCH = "notifier:watch"  # since when losses are asked for without a gap, by Redis's clock
RUN = "notifier:redis"  # the run of Redis that held the data when losses were asked for last
TICK = "notifier:beat"  # runs out TICK_TTL after Beat's last tick, so that what is left of it tells the tick's age
TICK_TTL = 7 * 24 * 60 * 60  # seconds; a Beat that is silent for longer is as good as none
PATIENCE = 0.5  # seconds for a connection, and again for an answer: it runs in the worker's event loop

REDIS = "redis"


@dataclass(frozen=True, slots=True)
class Signs:
    """Who lives: each worker's queues by its name; `beat`: the age of Beat's last tick in seconds, None without one."""

    workers: dict[str, frozenset[str]]
    beat: float | None


def alive(worker: str, queues: Collection[str] = ()) -> None:
    """This worker lives, and takes from these queues. `worker` names its boot too, so that one restarted at once is
    still seen to have died.
    """
    served = ",".join(sorted(queues))
    _tell(lambda pipe: pipe.set(_key(worker), served, ex=ALIVE_TTL).sadd(KNOWN, worker))


def goodbye(worker: str) -> None:
    """This worker ends by itself: it has nothing in flight any more."""
    _tell(lambda pipe: pipe.srem(KNOWN, worker).delete(_key(worker)))


def ticked() -> None:
    """Beat published a tick."""
    _tell(lambda pipe: pipe.set(TICK, 1, ex=TICK_TTL))


def signs(client: redis.Redis) -> Signs:
    """Who lives, by this Redis; nothing of it is changed. Raises redis.RedisError."""
    names = sorted(map(str, client.smembers(KNOWN)))
    with client.pipeline(transaction=False) as pipe:
        pipe.pttl(TICK)
        for name in names:
            pipe.get(_key(name))
        left, *served = pipe.execute()
    found = {
        name: frozenset(filter(None, queues.split(",")))
        for name, queues in zip(names, served, strict=True)
        if queues is not None
    }
    return Signs(found, max(0.0, TICK_TTL - left / 1000) if left >= 0 else None)


def losses() -> list[str]:
    """What was lost since the last call: names of workers that died silently, and "redis". Redis away: nothing.

    "redis" means another run than before, or none known: acknowledged writes of its last second are gone even with its
    data on disk, all of them without. The first call ever says so too, harmlessly. Each loss is named to one caller.
    """
    lost: list[str] = []
    try:
        client = _client(os.getpid())
        if _is_another_run(client):
            lost.append(REDIS)
        if _is_watched(client):
            lost.extend(_gone(client))
    except redis.RedisError as error:
        log.warning("losses not known: %s", type(error).__name__)
    return lost


def _tell(commands: Any) -> None:
    """Both commands or none. Redis away: the next beat is near."""
    try:
        pipe = _client(os.getpid()).pipeline(transaction=True)
        commands(pipe)
        pipe.execute()
    except redis.RedisError as error:
        log.debug("no sign of life: %s", type(error).__name__)


def _is_another_run(client: redis.Redis) -> bool:
    run = str(client.info("server")["run_id"])
    return client.set(RUN, run, get=True) != run


def _is_watched(client: redis.Redis) -> bool:
    """Whether the living had the time to say so: false for a while after Redis, or the repair scan, was away."""
    now, _ = client.time()
    client.set(WATCH, now, nx=True, ex=WATCH_TTL)
    client.expire(WATCH, WATCH_TTL)
    return now - int(client.get(WATCH) or now) >= GRACE


def _gone(client: redis.Redis) -> list[str]:
    known = sorted(str(worker) for worker in client.smembers(KNOWN))
    if not known:
        return []
    signs = client.mget([_key(worker) for worker in known])
    # who removes the name reports it
    return [worker for worker, sign in zip(known, signs, strict=True) if sign is None and client.srem(KNOWN, worker)]


def _key(worker: str) -> str:
    return f"notifier:alive:{worker}"


@cache
def _client(_process: int) -> redis.Redis:
    """A client of this process's own: a worker's children must not share the socket of its main process."""
    return client_with(PATIENCE)


def client_with(patience: float) -> redis.Redis:
    """A client that waits so many seconds for a connection, and again for an answer, and tries once."""
    return redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=patience,
        socket_connect_timeout=patience,
        retry=None,
        decode_responses=True,
    )
