"""T12, T13, T20: messages that come twice, of two sweepers, and of the version before. Needs: the claim, the lease."""

from __future__ import annotations

import random
import signal
import time

import pytest

from tests.chaos.children import send_all
from tests.chaos.nemesis import copy_messages
from tests.chaos.stage import CHANNELS, Stage

pytestmark = pytest.mark.processes


def deliveries(stage: Stage, event: str) -> dict[str, str]:
    """Channel -> delivery id."""
    sql = "SELECT channel, id::text FROM notifier_delivery WHERE event_id = %s"
    return {row["channel"]: row["id"] for row in stage.world.query(sql, event)}


def assert_sent_once(stage: Stage, *events: str) -> None:
    for event in events:
        assert stage.statuses(event) == dict.fromkeys(CHANNELS, "SENT")
        assert [len(stage.taken(event, channel)) for channel in ("EMAIL", "SMS", "PUSH")] == [1, 1, 1]


def test_a_live_lease_is_left_alone(stage: Stage) -> None:
    """T12: sweeps by the dozen while a provider takes its time, within the lease."""
    for provider in ("sendgrid", "twilio", "fcm"):
        stage.world.sandbox.fault(provider, mode="latency", latency=1.6)
    event = stage.trigger()
    for _ in range(12):
        stage.send("sweep")
    stage.until_settled(event)
    assert_sent_once(stage, event)
    assert stage.world.one("SELECT count(*) FROM notifier_attempt WHERE outcome = 'UNKNOWN' AND delivery_id IN "
                           "(SELECT id FROM notifier_delivery WHERE event_id = %s)", event) == 0  # fmt: skip


def test_two_sweepers_at_once(stage: Stage) -> None:
    """T12: the second one passes by; each crashed send is freed once."""
    stage.world.arm("deliver.claimed", "kill")
    event = stage.trigger("SMS")
    stage.until_hit("deliver.claimed")
    stage.world.arm("sweep.freeing", "stop")
    stage.until(stage.stopped, "a sweeper stands still with its lock")
    for _ in range(10):
        stage.send("sweep")
    stage.stand_still(2)
    send_all(stage.stopped(), signal.SIGCONT)
    stage.until_settled(event)
    assert [a["outcome"] for a in stage.attempts(event, "SMS")] == ["UNKNOWN", "ACCEPTED"]
    assert len(stage.taken(event, "SMS")) == 1


def test_copies_of_everything(stage: Stage) -> None:
    """Whatever is queued or under way comes again while it is sent, and again afterwards."""
    for provider in ("sendgrid", "twilio", "fcm"):
        stage.world.sandbox.fault(provider, mode="latency", latency=0.4)
    events: list[str] = []
    chance, ends = random.Random(1), time.monotonic() + 3
    while time.monotonic() < ends:
        if len(events) < 6:
            events.append(stage.trigger())
        copy_messages(stage.world, chance, 5)
        stage.stand_still(0.1)
    stage.until_settled(*events)
    assert_sent_once(stage, *events)


def test_settled_again_and_late(stage: Stage) -> None:
    """T13: the body and the errback of a chord, many times and of a round long past, change nothing."""
    event = stage.trigger()
    stage.until_settled(event)
    before = stage.world.query("SELECT status, round, settled_at FROM notifier_notificationevent WHERE id = %s", event)
    for number in (0, 1, 1, 2):
        stage.send("settle", [[event, number]])
        stage.send("fall_back", [[event, number]])
    stage.until(lambda: not stage.world.queues(), "every message was worked on")
    after = stage.world.query("SELECT status, round, settled_at FROM notifier_notificationevent WHERE id = %s", event)
    assert after == before
    assert_sent_once(stage, event)


def test_messages_of_the_version_before(stage: Stage) -> None:
    """T20: the tasks' signatures as they were (0.1.0): what a rolling update leaves in the queues is worked on."""
    event = stage.trigger()
    stage.until_settled(event)
    again = deliveries(stage, event)
    stage.world.query("UPDATE notifier_delivery SET status = 'QUEUED' WHERE id = %s", again["IN_APP"])
    stage.world.query(
        "UPDATE notifier_notificationevent SET status = 'DISPATCHED', settled_at = NULL WHERE id = %s", event
    )
    stage.send("deliver", "IN_APP", [again["IN_APP"]], queue="in_app", urgent=False)
    stage.until(lambda: stage.statuses(event)["IN_APP"] == "SENT", "the old message was worked on")
    stage.send("settle", [[event, 1]])
    stage.until_settled(event)
    for channel in ("EMAIL", "SMS", "PUSH"):  # sent by now: claimed by nobody
        stage.send("deliver", channel, [again[channel]], queue="urgent", urgent=True)
    stage.send("dispatch")
    stage.send("sweep")
    stage.until(lambda: not stage.world.queues(), "every message was worked on")
    assert_sent_once(stage, event)
