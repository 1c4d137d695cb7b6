"""What `manage.py reconcile_orders` found: for people as a table, for machines as CSV or as a JSON object a line."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping
from datetime import UTC
from typing import IO, Protocol

import orjson
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from notifier.order_list import BadLine
from notifier.reconcile_orders import EXPLAINED, Finding, Outcome

SHOWN = 50  # findings of a table; what more there are is counted
COLUMNS = ("line", "orderId", "state", "time", "eventType", "finding", "lastEventType", "outcome", "cause")
WHOLE = ("State, since (UTC)", "Finding")  # columns that a narrow terminal leaves whole
OUTCOMES: Mapping[Outcome, str] = {
    Outcome.RECORDED: "recorded now",
    Outcome.RECORDABLE: "would be recorded with --record",
    Outcome.EXPIRED: "left out: older than its type's time to live; --force takes it all the same",
    Outcome.REFUSED: "left out: it makes no trigger that could be recorded",
}

Row = Mapping[str, str | int]


class Report(Protocol):
    """`add` each finding as it comes; `end` once there are no more."""

    def add(self, row: Row) -> None: ...

    def end(self) -> None: ...


class CsvReport:
    """A first line with COLUMNS, then a line a finding."""

    def __init__(self, out: IO[str]) -> None:
        self.writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        self.writer.writeheader()

    def add(self, row: Row) -> None:
        self.writer.writerow(row)

    def end(self) -> None:
        pass


class JsonReport:
    """An object a line, with COLUMNS."""

    def __init__(self, out: IO[str]) -> None:
        self.out = out

    def add(self, row: Row) -> None:
        self.out.write(orjson.dumps(row).decode() + "\n")

    def end(self) -> None:
        pass


class TableReport:
    """The first findings, and how many more there are."""

    def __init__(self, out: IO[str]) -> None:
        self.console = Console(file=out, highlight=False)
        self.table = Table("Line", "Order", *(Column(name, no_wrap=True) for name in WHOLE), "Outcome, cause")
        self.more = 0

    def add(self, row: Row) -> None:
        if self.table.row_count == SHOWN:
            self.more += 1
            return
        since = str(row["time"])[:16].replace("T", " ")
        last = row["lastEventType"] and f"after {row['lastEventType']}"
        pairs = (row["state"], since), (row["finding"], last), (row["outcome"], row["cause"])
        cells = ((row["line"],), (row["orderId"],), *pairs)
        self.table.add_row(*(_plain(*cell) for cell in cells))

    def end(self) -> None:
        if self.table.row_count:
            self.console.print(self.table)
        if self.more:
            self.console.print(f"… and {self.more:,} more: --report csv has all of them.")


REPORTS: Mapping[str, type[TableReport | CsvReport | JsonReport]] = {
    "table": TableReport,
    "csv": CsvReport,
    "json": JsonReport,
}


def row(found: Finding | BadLine) -> Row:
    """A finding by COLUMNS; it names no person."""
    cause = "; ".join(f"{name}: {problem}" if name else problem for name, problem in found.fields.items())
    if isinstance(found, BadLine):
        return {**dict.fromkeys(COLUMNS, ""), "line": found.line, "finding": "UNREADABLE", "cause": cause}
    state = found.state
    return {
        "line": state.line,
        "orderId": state.order_id,
        "state": state.state,
        "time": state.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "eventType": state.event_type.name,
        "finding": found.answer.value,
        "lastEventType": found.last,
        "outcome": found.outcome.value,
        "cause": cause,
    }


def summary(console: Console, counts: Counter[str]) -> None:
    """How many lines there were of each kind, and what became of those that are missing."""
    table = Table("Lines", "", title_justify="left")
    for name, text in (*EXPLAINED.items(), *OUTCOMES.items()):
        if counts[name]:
            table.add_row(Text(f"{counts[name]:,}", justify="right"), f"{name}: {text}")
    console.print(table if table.row_count else "The list is empty.")


def _plain(*lines: str | int) -> Text:
    """As they stand, those that are not empty: no markup, and nothing that steers the terminal."""
    shown = ["".join(letter if letter.isprintable() else "?" for letter in str(line)) for line in lines]
    return Text("\n".join(filter(None, shown)))
