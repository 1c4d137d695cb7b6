"""`manage.py reconcile_orders orders.csv`: of which orders was nobody told? `--record` records what is missing."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentTypeError
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import InterfaceError, OperationalError
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from notifier import tasks
from notifier.management.order_report import REPORTS, row, summary
from notifier.order_list import ListError, States, read, states
from notifier.reconcile_orders import GRACE, Answer, Outcome, Report, Terms, batches

SOMETHING_MISSING, CANNOT, UNREADABLE, INTERRUPTED = 1, 2, 3, 130
LONGEST_GRACE = 30 * 24 * 60  # minutes


class Command(BaseCommand):
    help = (
        "Compare the order service's list of orders and their states with the events that were recorded, and show of "
        "which nobody was told. The list is CSV with a first line that names its columns, or JSON lines: orderId, "
        "state, time; where known also userId, or email, phone, locale, timeZone of a guest; whatever else it has is "
        "the event's metadata. A state is an event type, as ORDER_SHIPPED or shipped, or a word that --state explains. "
        "Ends with 0 when nothing is missing, with 1 when something is (and was not recorded now), with 3 when "
        "nothing is but lines could not be used, with 2 when it cannot go on, with 130 after Ctrl-C."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", nargs="?", default="-", help="the list; - or nothing: standard input")
        parser.add_argument(
            "--state",
            type=_word,
            action="append",
            default=[],
            metavar="WORD=TYPE",
            help="what the list calls a state, as paid=ORDER_CONFIRMED; draft= ignores it; repeatable",
        )
        parser.add_argument(
            "--grace",
            type=_minutes,
            default=GRACE,
            metavar="MINUTES",
            help="what is younger is not missing (default: 15)",
        )
        action = parser.add_mutually_exclusive_group()
        action.add_argument("--dry-run", action="store_true", help="only report; so it is without --record")
        action.add_argument("--record", action="store_true", help="record what is missing, once however often it runs")
        parser.add_argument("--force", action="store_true", help="also what is older than its type's time to live")
        parser.add_argument(
            "--report", choices=tuple(REPORTS), default="table", help="on standard output; json: an object a line"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        self.stdout.ending = ""  # each report ends its lines itself
        out = cast("IO[str]", self.stdout)
        terms = Terms(options["record"], options["force"], options["grace"], {"command": "reconcile_orders"})
        found, counts = REPORTS[options["report"]](out), Counter[str]()
        try:
            with _opened(options["file"]) as (file, size), _progress(size) as show:
                for report in batches(read(file, _words(options["state"])), terms):
                    _note(report, counts)
                    for finding in report.findings:
                        found.add(row(finding))
                    show(file.tell() if size else 0, counts)
        except KeyboardInterrupt as error:
            raise CommandError(_stopped("Stopped", counts), returncode=INTERRUPTED) from error
        except BrokenPipeError as error:  # as behind `| head`; what is left to be written goes nowhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
            raise CommandError(_stopped("Nobody reads the report any more", counts), returncode=CANNOT) from error
        except (OperationalError, InterfaceError) as error:
            raise CommandError(_stopped("The database is away", counts), returncode=CANNOT) from error
        except ListError as error:
            raise CommandError(str(error), returncode=CANNOT) from error
        finally:
            found.end()
        summary(Console(file=out, highlight=False) if options["report"] == "table" else Console(stderr=True), counts)
        _leave(counts)


def _note(report: Report, counts: Counter[str]) -> None:
    counts.update(report.counts)
    if report.counts[Outcome.RECORDED]:
        tasks.ring()


@contextmanager
def _progress(size: int | None) -> Iterator[Callable[[int, Counter[str]], None]]:
    """Gives a function that shows, on a terminal, how far it got: in bytes of `size`, where that is known."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("Reconciling", total=size)

        def show(done: int, counts: Counter[str]) -> None:
            text = f"{_lines(counts):,} lines, {_missing(counts):,} missing"
            progress.update(bar, completed=done, description=text)

        yield show


@contextmanager
def _opened(name: str) -> Iterator[tuple[BinaryIO, int | None]]:
    """The list, and its size in bytes where it is a file's."""
    if name == "-":
        yield sys.stdin.buffer, None
        return
    try:
        file = Path(name).open("rb")  # noqa: SIM115 - the error of opening is not that of what is done with it
    except OSError as error:
        raise CommandError(f"{name}: {error.strerror}.", returncode=CANNOT) from error
    with file:
        yield file, os.fstat(file.fileno()).st_size


def _leave(counts: Counter[str]) -> None:
    if missing := _missing(counts):
        raise CommandError(f"{missing:,} missing.", returncode=SOMETHING_MISSING)
    if counts[Answer.UNREADABLE]:
        raise CommandError(f"{counts[Answer.UNREADABLE]:,} lines could not be used.", returncode=UNREADABLE)


def _missing(counts: Counter[str]) -> int:
    return counts[Answer.MISSING] + counts[Answer.BEHIND] - counts[Outcome.RECORDED]


def _lines(counts: Counter[str]) -> int:
    return sum(counts[answer] for answer in Answer)


def _stopped(why: str, counts: Counter[str]) -> str:
    done = f"{_lines(counts):,} lines were looked at, {counts[Outcome.RECORDED]:,} recorded"
    return f"{why}. {done}. Run it again: nothing is recorded twice."


def _words(own: list[tuple[str, str]]) -> States:
    try:
        return states(dict(own))
    except ListError as error:
        raise CommandError(f"--state {error}", returncode=CANNOT) from error


def _word(text: str) -> tuple[str, str]:
    word, given, name = text.partition("=")
    if not word.strip() or not given:
        raise ArgumentTypeError(f"{text!r} is not WORD=TYPE, as paid=ORDER_CONFIRMED.")
    return word, name.strip()


def _minutes(text: str) -> timedelta:
    if not text.isdecimal() or int(text) > LONGEST_GRACE:
        raise ArgumentTypeError(f"{text!r} is not a number of minutes from 0 to {LONGEST_GRACE}.")
    return timedelta(minutes=int(text))
