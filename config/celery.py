"""The Celery app: `celery -A config worker`. Its settings are in config/celery_settings.py."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from celery import Celery
from celery.signals import (
    after_task_publish,
    beat_init,
    task_prerun,
    worker_init,
    worker_process_init,
    worker_ready,
)
from django.conf import settings
from django.db import close_old_connections, connection
from kombu.exceptions import OperationalError as BrokerError

from channels import registry, slots
from config.consumer import Broker, Pulse, Replacements, TaskEvents
from notifier import liveness
from notifier.render import precompile

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

CONNECTION_REST = 1.0  # seconds; a look costs a round trip, and a restart of PostgreSQL takes longer


@dataclass(slots=True)
class _LastTask:
    at: float = 0.0


_last_task = _LastTask()

app = Celery("notifier", amqp=Broker)
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.steps["consumer"].update({Pulse, Replacements, TaskEvents})


@worker_init.connect
def prepare(sender: Any, **_: object) -> None:
    """In the main process: a child that is replaced (W8) has it all with the fork."""
    precompile()
    slots.share(sender.concurrency if isinstance(sender.concurrency, int) else os.cpu_count() or 1)


@worker_process_init.connect
def warm_up(**_: object) -> None:
    """Do before the first message what only the first would otherwise wait for."""
    precompile()
    for name in registry.names():
        registry.get(name)


@worker_ready.connect
def warm_cache(**_: object) -> None:
    """By a task: the main process keeps no database connection. Without Redis there is no cache to fill."""
    if not settings.PEOPLE_CACHE_SECONDS:
        return
    with suppress(BrokerError):
        app.send_task("notifier.warm", queue="control", expires=60, ignore_result=True, retry=False)


@beat_init.connect
def tell_of_ticks(**_: object) -> None:
    """In Beat alone: what it publishes are ticks, and each that Redis took is a sign of its life."""
    after_task_publish.connect(_ticked)


def _ticked(**_: object) -> None:
    liveness.ticked()


@task_prerun.connect
def heal_connections(**_: object) -> None:
    """W9: the database connection outlives the tasks, so one that failed or has rested is looked at before the next."""
    rested = time.monotonic() - _last_task.at > CONNECTION_REST
    if rested or connection.errors_occurred:
        close_old_connections()
    _last_task.at = time.monotonic()
