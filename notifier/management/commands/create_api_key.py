"""`manage.py create_api_key NAME --scope trigger --scope read`: prints the key, alone, once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from notifier.models import ApiKey


class Command(BaseCommand):
    help = "Make an API key and print it. It is shown this once: only its hash is kept."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="who will use it")
        parser.add_argument("--scope", action="append", required=True, choices=ApiKey.SCOPES, help="repeatable")
        parser.add_argument("--source", default="", help="idempotency keys are unique within it; default: NAME")
        parser.add_argument(
            "--event-type", action="append", default=[], type=str.upper, help="it may trigger; repeatable; default: all"
        )
        parser.add_argument(
            "--network", action="append", default=[], help="it may come from, as 10.0.0.0/8; repeatable; default: any"
        )
        parser.add_argument("--days", type=int, help="until it ends; default: never")

    def handle(self, *_args: Any, **options: Any) -> None:
        if options["days"] is not None and options["days"] < 1:
            raise CommandError("--days: 1 or more")
        try:
            _, key = ApiKey.issue(
                options["name"],
                options["scope"],
                source=options["source"],
                event_types=options["event_type"],
                networks=options["network"],
                lifetime=options["days"] and timedelta(days=options["days"]),
            )
        except ValueError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(key)
