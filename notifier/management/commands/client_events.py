"""`manage.py client_events > events.py`: the catalogue as typed events, for services that use notifier_client."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from notifier.catalogue import event_types
from notifier.client_events import module


class Command(BaseCommand):
    help = "Print the event catalogue as a Python module of typed events, for callers that use notifier_client."

    def handle(self, *_args: Any, **_options: Any) -> None:
        try:
            source = module(event_types().values())
        except ValueError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(source, ending="")
