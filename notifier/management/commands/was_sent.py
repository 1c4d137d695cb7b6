"""`manage.py was_sent ORDER_ID --email ada@mail.example`: what was sent about an order to an address."""

from __future__ import annotations

from argparse import Namespace
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.table import Table

from notifier.management.person import person_of
from notifier.proof import attempts_to

NOTHING = 1


class Command(BaseCommand):
    help = (
        "Show what was sent about an order to an address, also after the person was forgotten: attempts keep a "
        "fingerprint of where they went. Ends with 1 when there is nothing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("order_id")
        parser.add_argument("--email", default="")
        parser.add_argument("--phone", default="", help="with country code")

    def handle(self, *_args: Any, **options: Any) -> None:
        self.stdout.ending = ""  # rich ends its lines itself
        person = person_of(Namespace(user_id=None, email=options["email"], phone=options["phone"]))
        addresses = [address for address in (person.email, person.phone) if address]
        found = [attempt for address in addresses for attempt in attempts_to(address, options["order_id"])]
        if not found:
            raise CommandError("Nothing was sent about this order to this address.", returncode=NOTHING)
        table = Table("When (UTC)", "Event type", "Channel", "Outcome", "Provider", "Its name for the message")
        for attempt in found:
            when = f"{attempt.started_at:%Y-%m-%d %H:%M:%S}"
            told = (attempt.delivery.event.event_type, attempt.delivery.channel, attempt.outcome, attempt.provider)
            table.add_row(when, *told, attempt.provider_message_id)
        Console(file=cast("IO[str]", self.stdout), highlight=False).print(table)
