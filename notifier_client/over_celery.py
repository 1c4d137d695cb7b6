"""Notifier over Celery: its tasks by name, without its code. What is not valid becomes a dead letter there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError

from notifier_client.errors import NotifierError, Unavailable
from notifier_client.sender import Accepted, Sender
from notifier_client.trigger import Trigger

QUEUE = "events"
MANY = 500  # events a message
# about 3 s in all; the key is the same in each try
RETRIES = {"max_retries": 4, "interval_start": 0.1, "interval_step": 0.4, "interval_max": 2.0}
PATIENCE = {"socket_timeout": 5, "socket_connect_timeout": 3, "socket_keepalive": True}


class CeleryNotifier(Sender):
    """By the address of Notifier's broker (its REDIS_URL), or by a Celery app that has that broker.

    Accepted means that the broker has the message. A broker that loses its data loses what it had not handed on: the
    outbox, or HTTP, is for what must not be lost.
    """

    def __init__(self, broker: str | Celery, *, queue: str = QUEUE) -> None:
        self._app = broker if isinstance(broker, Celery) else _app(broker)
        self._queue = queue

    def send(self, trigger: Trigger) -> Accepted:
        self._publish("notifier.trigger", trigger.as_arguments())
        return Accepted(trigger.idempotency_key)

    def send_many(self, triggers: Sequence[Trigger]) -> list[Accepted | NotifierError]:
        for start in range(0, len(triggers), MANY):
            some = [trigger.as_arguments() for trigger in triggers[start : start + MANY]]
            self._publish("notifier.trigger_many", {"events": some})
        return [Accepted(trigger.idempotency_key) for trigger in triggers]

    def close(self) -> None:
        self._app.close()

    def _publish(self, task: str, arguments: Mapping[str, Any]) -> None:
        try:
            self._app.send_task(
                task,
                kwargs=dict(arguments),
                queue=self._queue,
                serializer="json",
                ignore_result=True,
                retry=True,
                retry_policy=RETRIES,
            )
        except OperationalError as error:
            raise Unavailable("Notifier's broker does not answer.") from error


def _app(broker: str) -> Celery:
    app = Celery("notifier_client", broker=broker, set_as_current=False)
    app.conf.update(broker_transport_options=PATIENCE, broker_connection_timeout=3, broker_pool_limit=10)
    return app
