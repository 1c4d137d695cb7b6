"""T3, T4, T6, T8: the broker emptied, away or mute, the database restarted or cut off, while messages are under way.

Needs: the sweeper and the event leases; for the database, the write that is tried again on a fresh connection.
"""

from __future__ import annotations

import signal
import time

import pytest

from tests.chaos.children import send, send_all
from tests.chaos.stage import CHANNELS, Stage

pytestmark = pytest.mark.processes

QUIET = 2.5  # seconds: web waits 0.3 s for a broker at most, and this machine may be busy; a socket would wait 4 s
BURST = 12  # events


def burst(stage: Stage, number: int = BURST) -> tuple[list[str], float]:
    """Events for all channels; and the slowest answer's seconds."""
    events, slowest = [], 0.0
    for _ in range(number):
        began = time.monotonic()
        events.append(stage.trigger())
        slowest = max(slowest, time.monotonic() - began)
    return events, slowest


def assert_sent_once(stage: Stage, *events: str) -> None:
    """Each of the four channels accepted it, one time."""
    for event in events:
        assert stage.statuses(event) == dict.fromkeys(CHANNELS, "SENT")
        assert [len(stage.taken(event, channel)) for channel in ("EMAIL", "SMS", "PUSH")] == [1, 1, 1]


def flush(stage: Stage) -> None:
    with stage.world.valkey.client() as client:
        client.flushall()


def let_go(stage: Stage) -> None:
    send_all(stage.stopped(), signal.SIGCONT)


# --- T3: FLUSHALL ---
def test_flushed_while_messages_are_queued(stage: Stage) -> None:
    workers = [stage.world.children[name] for name in ("worker", "worker-control")]
    frozen = [pid for worker in workers for pid in (worker.pid, *worker.pool())]
    send_all(frozen, signal.SIGSTOP)
    events, slowest = burst(stage, 5)
    flush(stage)
    send_all(frozen, signal.SIGCONT)
    stage.until_settled(*events)
    assert_sent_once(stage, *events)
    assert slowest < QUIET


@pytest.mark.parametrize(
    "point",
    [
        pytest.param("publish.deliver", id="before-a-header"),
        pytest.param("deliver.claimed", id="in-flight"),
        pytest.param("deliver.recorded", id="before-its-part-is-counted"),
        pytest.param("publish.settle", id="between-the-last-header-and-the-body", marks=pytest.mark.slow),
    ],
)
def test_flushed_in_mid_chord(stage: Stage, point: str) -> None:
    stage.world.arm(point, "stop")
    event = stage.trigger()
    stage.until(stage.stopped, f"somebody stands at {point}")
    flush(stage)
    let_go(stage)
    stage.until_settled(event)
    assert_sent_once(stage, event)


@pytest.mark.slow
def test_flushed_while_a_retry_waits(stage: Stage) -> None:
    """The chord's own retry waits in the worker's memory; its message is gone from the broker."""
    stage.world.sandbox.fault("twilio", mode="status", status=503, times=1)
    event = stage.trigger()
    stage.until(lambda: stage.attempts(event, "SMS"), "a first attempt")
    flush(stage)
    stage.until_settled(event, deadline=120)
    assert_sent_once(stage, event)


# --- T4, T8: the broker away, or there and mute ---
@pytest.mark.parametrize(
    "wipe", [pytest.param(False, id="with-its-data"), pytest.param(True, id="without", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("seconds", [1.0, pytest.param(30.0, marks=pytest.mark.slow)])
def test_valkey_killed_and_restarted(stage: Stage, seconds: float, wipe: bool) -> None:
    before, _ = burst(stage, 4)
    stage.world.valkey.kill(wipe=wipe)
    stage.nemesis.hold("valkey", (seconds, seconds))
    during, slowest = burst(stage)
    stage.stand_still(seconds)
    after, _ = burst(stage, 4)
    took = stage.until_settled(*before, *during, *after)
    assert slowest < QUIET
    assert took < 30
    assert_sent_once(stage, *before, *during, *after)


@pytest.mark.parametrize("seconds", [3.0, pytest.param(25.0, marks=pytest.mark.slow)])
def test_valkey_stopped_half_open(stage: Stage, seconds: float) -> None:
    """Its connections stand and nothing answers: neither web nor the workers hang longer than it does, by much."""
    before, _ = burst(stage, 4)
    pid = stage.world.valkey.child.pid
    send(pid, signal.SIGSTOP)
    during, slowest = burst(stage, 4)
    stage.stand_still(seconds)
    send(pid, signal.SIGCONT)
    took = stage.until_settled(*before, *during)
    assert slowest < QUIET
    assert took < 40
    stage.check()


@pytest.mark.slow
def test_valkey_paused_for_its_clients(stage: Stage) -> None:
    before, _ = burst(stage, 4)
    with stage.world.valkey.client() as client:
        client.execute_command("CLIENT PAUSE", 8_000, "ALL")
    during, slowest = burst(stage, 4)
    stage.until_settled(*before, *during)
    assert slowest < QUIET
    assert_sent_once(stage, *before, *during)


# --- T6: the database ---
@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGINT, id="fast", marks=pytest.mark.slow),
        pytest.param(signal.SIGQUIT, id="immediate"),
        pytest.param(signal.SIGKILL, id="killed", marks=pytest.mark.slow),
    ],
)
def test_postgres_restarted_mid_burst(stage: Stage, number: signal.Signals) -> None:
    """Triggers meanwhile are refused, never lost; the workers go on by themselves."""
    before, _ = burst(stage)
    stage.world.postgres.restart(number)
    after, _ = burst(stage)
    stage.until_settled(*before, *after)
    for event in (*before, *after):
        assert set(stage.statuses(event).values()) == {"SENT"}


def test_connections_cut_between_acceptance_and_its_record(stage: Stage) -> None:
    """The outcome is written on a fresh connection: nothing is in doubt, nothing goes out again."""
    stage.world.arm("deliver.sent", "stop")
    event = stage.trigger("SMS")
    stage.until(stage.stopped, "a stopped sender")
    stage.world.postgres.terminate_backends()
    let_go(stage)
    stage.until_settled(event)
    assert [(a["outcome"], a["maybe_duplicate"]) for a in stage.attempts(event, "SMS")] == [("ACCEPTED", False)]
    assert len(stage.taken(event, "SMS")) == 1


@pytest.mark.slow
def test_workers_work_again_after_every_cut(stage: Stage) -> None:
    """Each process of the pools has to find a new connection, again and again."""
    for _ in range(5):
        stage.world.postgres.terminate_backends()
        events, _ = burst(stage)
        took = stage.until_settled(*events)
        assert took < 20
