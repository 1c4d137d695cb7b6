"""`manage.py consume_events --bus kafka`: record what comes on a bus, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import gc
import signal
from typing import IO, Any, cast

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console

from notifier.events_in import bus as buses
from notifier.events_in.consume import Consumer
from notifier.events_in.health import Pulse, serving
from notifier.events_in.metrics import BusMetrics
from notifier.events_in.progress import Progress

WRONG_ARGUMENT = 2


class Command(BaseCommand):
    help = (
        "Record the events of a bus, each batch in one transaction, and commit it on the bus afterwards. What cannot "
        "be recorded becomes a dead letter. Start as many as you like. SIGTERM or Ctrl-C: the batch in hand is stored "
        "and committed, the group is left, and it ends with 0; with 2 when a setting is wrong. See docs/event-bus.md."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--bus", required=True, help=f"one of those that are configured: {', '.join(buses.names()) or 'none'}"
        )
        parser.add_argument(
            "--port", type=int, default=settings.BUS_PORT, help="for /health/live, /health/ready and /metrics; 0: none"
        )

    def handle(self, *_args: Any, bus: str, port: int, **_options: Any) -> None:
        stops: list[int] = []
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _frame: stops.append(number))
        gc.collect()
        gc.freeze()  # Django's objects are looked at no more: each look at them took as long as forty events
        console = Console(file=cast("IO[str]", self.stderr), highlight=False)
        metrics, pulse = BusMetrics(bus), Pulse()
        try:
            source = buses.source(bus)
            with serving(port, pulse, metrics.registry), Progress(console) as progress:
                Consumer(buses.connect(bus), source, metrics, pulse, progress).run(lambda: bool(stops))
        except ImproperlyConfigured as error:
            raise CommandError(str(error), returncode=WRONG_ARGUMENT) from error
        except buses.BusError as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            raise CommandError(f"Port {port} cannot be served: {error.strerror}.", returncode=WRONG_ARGUMENT) from error
