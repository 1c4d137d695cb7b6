"""`manage.py erase_user USER_ID`, or `--email` and `--phone` for a guest: forget a person, and keep the proof."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from notifier import tasks
from notifier.erasure import Forgotten, batches
from notifier.management.person import add_person, person_of
from notifier.querysets.events import Person
from preferences.people import StaffError

DECLINED, NOBODY = 1, 2


class Command(BaseCommand):
    help = (
        "Forget a person: addresses, devices, choices, what messages said, guests' addresses, refused triggers, inbox. "
        "What is not sent yet is skipped. What was sent when, by which channel and about which order stays, with a "
        "fingerprint of the address. Ends with 0, with 1 when you say no, with 2 when nothing is kept of them."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add_person(parser)
        parser.add_argument("--yes", action="store_true", help="do not ask")

    def handle(self, *_args: Any, **options: Any) -> None:
        self.stdout.ending = ""  # rich ends its lines itself
        console = Console(file=cast("IO[str]", self.stdout), highlight=False)
        person = person_of(Namespace(**options))
        if not options["yes"]:
            _ask()
        try:
            total = _run(console, person)
        except StaffError as error:
            raise CommandError(str(error)) from error
        if total.skipped:
            tasks.ring()
        if total.nothing:
            raise CommandError("Nothing is kept of this person.", returncode=NOBODY)
        console.print(
            f"Forgotten: {total.events} events ({total.skipped} messages not sent any more), {total.messages} inbox "
            f"messages, {total.letters} dead letters emptied{', and the person' if total.known else ''}."
        )


def _ask() -> None:
    if not sys.stdin.isatty():
        raise CommandError("Nobody is here to be asked: give --yes.", returncode=DECLINED)
    if input("Forget this person for good? [y/N] ").strip().lower() not in {"y", "yes"}:
        raise CommandError("Nothing was forgotten.", returncode=DECLINED)


def _run(console: Console, person: Person) -> Forgotten:
    total = Forgotten()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        line = progress.add_task("Forgetting")
        for total in batches(person):
            waits = f", {len(total.waits)} being sent right now" if total.waits else ""
            progress.update(line, description=f"Forgetting: {total.events} events{waits}")
    return total
