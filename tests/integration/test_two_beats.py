"""Two Beats at once, as while one is replaced by another, do no harm: whatever ticks twice is claimed once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from django_celery_beat.models import PeriodicTask

from notifier.models import Attempt, NotificationEvent
from preferences.models import User
from tests import engine, processes
from tests.integration.started import started, worker
from tests.sandbox_process import Sandbox

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]

EVENTS = 20


def test_two_beats_send_once(
    env: dict[str, str], sandbox: Sandbox, customer: Callable[..., User], tmp_path: Path
) -> None:
    user = customer()
    beats = [processes.celery("beat", "--loglevel", "INFO", "--schedule", str(tmp_path / name)) for name in ("a", "b")]
    with (
        worker(env, tmp_path / "worker.log"),
        started(beats[0], env, tmp_path / "one.log") as one,
        started(beats[1], env, tmp_path / "two.log") as two,
    ):
        for beat in (one, two):
            beat.wait_until_it_says(b"Sending due task repair scan")
        for number in range(EVENTS):
            engine.trigger("ORDER_PLACED", user.id, metadata={"orderId": f"ORD{number}"})
        processes.wait_for(lambda: not NotificationEvent.objects.filter(settled_at=None).exists(), "all settled")
        assert (one.process.poll(), two.process.poll()) == (None, None)
    ids = [message["deliveryId"] for message in sandbox.messages()]
    assert len(ids) == len(set(ids)) == 2 * EVENTS
    assert set(Attempt.objects.values_list("number", "outcome")) == {(1, "ACCEPTED")}
    names = list(PeriodicTask.objects.values_list("task", flat=True))
    assert len(names) == len(set(names))
