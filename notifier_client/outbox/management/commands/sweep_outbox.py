"""`manage.py sweep_outbox`: send what waits in the outbox, once, or every few seconds until SIGTERM."""

from __future__ import annotations

import logging
import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import DatabaseError, connections

from notifier_client.outbox.sweep import Swept, delete_old, sweep

log = logging.getLogger(__name__)


class Command(BaseCommand):
    help = "Send what waits in Notifier's outbox, and delete what was sent long ago."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--every", type=float, metavar="SECONDS", help="go on, until SIGTERM or Ctrl-C")

    def handle(self, *_args: Any, **options: Any) -> None:
        if options["every"] is None:
            self._say(_sweep())
            return
        stop = threading.Event()
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, lambda *_: stop.set())
        while not stop.wait(options["every"]):
            self._try()

    def _try(self) -> None:
        try:
            swept = _sweep()
        except DatabaseError as error:
            log.error("The outbox cannot be read: %s", type(error).__name__)
            connections.close_all()
        else:
            if swept != Swept():
                self._say(swept)

    def _say(self, swept: Swept) -> None:
        self.stdout.write(
            f"{swept.sent} sent, {swept.refused} refused, {swept.put_off} put off, {swept.deleted} old ones deleted."
        )


def _sweep() -> Swept:
    swept = sweep()
    swept.deleted = delete_old()
    return swept
