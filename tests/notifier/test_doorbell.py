"""The doorbell rings once a burst, and never makes the order flow wait."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest
import redis
from django.conf import settings as django_settings
from pytest_django.fixtures import Settings

from notifier import doorbell, tasks
from notifier.quick_redis import quick_redis
from tests.ports import free_port


@pytest.fixture
def bell() -> Iterator[redis.Redis]:
    """An empty Redis, and a doorbell that remembers nothing."""
    forget()
    client = redis.Redis.from_url(django_settings.REDIS_URL)
    client.flushdb()
    yield client
    client.close()
    forget()


def forget() -> None:
    quick_redis.forget()
    tasks._doorbell_connection.cache_clear()


def test_a_burst_rings_once_until_the_claim(bell: redis.Redis) -> None:
    for _ in range(5):
        tasks.ring()
    assert bell.llen("control") == 1
    doorbell.release()
    tasks.ring()
    assert bell.llen("control") == 2


def test_a_lost_message_is_rung_for_again_after_a_second(bell: redis.Redis) -> None:
    tasks.ring()
    assert 0 < bell.pttl(doorbell.FLAG) <= 1000


def test_redis_refusing_costs_nothing_and_is_left_alone(bell: redis.Redis, settings: Settings) -> None:
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    forget()
    began = time.monotonic()
    tasks.ring()
    assert time.monotonic() - began < 0.4
    assert quick_redis.rests_until > began + 4
    doorbell.release()


def test_redis_hanging_costs_a_third_of_a_second(bell: redis.Redis, settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings.REDIS_URL = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        forget()
        began = time.monotonic()
        tasks.ring()
        tasks.ring()
        assert time.monotonic() - began < 0.6


@pytest.mark.parametrize("answer", ["refuse", "hang"])
def test_redis_dying_after_the_flag_is_survived(bell: redis.Redis, settings: Settings, answer: str) -> None:
    """The flag was set, and the broker is gone when the message is published."""
    doorbell.release()  # connects, to the Redis that lives
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1] if answer == "hang" else free_port()
        settings.REDIS_URL = f"redis://127.0.0.1:{port}/0"
        began = time.monotonic()
        tasks.ring()
        assert time.monotonic() - began < 0.8
        assert quick_redis.rests_until > began
