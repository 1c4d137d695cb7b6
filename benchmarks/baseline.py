"""Bare Celery: `celery -A benchmarks.baseline worker`. A chord of three tasks that do nothing, and a body that does
nothing, for each event; published from a task.

All is Celery's default, but for BASELINE_IGNORES_RESULTS=1: without results, as in the product, a chord costs less.
"""

from __future__ import annotations

import os

from celery import Celery, chord

CHANNELS = 3
app = Celery("baseline", broker=os.environ.get("REDIS_URL", ""), backend=os.environ.get("REDIS_URL", ""))
app.conf.task_ignore_result = bool(os.environ.get("BASELINE_IGNORES_RESULTS"))
app.conf.task_default_queue = "baseline"
app.conf.broker_connection_retry_on_startup = True


@app.task(name="baseline.nothing")
def nothing() -> None:
    """Stands for a send."""


@app.task(name="baseline.done")
def done() -> None:
    """Stands for the settlement."""


@app.task(name="baseline.publish")
def publish(events: int) -> None:
    """A chord for each event."""
    for _ in range(events):
        chord([nothing.si() for _ in range(CHANNELS)], done.si()).apply_async()
