"""T7, T13: providers that fail in every way they can, and come back. Needs: classification, the bound on attempts."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chaos.stage import CHANNELS, Stage

pytestmark = pytest.mark.processes

PROVIDERS = ("sendgrid", "twilio", "fcm")
MOST_ATTEMPTS = 6  # config/event_types.py allows no more
SURELY_NOT: dict[str, dict[str, Any]] = {
    "503": {"mode": "status", "status": 503},
    "429": {"mode": "rate_limit", "retry_after": 1},
}
MAYBE: dict[str, dict[str, Any]] = {
    "500": {"mode": "status", "status": 500},
    "500-and-taken": {"mode": "status", "status": 500, "accept": True},
    "timeout": {"mode": "timeout"},
    "timeout-and-taken": {"mode": "timeout", "accept": True},
    "reset": {"mode": "reset"},
    "taken-and-dropped": {"mode": "accept_then_drop"},
    "slow": {"mode": "latency", "latency": 1.5},
}


def break_all(stage: Stage, fault: dict[str, Any]) -> None:
    for provider in PROVIDERS:
        stage.world.sandbox.fault(provider, **fault)


def outage(stage: Stage, fault: dict[str, Any], seconds: float) -> list[str]:
    """Events before, during and after it."""
    break_all(stage, fault)
    events = [stage.trigger() for _ in range(6)]
    stage.stand_still(seconds)
    stage.world.sandbox.heal()
    events.append(stage.trigger())
    stage.until_settled(*events, deadline=150)
    return events


@pytest.mark.parametrize("fault", [pytest.param("503"), pytest.param("429", marks=pytest.mark.slow)])
def test_surely_refused_is_sent_once_it_can_be(stage: Stage, fault: str) -> None:
    events = outage(stage, SURELY_NOT[fault], 3)
    for event in events:
        assert stage.statuses(event) == dict.fromkeys(CHANNELS, "SENT")
        for channel in ("EMAIL", "SMS", "PUSH"):
            assert len(stage.taken(event, channel)) == 1
            assert len(stage.attempts(event, channel)) <= MOST_ATTEMPTS + 4  # waiting for a permit uses up none


@pytest.mark.parametrize(
    "fault", [pytest.param(name, marks=() if name == "slow" else pytest.mark.slow) for name in MAYBE]
)
def test_what_is_in_doubt_is_marked(stage: Stage, fault: str) -> None:
    """SMS are asked for and never doubled; mail and push are sent again, and every double is marked (stage.check)."""
    events = outage(stage, MAYBE[fault], 3)
    for event in events:
        assert set(stage.statuses(event).values()) <= {"SENT", "FAILED"}
        assert len(stage.taken(event, "SMS")) <= 1
        for channel in ("EMAIL", "SMS", "PUSH"):
            assert len(stage.attempts(event, channel)) <= MOST_ATTEMPTS + 4


def test_one_channel_refused_for_good(stage: Stage) -> None:
    """T13: one header of the chord fails, and mail stands in for it."""
    stage.world.sandbox.fault("twilio", mode="status", status=400)
    event = stage.trigger()
    stage.until_settled(event)
    assert stage.statuses(event) == {"EMAIL": "SENT", "SMS": "FAILED", "PUSH": "SENT", "IN_APP": "SENT"}


def test_every_channel_refused_for_good(stage: Stage) -> None:
    """T13: nobody is reached; each delivery is an open dead letter."""
    break_all(stage, {"mode": "status", "status": 400})
    event = stage.trigger("EMAIL")
    other = stage.trigger("PUSH")
    stage.until_settled(event, other)
    assert stage.statuses(event)["EMAIL"] == "FAILED"
    assert stage.statuses(other)["PUSH"] == "FAILED"
    letters = stage.world.one(
        "SELECT count(*) FROM notifier_deadletter WHERE status = 'OPEN' AND delivery_id IN "
        "(SELECT id FROM notifier_delivery WHERE event_id = ANY(%s::uuid[]) AND status = 'FAILED')",
        [event, other],
    )
    assert letters == 2
