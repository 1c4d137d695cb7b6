"""`manage.py replay_dead_letters --channel SMS --since 2026-11-24T08:00`: send again what was lost, dry run first."""

from __future__ import annotations

import signal
import sys
from argparse import ArgumentTypeError
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from types import FrameType
from typing import IO, Any, cast
from uuid import UUID

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import InterfaceError, OperationalError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from notifier import tasks
from notifier.models import DeadLetter
from notifier.querysets.dead_letters import Filter
from notifier.replay import EXPLAINED, Report, batches, problems

WRONG_ARGUMENT, DECLINED, INTERRUPTED = 2, 1, 130
OPTIONS = {"event_types": "--type", "channels": "--channel", "until": "--until"}


@dataclass(slots=True)
class _Stop:
    """Set by Ctrl-C, and looked at after each batch."""

    asked: bool = False


class Command(BaseCommand):
    help = (
        "Send dead letters again: all open ones, or those that every option matches (a repeated option matches any of "
        "its values). Shows what would happen and asks, unless --yes. Ends with 0, with 1 when you say no, with 2 when "
        "an argument is wrong, with 130 after Ctrl-C."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--cause", action="append", default=[], help="as the list shows it; repeatable")
        parser.add_argument("--type", type=str.upper, action="append", default=[], help="event type; repeatable")
        parser.add_argument("--channel", type=str.upper, action="append", default=[], help="repeatable")
        parser.add_argument(
            "--since", type=_moment, help="written down then or later: 2026-11-24, 2026-11-24T08:00 (UTC)"
        )
        parser.add_argument("--until", type=_moment, help="written down before")
        parser.add_argument("--id", type=_uuid, action="append", help="of a dead letter; repeatable")
        parser.add_argument("--dry-run", action="store_true", help="only show what would happen")
        parser.add_argument("--force", action="store_true", help="also what is REACHED, SUPERSEDED or EXPIRED")
        parser.add_argument("--rate", type=_rate, help=f"letters a second (default: {settings.REPLAY_RATE})")
        parser.add_argument("--yes", action="store_true", help="do not ask")

    def handle(self, *_args: Any, **options: Any) -> None:
        self.stdout.ending = ""  # rich ends its lines itself
        console = Console(file=cast("IO[str]", self.stdout), highlight=False)
        wanted = _filter(options)
        if not options["dry_run"] and not options["yes"] and not sys.stdin.isatty():
            raise CommandError("Nobody is here to be asked: give --yes, or --dry-run.", returncode=WRONG_ARGUMENT)
        force: bool = options["force"]
        if options["dry_run"] or not options["yes"]:
            planned = _run(console, "Looking", wanted, force=force, dry_run=True)
            _show(console, planned, "would be sent again", force=force)
            if options["dry_run"] or not planned.replayed:
                return
            if not _agreed(planned, options["rate"]):
                raise CommandError("Nothing was sent again.", returncode=DECLINED)
        done = _run(console, "Replaying", wanted, force=force, dry_run=False, rate=options["rate"])
        _show(console, done, "will be sent again", force=force)


def _run(
    console: Console, title: str, wanted: Filter, *, force: bool, dry_run: bool, rate: float | None = None
) -> Report:
    """Batch by batch; Ctrl-C ends it after the one in hand."""
    total = Report()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with _stopping() as stop, Progress(*columns, console=console) as progress:
        bar = progress.add_task(title, total=DeadLetter.objects.matching(wanted))
        try:
            for report in batches(wanted, force=force, dry_run=dry_run, rate=rate):
                total.add(report)
                progress.update(bar, completed=total.looked_at)
                if report.replayed and not dry_run:
                    tasks.ring()
                if stop.asked:
                    break
        except (OperationalError, InterfaceError) as error:
            raise CommandError(f"The database is away. {_stopped(total, dry_run=dry_run)}") from error
    if stop.asked:
        raise CommandError(_stopped(total, dry_run=dry_run), returncode=INTERRUPTED)
    return total


def _stopped(total: Report, *, dry_run: bool) -> str:
    if dry_run:
        return "Stopped. Nothing was sent again."
    return (
        f"Stopped after {total.replayed} of them; these will be sent. "
        "Run the same command again for the rest: what was replayed is closed."
    )


@contextmanager
def _stopping() -> Iterator[_Stop]:
    stop = _Stop()

    def note(_number: int, _frame: FrameType | None) -> None:
        stop.asked = True

    before = signal.signal(signal.SIGINT, note)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def _show(console: Console, report: Report, going: str, *, force: bool) -> None:
    table = Table("Dead letters", "", title_justify="left")
    table.add_row(str(report.replayed), going + (", forced" if force else ""))
    for reason, number in report.left_out.most_common():
        table.add_row(str(number), f"left out, {reason}: {EXPLAINED[reason]}")
    console.print(table)


def _agreed(planned: Report, rate: float | None) -> bool:
    seconds = planned.replayed / (rate or settings.REPLAY_RATE)
    answer = input(f"Send {planned.replayed} again, spread over {seconds:.0f} s? [y/N] ")
    return answer.strip().lower() in {"y", "yes"}


def _filter(options: dict[str, Any]) -> Filter:
    wanted = Filter(
        ids=options["id"],
        causes=options["cause"],
        event_types=options["type"],
        channels=options["channel"],
        since=options["since"],
        until=options["until"],
    )
    if found := problems(wanted):
        wrong = "\n".join(f"{OPTIONS[name]}: {problem}" for name, problem in found.items())
        raise CommandError(wrong, returncode=WRONG_ARGUMENT)
    return wanted


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        problem = f"{text!r} is no date or time; write it as 2026-11-24 or 2026-11-24T08:00 (UTC)."
        raise ArgumentTypeError(problem) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} is not a dead letter's id.") from error


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise ArgumentTypeError(f"{text!r} is not a number above 0.")
    return rate
