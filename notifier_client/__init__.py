"""Tells Notifier what happened to an order. The events are in `notifier_client.events`.

Over HTTP by `HttpNotifier`; `notifier_client.over_celery` and `notifier_client.over_kafka` are the other ways, and
`notifier_client.outbox` is a Django app that tells nothing but what was committed. README.md shows each.
"""

from notifier_client.errors import NotAuthorised, NotifierError, Refused, Unavailable
from notifier_client.over_http import HttpNotifier
from notifier_client.sender import Accepted, Sender
from notifier_client.trigger import Guest, Trigger

__all__ = [
    "Accepted",
    "Guest",
    "HttpNotifier",
    "NotAuthorised",
    "NotifierError",
    "Refused",
    "Sender",
    "Trigger",
    "Unavailable",
]
