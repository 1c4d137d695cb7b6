"""Celery on Redis made honest: each setting with the failure it answers (docs/reliability.md names them by letter)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from kombu import Queue

SWEEP_EVERY = timedelta(seconds=5)
DUE_EVERY = timedelta(seconds=1)
RETENTION_EVERY = timedelta(hours=1)
WATCH_EVERY = timedelta(seconds=10)
SYNTHETIC_EVERY = timedelta(minutes=1)


def transport_options(visibility_timeout: timedelta) -> dict[str, Any]:
    """Of the broker's connection."""
    return {
        "visibility_timeout": visibility_timeout.total_seconds(),  # R2: a killed worker's messages come back after it
        "unacked_restore_interval": 5,  # R3: looked for every 5 s …
        "unacked_restore_throttle": 1,  # … each time, instead of about every 100 s
        "unacked_mutex_expire": 30,  # R3: a worker killed while restoring blocks the others no longer than this
        # R10: a publisher never hangs. And R9: who waits for a Redis that hangs is back 5 + 2 s after it
        "socket_timeout": 5,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 10,  # R9: a half-open connection is noticed
        "max_connections": 50,  # R16: ten, the default, raises under threads
        "queue_order_strategy": "round_robin",  # R7: no queue starves within one worker
    }


def celery_settings(
    *,
    redis_url: str,
    channels: Iterable[str],
    soft: timedelta,
    hard: timedelta,
    visibility_timeout: timedelta,
    task_events: bool = True,
) -> dict[str, Any]:
    """settings.CELERY_*, for Django's namespace."""
    queues = ("events", "control", "urgent", *(channel.lower() for channel in channels))
    seconds = visibility_timeout.total_seconds()
    return {
        "CELERY_BROKER_URL": redis_url,
        "CELERY_RESULT_BACKEND": redis_url,
        "CELERY_BROKER_TRANSPORT_OPTIONS": transport_options(visibility_timeout),
        "CELERY_VISIBILITY_TIMEOUT": seconds,  # R2: the documentation asks for it in all three places
        "CELERY_RESULT_BACKEND_TRANSPORT_OPTIONS": {"visibility_timeout": seconds, "retry_policy": {"timeout": 5.0}},
        "CELERY_BROKER_CONNECTION_TIMEOUT": 4,
        "CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP": True,
        "CELERY_BROKER_CONNECTION_MAX_RETRIES": None,  # R15: a worker never gives the broker up
        "CELERY_BROKER_CHANNEL_ERROR_RETRY": True,  # R14: READONLY, MISCONF and OOM answers end no worker
        "CELERY_BROKER_POOL_ACQUIRE_TIMEOUT": 5,  # R10: None would block for ever
        "CELERY_TASK_PUBLISH_RETRY_POLICY": {  # C9: rides over a restart of Redis, for 19 s; the web process does not
            "max_retries": 12,
            "interval_start": 0,
            "interval_step": 0.5,
            "interval_max": 2,
        },
        "CELERY_TASK_ACKS_LATE": True,  # C5: the message outlives its worker
        "CELERY_TASK_REJECT_ON_WORKER_LOST": True,  # W1: a killed child's message goes back at once …
        "CELERY_WORKER_LOST_WAIT": 2,  # … not after ten seconds
        # W2: the rows count crashes. A retry instead of the message would use up one of the chord's two, publish from
        # the worker's event loop, and after the last break the chord
        "CELERY_TASK_RETRY_ON_WORKER_LOST": False,
        "CELERY_TASK_ACKS_ON_FAILURE": True,  # W4: False deletes the message on Redis …
        "CELERY_TASK_ACKS_ON_TIMEOUT": True,  # W4: … and here puts it back at once, in a hot loop
        "CELERY_TASK_SOFT_TIME_LIMIT": soft.total_seconds(),
        "CELERY_TASK_TIME_LIMIT": hard.total_seconds(),
        "CELERY_WORKER_PREFETCH_MULTIPLIER": 1,  # R6: no worker hoards while another idles
        "CELERY_WORKER_DISABLE_PREFETCH": False,  # R6: too young, its reconnecting was mended only lately
        "CELERY_WORKER_ETA_TASK_LIMIT": 500,  # R5
        "CELERY_WORKER_DEDUPLICATE_SUCCESSFUL_TASKS": False,  # C6: True loses chord parts
        "CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS": False,  # W7: it would cut calls in flight
        # W6: SIGTERM stays Celery's warm stop, which the hard limit bounds and which ends with the last running task.
        # These two are for SIGQUIT (and a second Ctrl-C), which sleeps for so long in any case
        "CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT": 25,  # W6: what is running may end
        "CELERY_WORKER_ENABLE_SOFT_SHUTDOWN_ON_IDLE": True,  # W6: fetched and waiting messages go back
        "CELERY_WORKER_MAX_TASKS_PER_CHILD": 10_000,  # W8: minutes under load; a message waits for each
        "CELERY_WORKER_MAX_MEMORY_PER_CHILD": 400_000,  # W8: in KiB; 145,000 is usual
        "CELERY_WORKER_PROC_ALIVE_TIMEOUT": 30,  # a child that starts on a busy machine is not killed after four
        "CELERY_WORKER_SEND_TASK_EVENTS": task_events,  # Flower lives on them
        "CELERY_TASK_SEND_SENT_EVENT": False,  # it would cost every publisher as much again as the message
        "CELERY_WORKER_HIJACK_ROOT_LOGGER": False,
        "CELERY_TASK_IGNORE_RESULT": True,  # C7: on Redis the chord still counts, and three commands a task are saved
        "CELERY_RESULT_EXPIRES": 3600,
        "CELERY_RESULT_CHORD_EXPIRES": 172_800,  # C8: outlives every retry in a chord
        "CELERY_RESULT_CHORD_JOIN_TIMEOUT": 10,  # C5: the claim outlives the slowest publishing of a body
        "CELERY_RESULT_BACKEND_ALWAYS_RETRY": True,
        "CELERY_RESULT_BACKEND_MAX_RETRIES": 10,  # without an end it would block the worker
        "CELERY_REDIS_SOCKET_TIMEOUT": 5,
        "CELERY_REDIS_SOCKET_CONNECT_TIMEOUT": 5,
        "CELERY_REDIS_SOCKET_KEEPALIVE": True,
        "CELERY_REDIS_RETRY_ON_TIMEOUT": True,  # C3: the chord's script may run twice
        "CELERY_REDIS_BACKEND_HEALTH_CHECK_INTERVAL": 10,
        "CELERY_TASK_SERIALIZER": "json",
        "CELERY_ACCEPT_CONTENT": ["json"],
        "CELERY_TIMEZONE": "UTC",
        "CELERY_TASK_CREATE_MISSING_QUEUES": False,  # a misspelt queue is an error, not a list that nobody reads
        "CELERY_TASK_DEFAULT_QUEUE": "control",  # what no route names; deliver is told its queue by dispatch
        "CELERY_TASK_ROUTES": {f"notifier.{name}": {"queue": "events"} for name in ("trigger", "trigger_many")},
        "CELERY_TASK_QUEUES": [Queue(name, routing_key=name) for name in queues],
        "CELERY_DB_REUSE_MAX": 1_000_000,  # W9: keep the connection across tasks; config/celery.py heals it
        "CELERY_BEAT_SCHEDULER": "django_celery_beat.schedulers:DatabaseScheduler",
        "CELERY_BEAT_MAX_LOOP_INTERVAL": 1,
        # Beat writes this into its tables at start
        "CELERY_BEAT_SCHEDULE": {
            "due scan": _every(DUE_EVERY, "notifier.dispatch"),
            "repair scan": _every(SWEEP_EVERY, "notifier.sweep"),
            "watch": _every(WATCH_EVERY, "notifier.watch"),
            "synthetic customer": _every(SYNTHETIC_EVERY, "notifier.synthetic"),
            "retention": _every(RETENTION_EVERY, "notifier.retention"),
        },
    }


def _every(interval: timedelta, task: str) -> dict[str, Any]:
    # a tick that nobody took in time is worthless: the next one is on its way
    return {"task": task, "schedule": interval, "options": {"queue": "control", "expires": interval.total_seconds()}}
