"""`manage.py open_shop customers.json`: tables, and people who may order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from examples.shop.models import Customer


class Command(BaseCommand):
    help = "Make the tables and take in customers, whom Notifier knows by the same ids."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("customers", type=Path, help='JSON: [{"id", "name", "note"}, {"name", "recipient": {…}}]')

    def handle(self, *_args: Any, **options: Any) -> None:
        try:
            people = json.loads(options["customers"].read_text())
        except (OSError, ValueError) as error:
            raise CommandError(f"customers: {error}") from error
        call_command("migrate", verbosity=0)
        for person in people:
            # a guest's row is found again by the name
            key = person.get("id") or uuid5(NAMESPACE_URL, person["name"])
            values = {"name": person["name"], "note": person.get("note", ""), "guest": person.get("recipient")}
            Customer.objects.update_or_create(id=key, defaults=values)
        self.stdout.write(f"{len(people)} customers.")
