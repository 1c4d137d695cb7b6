"""What a container's probe says of its worker or Beat."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import redis
from django.conf import settings

from config.alive import is_alive, main
from notifier import liveness
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def client() -> redis.Redis:
    client = liveness.client_with(1)
    client.flushdb()
    return client


def test_a_worker_lives_by_its_own_sign(client: redis.Redis) -> None:
    assert not is_alive("worker", client, "pod-1")
    liveness.alive("worker@pod-1#1f", ["email"])
    assert is_alive("worker", client, "pod-1")
    assert not is_alive("worker", client, "pod-2")
    assert not is_alive("worker", client, "1")
    liveness.goodbye("worker@pod-1#1f")
    assert not is_alive("worker", client, "pod-1")


def test_beat_lives_by_its_last_tick(client: redis.Redis) -> None:
    assert not is_alive("beat", client, "pod-1")
    liveness.ticked()
    assert is_alive("beat", client, "pod-1")
    client.expire(liveness.TICK, liveness.TICK_TTL - 90)
    assert not is_alive("beat", client, "pod-1")


def test_as_a_probe_runs_it(client: redis.Redis) -> None:
    def ends_with() -> int:
        command = [sys.executable, "-m", "config.alive", "worker"]
        env = {"REDIS_URL": settings.REDIS_URL, "PATH": os.environ["PATH"]}  # it loads no settings
        return subprocess.run(command, cwd=ROOT, env=env, check=False).returncode

    assert ends_with() == 1
    liveness.alive(f"control@{socket.gethostname()}#1f")
    assert ends_with() == 0


def test_nobody_is_restarted_because_redis_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    assert main(["worker"]) == 0


def test_a_misspelt_call_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["workers"]) == 2
    assert "worker|beat" in capsys.readouterr().err
