"""What our workers and Beat do besides Celery.

They come back soon after Redis, workers say that they live, replace their children at once, and tell Flower of many
tasks at once.
"""

from __future__ import annotations

import secrets
from typing import Any

import kombu
from celery import bootsteps
from celery.app.amqp import AMQP
from celery.worker.consumer.events import Events
from celery.worker.request import Request

from config.shown import shown
from notifier import liveness

# seconds between two tries to connect; kombu's own waits grow to 30, and so much longer nothing would move
RECONNECT = {"interval_start": 0.5, "interval_step": 0.5, "interval_max": 2.0}
REPLACED_WITHIN = 0.25  # seconds in which a worker sees that a child has ended
TOLD_WITHIN = 0.25  # seconds that task events wait for others: nobody sees it in Flower
TOLD_AT_ONCE = 500  # task events, whose number makes them go before that


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
        self._beat(consumer)
        self.timer = consumer.timer.call_repeatedly(liveness.BEAT, self._beat, (consumer,))

    def _beat(self, consumer: Any) -> None:
        """With its queues of now: remote control may add and cancel some."""
        liveness.alive(self.worker, list(consumer.app.amqp.queues.consume_from))

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


class Replacements(bootsteps.StartStopStep):
    """A child that ended is replaced at once, whether it was killed or had done its number of tasks.

    Its end wakes the main process, often before the kernel lets it be waited for: then Celery 5.7 sees to it five
    seconds later, and a message that the child was given last stands still until then.
    """

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self.timer: Any = None

    def start(self, consumer: Any) -> None:
        """At each connection to the broker: with the one before, Celery has dropped its timers."""
        self.shutdown(consumer)
        pool = getattr(consumer.pool, "_pool", None)  # none with --pool solo
        if consumer.hub and pool is not None:
            self.timer = consumer.timer.call_repeatedly(REPLACED_WITHIN, pool.maintain_pool)

    def stop(self, consumer: Any) -> None:
        """Nothing: what runs in the pool is still waited for, and a child may end meanwhile."""

    def shutdown(self, consumer: Any) -> None:
        if self.timer is not None:
            consumer.timer.cancel(self.timer)
            self.timer = None


class QuietRequest(Request):
    """What a trigger says is personal data: task events and inspection show what config/shown.py lets through."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        given = self.request_dict
        # a producer may give it another name to be shown
        self.name = given["task"]  # type: ignore[misc] # an attribute, whatever the stubs say
        self._argsrepr, self._kwargsrepr = shown(self.name, given["args"], given["kwargs"]), ""

    def info(self, safe: bool = False) -> Any:  # noqa: ARG002 - Celery's signature
        return super().info(safe=True)


class TaskEvents(bootsteps.StartStopStep):
    """Task events go out together, four times a second.

    Celery publishes them at each turn of the worker's loop, which at fifty tasks a second was nearly half of the main
    process's CPU.
    """

    requires = (Events,)

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self.is_set = False

    def start(self, consumer: Any) -> None:
        """At each connection to the broker: each has a dispatcher, and a timer, of its own."""
        dispatcher, self.is_set = consumer.event_dispatcher, False
        if consumer.hub and dispatcher.on_send_buffered:
            dispatcher.buffer_limit = TOLD_AT_ONCE
            dispatcher.on_send_buffered = lambda: self._set(consumer)

    def shutdown(self, consumer: Any) -> None:
        """At the end, when the pool is done: tell the last ones."""
        self._tell(consumer)

    def _set(self, consumer: Any) -> None:
        if not self.is_set:
            self.is_set = True
            consumer.timer.call_after(TOLD_WITHIN, self._tell, (consumer,))

    def _tell(self, consumer: Any) -> None:
        self.is_set = False
        if consumer.event_dispatcher:
            consumer.event_dispatcher.flush()
