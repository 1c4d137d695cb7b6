"""What Flower lives on costs little: a worker tells of many tasks at once, and of each."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.events import EventReceiver
from kombu import Connection

from tests import processes
from tests.chaos.servers import Valkey
from tests.integration.started import worker

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]

TASKS = 40


def test_events_of_many_tasks_are_told_together_and_none_is_missing(
    env: dict[str, str], valkey: Valkey, tmp_path: Path
) -> None:
    seen: Counter[str] = Counter()

    def count(event: dict[str, Any]) -> None:
        seen[event["type"]] += 1

    caller = Celery("caller", broker=valkey.url, set_as_current=False)
    with (
        Connection(valkey.url) as connection,
        # without heartbeats and gossip nothing else is published to all
        # and without a cache of people it sends itself no task at the start (notifier/warm.py)
        worker({**env, "NOTIFIER_CACHE_SECONDS": "0"}, tmp_path / "worker.log", "--without-heartbeat") as one,
        EventReceiver(connection, {"*": count}, app=caller).consumer_context() as subscribed,
    ):
        listening: Connection = subscribed[0]  # type: ignore[index] # the stubs take the tuple for its last part
        drained(listening)  # the subscription is in force
        before = published(valkey)
        for _ in range(TASKS):
            caller.send_task("notifier.dispatch", queue="control", ignore_result=True)
        processes.wait_for(lambda: drained(listening) and seen["task-succeeded"] == TASKS, "all were told")
        assert published(valkey) - before < TASKS
        said = one.said()
        caller.send_task("notifier.dispatch", queue="control", ignore_result=True)
        one.wait_until_it_says(b"succeeded", since=said)
        one.process.terminate()
        one.process.wait(processes.DEADLINE)
        processes.wait_for(lambda: drained(listening) and seen["task-succeeded"] == TASKS + 1, "the last one")
    assert seen["task-received"] == seen["task-started"] == TASKS + 1


def drained(connection: Connection) -> bool:
    """Takes what is there."""
    try:
        while True:
            connection.drain_events(timeout=0.1)
    except TimeoutError:
        return True


def published(valkey: Valkey) -> int:
    stats: dict[str, Any] = valkey.client().info("commandstats")
    return int(stats.get("cmdstat_publish", {}).get("calls", 0))
