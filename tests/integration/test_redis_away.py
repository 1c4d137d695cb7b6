"""Redis goes and comes back, with its data or empty: what was recorded meanwhile goes out within 10 s of its return."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from notifier.models import Delivery, NotificationEvent
from preferences.models import User
from tests import engine, processes
from tests.chaos.servers import Valkey
from tests.integration.started import started, worker
from tests.sandbox_process import Sandbox

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]

RECORDED = 20


def all_settled() -> bool:
    return not NotificationEvent.objects.filter(settled_at=None).exists()


@pytest.mark.parametrize(
    ("wipe", "beat_says"),
    [
        pytest.param(False, b"", id="for seconds, with its data"),
        # publishing gives up after 19 s
        pytest.param(True, b"Message Error", id="for long, empty", marks=pytest.mark.slow),
    ],
)
def test_work_goes_on_within_ten_seconds_of_the_return(
    env: dict[str, str],
    valkey: Valkey,
    sandbox: Sandbox,
    customer: Callable[..., User],
    tmp_path: Path,
    wipe: bool,
    beat_says: bytes,
) -> None:
    user = customer()
    ticking = processes.celery("beat", "--loglevel", "INFO", "--schedule", str(tmp_path / "beat"))
    with worker(env, tmp_path / "worker.log") as one, started(ticking, env, tmp_path / "beat.log") as beat:
        engine.trigger("ORDER_PLACED", user.id)
        processes.wait_for(all_settled, "an event settled before")
        sandbox.fault("sendgrid", mode="latency", latency=1, times=1)
        engine.trigger("ORDER_PLACED", user.id, metadata={"orderId": "in flight"})
        processes.wait_for(Delivery.objects.filter(channel="EMAIL", status="SENDING").exists, "a mail on its way")
        valkey.kill(wipe=wipe)
        for number in range(RECORDED):
            engine.trigger("ORDER_PLACED", user.id, metadata={"orderId": f"ORD{number}"})
        one.wait_until_it_says(b"Trying again in 2.00 seconds")
        beat.wait_until_it_says(beat_says)
        valkey.start()
        valkey.wait()
        processes.wait_for(all_settled, "what was recorded meanwhile settled", 10)
    ids = [message["deliveryId"] for message in sandbox.messages()]
    assert len(ids) == len(set(ids)) == 2 * (RECORDED + 2)  # mail and push
