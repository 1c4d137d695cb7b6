"""What dies is seen within a minute, in health, metrics and alerts, and what comes back clears by itself."""

from __future__ import annotations

import json
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.chaos.stage import Stage
from tests.processes import wait_for

pytestmark = [pytest.mark.processes, pytest.mark.slow]

SEEN = 60.0  # seconds
OVER = 150.0  # an alert heals a minute after its last sign, and the sign of a spike is two minutes long


@pytest.fixture(autouse=True)
def nothing_broken(stage: Stage) -> Iterator[None]:
    stage.until(lambda: health(stage)["status"] == "ok", "all is well", OVER)
    stage.until(lambda: not alerts(stage), "no alert", OVER)
    yield
    stage.world.sandbox.heal()


def asked(stage: Stage, path: str) -> Any:
    headers = {"Authorization": f"Api-Key {stage.world.api_key}"}
    with urllib.request.urlopen(
        urllib.request.Request(f"{stage.world.web}{path}", headers=headers), timeout=5
    ) as answer:
        return answer.read().decode()


def health(stage: Stage) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(asked(stage, "/health/ready"))
    return found


def metric(stage: Stage, name: str) -> dict[tuple[str, ...], float]:
    """By the labels' values, in the order of their names; empty where it is left out."""
    families = text_string_to_metric_families(asked(stage, "/metrics"))
    samples = (sample for family in families for sample in family.samples if sample.name == name)
    return {tuple(sample.labels.values()): sample.value for sample in samples}


def alerts(stage: Stage) -> set[str]:
    found = json.loads(asked(stage, "/notifications/alerts"))["results"]
    return {row["subject"] for row in found if row["eventType"] == "CHANNEL_DEGRADED" and not row["healedAt"]}


def seen(what: Callable[[], object], why: str) -> None:
    """Without starting anything that is dead."""
    wait_for(what, why, SEEN)


def test_a_beat_that_dies(stage: Stage) -> None:
    stage.world.children["beat"].send(signal.SIGKILL)
    seen(lambda: health(stage)["checks"]["beat"]["status"] == "problem", "health tells of Beat")
    assert health(stage)["status"] == "degraded"
    seen(lambda: metric(stage, "notifier_beat_age_seconds")[()] > 15, "the metric that NotifierBeatSilent goes by")
    stage.until_up()
    stage.until(lambda: health(stage)["status"] == "ok", "Beat is back", SEEN)
    assert metric(stage, "notifier_beat_age_seconds")[()] < 15


def test_a_lane_of_workers_that_dies(stage: Stage) -> None:
    """The general worker: nobody takes from the channels' queues any more; urgent ones are still told."""
    stage.worker().send_group(signal.SIGKILL)
    began = time.monotonic()
    seen(lambda: health(stage)["checks"]["workers"]["status"] == "problem", "health tells of the workers")
    assert "sms" in health(stage)["checks"]["workers"]["queuesWithoutWorker"]
    assert metric(stage, "notifier_queues_without_worker")[()] > 0
    seen(lambda: "SMS:workers" in alerts(stage), "an alert")
    assert time.monotonic() - began < SEEN
    stage.until_up()
    stage.until(lambda: health(stage)["status"] == "ok", "workers are back", SEEN)
    stage.until(lambda: not alerts(stage), "the alert healed", OVER)


def test_a_redis_that_dies(stage: Stage) -> None:
    stage.world.valkey.child.send(signal.SIGKILL)
    seen(lambda: health(stage)["checks"]["redis"]["status"] == "problem", "health tells of Redis")
    assert metric(stage, "notifier_workers") == {}  # what NotifierRedisAway goes by
    stage.until_up()
    stage.until(lambda: health(stage)["status"] == "ok", "Redis is back", SEEN)
    stage.until(lambda: metric(stage, "notifier_workers") != {}, "the metrics are back", SEEN)


def test_a_provider_that_is_away(stage: Stage) -> None:
    began = time.monotonic()
    stage.world.sandbox.fault("twilio", mode="status", status=503)
    for _ in range(12):
        stage.trigger("SMS")
    seen(lambda: metric(stage, "notifier_breaker_state")["SMS", "twilio"] == 2, "the breaker's metric")
    failed = ("SMS", "UNAVAILABLE", "twilio")
    seen(lambda: metric(stage, "notifier_attempts_total").get(failed, 0) >= 5, "the attempts' metric")
    assert time.monotonic() - began < 15
    seen(lambda: "SMS:twilio" in alerts(stage), "an alert")
    assert time.monotonic() - began < SEEN
    stage.world.sandbox.heal()
    stage.until(lambda: metric(stage, "notifier_breaker_state")["SMS", "twilio"] == 0, "the breaker closed", OVER)
    stage.until(lambda: not alerts(stage), "the alert healed", OVER)
