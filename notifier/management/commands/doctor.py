"""`manage.py doctor`: what is wrong with this installation, and what to do about it."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandParser
from rich.console import Console
from rich.text import Text

from notifier.doctor import Finding, Level, examine

PROBLEMS = 1
STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "bold red"}


class Command(BaseCommand):
    help = (
        "Look at settings, PostgreSQL, Redis, workers, Beat, providers and templates: one line a check, with what to "
        "do. Changes nothing and sends nothing. Ends with 1 when there is a problem, else with 0."
    )
    requires_system_checks = []  # they are part of what is told

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="for machines: one object, when all is known")

    def handle(self, *_args: Any, **options: Any) -> None:
        self.stdout.ending = ""  # rich ends its lines itself
        console = Console(file=cast("IO[str]", self.stdout), highlight=False, soft_wrap=True)
        found = list(examine()) if options["json"] else list(_shown(console, examine()))
        worst = _worst(found)
        if options["json"]:
            self.stdout.write(json.dumps({"status": worst, "checks": [_as_json(each) for each in found]}) + "\n")
        else:
            counts = Counter(each.level for each in found)
            console.print(", ".join(f"{counts[level]} {level}" for level in Level))
        if worst == Level.PROBLEM:
            sys.exit(PROBLEMS)


def _shown(console: Console, findings: Iterable[Finding]) -> Iterable[Finding]:
    """Each as soon as it is known: a provider may take its seconds."""
    for each in findings:
        line = Text.assemble((f"{each.level:8}", STYLES[each.level]), f"{each.check}: {' '.join(each.found.split())}")
        if each.advice:
            line.append(f" → {' '.join(each.advice.split())}", style="bold")
        console.print(line)
        yield each


def _worst(findings: Iterable[Finding]) -> Level:
    levels = {each.level for each in findings}
    return next((level for level in reversed(Level) if level in levels), Level.OK)


def _as_json(finding: Finding) -> dict[str, str]:
    return {"check": finding.check, "status": finding.level, "found": finding.found, "advice": finding.advice}
