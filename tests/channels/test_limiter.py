"""No second, however aligned, sees more messages than the rate: over all workers, by Redis."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier
from typing import TypeAlias

import pytest
import redis
from django.conf import settings as django_settings
from pytest_django.fixtures import Settings

from channels import limiter
from channels.limiter import Limiter
from channels.shared import shared_redis
from tests.ports import free_port

Grant: TypeAlias = tuple[float, float, int]  # asked at, answered at, how many


@pytest.fixture(autouse=True)
def client() -> Iterator[redis.Redis]:
    forget()
    found = redis.Redis.from_url(django_settings.REDIS_URL)
    found.flushdb()
    yield found
    found.close()
    forget()


def forget() -> None:
    shared_redis.forget()
    limiter._in_redis.cache_clear()
    limiter._own.cache_clear()


def test_no_limit_grants_all_and_asks_nobody(settings: Settings) -> None:
    settings.REDIS_URL = "redis://host.invalid:1/0"
    assert Limiter("SMS:p", 0).take(1000) == (1000, 0.0)
    assert Limiter("SMS:p", 5).take(0) == (0, 0.0)


def test_a_part_is_granted_and_the_rest_told_when() -> None:
    found = Limiter("SMS:p", 10)
    assert found.take(7) == (7, 0.0)
    granted, wait = found.take(7)
    assert granted == 3
    assert 0.5 < wait <= 1
    granted, wait = found.take(7)
    assert granted == 0
    assert 0.5 < wait <= 1


def test_more_than_a_second_carries_is_granted_for_one_second() -> None:
    assert Limiter("SMS:p", 10).take(50) == (10, 1.0)


def test_a_share_is_kept_for_urgent_messages() -> None:
    found = Limiter("SMS:p", 20)
    assert found.take(50, urgent=False)[0] == 18
    assert found.take(50, urgent=False)[0] == 0
    assert found.take(50)[0] == 2
    assert found.take(1)[0] == 0


def test_a_rate_of_one_serves_everybody() -> None:
    assert Limiter("SMS:p", 1).take(1, urgent=False)[0] == 1


def test_providers_are_counted_apart() -> None:
    assert Limiter("SMS:p", 10).take(10)[0] == 10
    assert Limiter("SMS:q", 10).take(10)[0] == 10


def test_workers_share_it() -> None:
    assert Limiter("SMS:p", 10).take(6)[0] == 6
    assert Limiter("SMS:p", 10).take(6)[0] == 4


def test_nothing_stays_for_ever(client: redis.Redis) -> None:
    Limiter("SMS:p", 10).take(6)
    assert [0 < client.ttl(key) <= 1 for key in client.keys("*")] == [True]


def test_while_redis_is_away_each_process_counts_for_itself(settings: Settings) -> None:
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    found = Limiter("SMS:p", 10)
    assert found.take(7) == (7, 0.0)
    assert found.take(7)[0] == 3
    assert found.take(7)[0] == 0


def test_no_second_sees_more_than_the_rate() -> None:
    """Three processes take as fast as they can for two and a half seconds."""
    rate = 40
    context = multiprocessing.get_context("spawn")  # a forked child of threads may hang
    grants: multiprocessing.Queue[list[Grant]] = context.Queue()
    barrier = context.Barrier(3)
    takers = [context.Process(target=_take_for, args=(2.5, rate, barrier, grants)) for _ in range(3)]
    for taker in takers:
        taker.start()
    seen = sorted(grant for _ in takers for grant in grants.get(timeout=30))
    for taker in takers:
        taker.join(timeout=30)
    assert max(_surely_within(second, seen) for second, _, _ in seen) <= rate
    assert sum(granted for _, _, granted in seen) >= 2 * rate


def _surely_within(start: float, seen: list[Grant]) -> int:
    """A grant lies somewhere between asking and answer; those that lie wholly within the second from `start`."""
    return sum(granted for asked, answered, granted in seen if asked >= start and answered < start + 1)


def _take_for(seconds: float, rate: int, barrier: Barrier, grants: multiprocessing.Queue[list[Grant]]) -> None:
    found, taken = Limiter("SMS:p", rate), []
    Limiter("SMS:other", rate).take(1)  # reads the settings, connects
    barrier.wait(timeout=30)
    ends = time.time() + seconds
    while (asked := time.time()) < ends:
        granted, wait = found.take(7)
        if granted:
            taken.append((asked, time.time(), granted))
        time.sleep(min(wait, 0.01))
    grants.put(taken)
