"""A process of a shop that is killed: `python -m tests.client.dying URL KEY USER AFTER_COMMIT`.

It commits one event. With AFTER_COMMIT `tests.client.dying.die` it dies between the commit and the send; with `inline`
its test kills it while it waits for Notifier's answer.
"""

from __future__ import annotations

import os
import signal
import sys

import django
from django.conf import settings
from django.db import transaction

from notifier_client.events import OrderPlaced


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    url, key, user, after_commit = sys.argv[1:]
    settings.NOTIFIER_OUTBOX = {"URL": url, "API_KEY": key, "AFTER_COMMIT": after_commit}
    django.setup()
    from notifier_client.outbox.record import record  # noqa: PLC0415 - its models need Django set up

    with transaction.atomic():
        record(OrderPlaced(order_id="ORD1"), user_id=user)


if __name__ == "__main__":
    main()
