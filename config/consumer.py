"""What our workers and Beat do besides Celery: they come back soon after Redis, and workers say that they live."""

from __future__ import annotations

import secrets
from typing import Any

import kombu
from celery import bootsteps
from celery.app.amqp import AMQP

from notifier import liveness

# seconds between two tries to connect; kombu's own waits grow to 30, and so much longer nothing would move
RECONNECT = {"interval_start": 0.5, "interval_step": 0.5, "interval_max": 2.0}


class Connection(kombu.Connection):
    """A broker connection whose owner is back within 2 s of the broker, however long that was away."""

    def ensure_connection(self, *args: Any, **options: Any) -> Any:
        """As workers, Beat and remote control call it: without intervals of their own."""
        return super().ensure_connection(*args, **{**RECONNECT, **options})

    def maybe_close_channel(self, channel: Any) -> None:
        """Close it for good where kombu 5.7 gives up half-way.

        Closing reads a pending BRPOP first, which fails when the connection is lost. So the channel stays open, and is
        closed again when its transport is gone: then it cannot give its messages back, and the AttributeError about
        that ends the worker. The second try comes while the transport is still there, and has no BRPOP to read.
        """
        super().maybe_close_channel(channel)
        if not channel.closed:
            super().maybe_close_channel(channel)


class Broker(AMQP):
    """Makes the app's connections."""

    Connection = Connection


class Pulse(bootsteps.StartStopStep):
    """A sign of life every two seconds (notifier/liveness.py), from the first connection to the orderly end.

    It comes from the worker's event loop, so that a worker whose loop hangs counts as lost.
    """

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self.worker = f"{consumer.hostname}#{secrets.token_hex(4)}"
        self.timer: Any = None

    def start(self, consumer: Any) -> None:
        """At each connection to the broker: with the one before, Celery has dropped its timers."""
        self._rest(consumer)
        liveness.alive(self.worker)
        self.timer = consumer.timer.call_repeatedly(liveness.BEAT, liveness.alive, (self.worker,))

    def stop(self, consumer: Any) -> None:
        """Nothing: what runs in the pool is still waited for, and the worker lives until then."""

    def shutdown(self, consumer: Any) -> None:
        """At the end, when the pool is done. A worker that is killed never comes here."""
        self._rest(consumer)
        liveness.goodbye(self.worker)

    def _rest(self, consumer: Any) -> None:
        if self.timer is not None:
            consumer.timer.cancel(self.timer)
            self.timer = None
