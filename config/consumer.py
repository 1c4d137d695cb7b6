"""What a worker's main process does besides Celery's own: it says that it lives (notifier/liveness.py).

It runs in the worker's event loop, so that a worker whose loop hangs counts as lost.
"""

from __future__ import annotations

import secrets
from typing import Any

from celery import bootsteps

from notifier import liveness


class Pulse(bootsteps.StartStopStep):
    """A sign of life every two seconds, from the worker's first connection to its orderly end."""

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self.worker = f"{consumer.hostname}#{secrets.token_hex(4)}"
        self.timer: Any = None

    def start(self, consumer: Any) -> None:
        """At each connection to the broker."""
        liveness.alive(self.worker)
        self.timer = consumer.timer.call_repeatedly(liveness.BEAT, liveness.alive, (self.worker,))

    def stop(self, consumer: Any) -> None:
        """At each loss of the connection, and at the end."""
        if self.timer is not None:
            consumer.timer.cancel(self.timer)
            self.timer = None

    def shutdown(self, consumer: Any) -> None:  # noqa: ARG002 - Celery's signature
        """At the end, when the pool is done. A worker that is killed never comes here."""
        liveness.goodbye(self.worker)
