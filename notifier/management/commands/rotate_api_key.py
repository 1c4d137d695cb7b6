"""`manage.py rotate_api_key nk_a1B2c3 --overlap 7`: prints a key that takes the other one's place."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from notifier.models import ApiKey


class Command(BaseCommand):
    help = "Make a key that may do the same as another one, and print it, this once. The old one ends later."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("prefix", help="the old key's first characters, as the admin shows them")
        parser.add_argument("--overlap", type=int, default=7, help="days that both live; 0: the old one ends now")

    def handle(self, *_args: Any, **options: Any) -> None:
        if options["overlap"] < 0:
            raise CommandError("--overlap: 0 or more")
        found = list(ApiKey.objects.filter(prefix=options["prefix"])[:2])
        if len(found) != 1:
            raise CommandError(f"{'No' if not found else 'More than one'} API key begins with {options['prefix']!r}.")
        try:
            _, key = found[0].rotate(timedelta(days=options["overlap"]))
        except ValueError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(key)
