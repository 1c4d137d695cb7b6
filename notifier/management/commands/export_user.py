"""`manage.py export_user USER_ID`: all that is kept of a person, as JSON on standard output or in a file."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path
from typing import Any

import orjson
from django.core.management.base import BaseCommand, CommandError, CommandParser

from notifier.export import export, holds_nothing
from notifier.management.person import add_person, person_of

NOBODY = 2


class Command(BaseCommand):
    help = "Write down all that is kept of a person, as JSON. Ends with 2 when that is nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        add_person(parser)
        parser.add_argument(
            "--output", type=Path, metavar="FILE", help="instead of standard output; only you may read it"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        exported = export(person_of(Namespace(**options)))
        if holds_nothing(exported):
            raise CommandError("Nothing is kept of this person.", returncode=NOBODY)
        text = orjson.dumps(exported, option=orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z).decode()
        if options["output"] is None:
            self.stdout.write(text)
            return
        with open(options["output"], "w", encoding="utf-8", opener=_private) as file:
            file.write(text + "\n")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
