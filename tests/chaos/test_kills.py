"""T1, T2: SIGKILL at every labelled point of the engine, for a pool's process, its parent, and the whole worker.

Needs: the sweeper (and with it the leases), the claim, the fence.
"""

from __future__ import annotations

import os
import signal

import pytest

from tests.chaos.children import send_all
from tests.chaos.stage import CHANNELS, Stage

pytestmark = pytest.mark.processes

ACTIONS = ("kill", "kill-parent", "kill-group")
STEPS = (
    "dispatch.planned",
    "dispatch.committed",
    "publish.deliver",
    "publish.settle",
    "settle.deciding",
    "settle.committed",
)
QUICK = {("deliver.claimed", "SMS", "kill"), ("deliver.sent", "SMS", "kill"), ("deliver.sent", "EMAIL", "kill-group"),
         ("deliver.recorded", "PUSH", "kill-parent")}  # fmt: skip


def _slow(case: tuple[str, ...], *, quick: bool) -> object:
    return pytest.param(*case, id="-".join(case), marks=() if quick else pytest.mark.slow)


SENDING = [
    _slow((point, channel, action), quick=(point, channel, action) in QUICK)
    for point in ("deliver.claimed", "deliver.sent", "deliver.recorded")
    for channel in CHANNELS
    for action in ACTIONS
]


@pytest.mark.parametrize(("point", "channel", "action"), SENDING)
def test_killed_while_sending(stage: Stage, point: str, channel: str, action: str) -> None:
    """One message at most before the kill and one after; two only where nobody can know, and then it is marked.

    A pool process whose parent is killed finishes what it is sending, and ends after that.
    """
    stage.world.arm(point, action)
    event = stage.trigger(channel)
    stage.until_hit(point)
    stage.until_settled(event)
    assert stage.statuses(event)[channel] in ("SENT", "FAILED")
    copies = len(stage.taken(event, channel)) or 1  # the inbox is a table
    marked = [attempt["number"] for attempt in stage.attempts(event, channel) if attempt["maybe_duplicate"]]
    if point == "deliver.recorded" or action == "kill-parent":
        assert (copies, marked) == (1, [])
    elif point == "deliver.claimed":
        assert (copies, marked) == (1, [1])
    else:
        assert copies <= 2
        assert marked == [1]
    if channel == "SMS":
        assert copies == 1  # Twilio was asked


@pytest.mark.parametrize(
    ("point", "action"), [_slow((point, action), quick=action == "kill") for point in STEPS for action in ACTIONS]
)
def test_killed_between_the_steps(stage: Stage, point: str, action: str) -> None:
    """Outside of a send nothing is ever in doubt: one message a channel, none marked."""
    stage.world.arm(point, action)
    event = stage.trigger()
    stage.until_hit(point)
    stage.until_settled(event)
    assert stage.statuses(event) == dict.fromkeys(CHANNELS, "SENT")
    for channel in ("EMAIL", "SMS", "PUSH"):
        assert len(stage.taken(event, channel)) == 1
        assert not any(attempt["maybe_duplicate"] for attempt in stage.attempts(event, channel))


@pytest.mark.parametrize("action", [pytest.param(a, marks=() if a == "kill" else pytest.mark.slow) for a in ACTIONS])
def test_killed_while_sweeping(stage: Stage, action: str) -> None:
    """T12 too: a sweep that dies half-way frees nothing, and the next one frees all of it, once."""
    stage.world.arm("deliver.claimed", "kill")
    event = stage.trigger("SMS")
    stage.until_hit("deliver.claimed")
    stage.world.arm("sweep.freeing", action)
    stage.until_hit("sweep.freeing")
    stage.world.arm("sweep.freeing", action)
    stage.until_hit("sweep.freeing")
    stage.until_settled(event)
    assert stage.statuses(event)["SMS"] == "SENT"
    assert [a["outcome"] for a in stage.attempts(event, "SMS")] == ["UNKNOWN", "ACCEPTED"]


@pytest.mark.slow
@pytest.mark.parametrize("published", range(4))
def test_dispatcher_killed_between_two_headers(stage: Stage, published: int) -> None:
    """T2, C2: the chord's size is never written, and its body never runs."""
    event_point = "publish.deliver"
    stage.world.arm(event_point, "stop")
    event = stage.trigger()
    stage.until_hit(event_point)
    for n in range(published):
        stage.until(stage.stopped, "a stopped dispatcher")
        stage.world.arm(event_point, "kill" if n == published - 1 else "stop")
        send_all(stage.stopped(), signal.SIGCONT)
        stage.until_hit(event_point)
    if not published:
        stage.until(stage.stopped, "a stopped dispatcher")
        for pid in stage.stopped():
            os.kill(pid, signal.SIGKILL)
    stage.until_settled(event)
    assert stage.statuses(event) == dict.fromkeys(CHANNELS, "SENT")
    assert [len(stage.taken(event, channel)) for channel in ("EMAIL", "SMS", "PUSH")] == [1, 1, 1]
