"""A notification service as it is first written: `celery -A benchmarks.naive worker`.

A chord for each event, objects loaded and saved one by one, a provider's call with a connection of its own in each
task. No attempts, no leases, no templates, no limits. It uses the product's tables, and all else is Celery's default.
"""

from __future__ import annotations

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")  # with it, Celery sets Django up

REDIS = os.environ.get("REDIS_URL", "")
app = Celery("naive", broker=REDIS, backend=REDIS, include=["benchmarks.naive_tasks"])
app.conf.task_default_queue = "naive"
app.conf.broker_connection_retry_on_startup = True
