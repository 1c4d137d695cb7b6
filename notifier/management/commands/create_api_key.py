"""`manage.py create_api_key NAME --scope trigger --scope read`: prints the key, alone, once."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from notifier.models import ApiKey


class Command(BaseCommand):
    help = "Make an API key and print it. It is shown this once: only its hash is kept."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="who will use it")
        parser.add_argument("--scope", action="append", required=True, choices=ApiKey.SCOPES, help="repeatable")
        parser.add_argument("--source", default="", help="idempotency keys are unique within it; default: NAME")

    def handle(self, *_args: Any, **options: Any) -> None:
        _, key = ApiKey.issue(options["name"], options["scope"], source=options["source"])
        self.stdout.write(key)
