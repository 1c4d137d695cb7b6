"""The order service's list of what its orders have come to, as CSV or JSON lines: read line by line, and checked.

Files may be of any length; what is held in memory is a line, of 64 KiB at most.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from typing import Any, BinaryIO

import orjson

from notifier.catalogue import Audience, EventType, event_types

LINE_LIMIT = 64 * 1024  # bytes
ORDER_ID_LIMIT = 100  # characters
DELIMITERS = ",;\t"
REQUIRED = ("orderId", "state", "time")
GUEST = ("email", "phone", "locale", "timeZone")
_KNOWN = {name.lower(): name for name in (*REQUIRED, *GUEST, "userId", "recipient", "metadata")}

#: A state's word, in its one form -> the type that tells of it; None: nobody is to be told.
States = Mapping[str, EventType | None]


class ListError(ValueError):
    """The list cannot be read at all: its columns, or the words for its states."""


class BadLineError(ValueError):
    """A line that cannot be used. `fields` says what is wrong, by field, and never repeats an address."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {problem}" for name, problem in fields.items()))
        self.fields = dict(fields)


@dataclass(frozen=True, slots=True)
class OrderState:
    """An order has been in a state since `at`. `whom` is a trigger's userId or recipient, where the list has it."""

    line: int
    order_id: str
    state: str
    event_type: EventType
    at: datetime
    whom: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BadLine:
    """Why a line cannot be used."""

    line: int
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Untold:
    """A line with a state of which nobody is to be told."""

    line: int


Line = OrderState | BadLine | Untold


def states(own: Mapping[str, str]) -> States:
    """The words for states: each customer type's name, with and without ORDER_, and the shop's `own` (word -> type).

    An empty type: nobody is to be told of that state. Raises ListError.
    """
    found: dict[str, EventType | None] = {}
    for kind in event_types().values():
        if kind.audience is Audience.CUSTOMER:
            found |= {_word(kind.name): kind, _word(kind.name.removeprefix("ORDER_")): kind}
    for word, name in own.items():
        kinds = {kind.name: kind for kind in found.values() if kind}
        if name and name.upper() not in kinds:
            raise ListError(f"{word}: Unknown event type {name}; there are {', '.join(kinds)}.")
        found[_word(word)] = kinds[name.upper()] if name else None
    return found


def read(file: BinaryIO, words: States) -> Iterator[Line]:
    """Each line of the list, in its order; blank ones are left out. Raises ListError."""
    lines = _Lines(file)
    first = next((line for line in lines if line.strip()), "")
    if first.lstrip().startswith("{"):
        yield from (checked(number, row, words) for number, row in _json_rows(lines, first))
    elif first:
        yield from (checked(number, row, words) for number, row in _csv_rows(lines, first))


def checked(line: int, row: Any, words: States) -> Line:
    """A checked line: `row` has orderId, state, time, and where known userId or recipient, and metadata.

    Whatever else it has is metadata; email, phone, locale and timeZone are a guest's.
    """
    try:
        return _checked(line, row, words)
    except BadLineError as error:
        return BadLine(line, error.fields)


def _checked(line: int, row: Any, words: States) -> OrderState | Untold:
    if isinstance(row, BadLineError):
        raise row
    if not isinstance(row, Mapping):
        raise BadLineError({"": "Must be a JSON object."})
    _check_text(row)
    problems: dict[str, str] = {}
    order_id = _order_id(row.get("orderId"), problems)
    state, event_type = _state(row.get("state"), words, problems)
    at = _time(row.get("time"), problems)
    metadata = _metadata(row, problems)
    if problems:
        raise BadLineError(problems)
    if event_type is None:
        return Untold(line)
    return OrderState(line, order_id, state, event_type, at, _whom(row), metadata)


class _Lines:
    """A file's lines as text, of which the last one's `number` and whether it was cut are known."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.number = 0
        self.cut = False

    def __iter__(self) -> Iterator[str]:
        while raw := self.file.readline(LINE_LIMIT + 1):
            self.number += 1
            if len(raw) > LINE_LIMIT and not raw.endswith(b"\n"):
                self.cut = True
                while (rest := self.file.readline(LINE_LIMIT)) and not rest.endswith(b"\n"):
                    pass
            # what is no UTF-8 is found by _check_text
            yield raw.decode("utf-8-sig" if self.number == 1 else "utf-8", "surrogateescape")

    def was_cut(self) -> bool:
        """Was a line cut since this was asked last?"""
        cut, self.cut = self.cut, False
        return cut


def _json_rows(lines: _Lines, first: str) -> Iterator[tuple[int, Any]]:
    """(line, object), or the BadLineError in its place."""
    for text in chain([first], lines):
        if text.strip():
            row = _json(text)
            yield lines.number, _too_long() if lines.was_cut() else row


def _json(text: str) -> dict[str, Any] | BadLineError:
    try:
        return {_column(name): value for name, value in orjson.loads(text).items()}
    except (orjson.JSONDecodeError, AttributeError):
        return BadLineError({"": "Must be a JSON object on one line, in UTF-8."})


def _csv_rows(lines: _Lines, first: str) -> Iterator[tuple[int, Any]]:
    """(line, row by column), or the BadLineError in its place. A row of many lines has the number of its last."""
    delimiter = max(DELIMITERS, key=first.count)
    reader = csv.reader(chain([first], lines), delimiter=delimiter)
    try:
        header = _header(next(reader))
    except csv.Error as error:
        raise ListError(f"The first line is no CSV: {error}.") from error
    while True:
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield lines.number, BadLineError({"": f"Not CSV: {error}."})
            continue
        if lines.was_cut():
            yield lines.number, _too_long()
        elif len(values) == len(header):
            yield lines.number, dict(zip(header, values, strict=True))
        elif values:
            yield lines.number, BadLineError({"": f"{len(values)} values for {len(header)} columns."})


def _header(names: Iterable[str]) -> list[str]:
    header = [_column(name) for name in names]
    if missing := [name for name in REQUIRED if name not in header]:
        wanted = ", ".join(REQUIRED)
        raise ListError(f"The first line must name the columns {wanted}; there is no {', '.join(missing)}.")
    if twice := {name for name in header if header.count(name) > 1}:
        raise ListError(f"The first line names a column twice: {', '.join(sorted(twice))}.")
    return header


def _column(name: str) -> str:
    """order_id and "Order ID" are orderId; what is not known keeps its name, as metadata."""
    return _KNOWN.get(name.replace("_", "").replace(" ", "").lower(), name.strip())


def _too_long() -> BadLineError:
    return BadLineError({"": f"Longer than {LINE_LIMIT // 1024} KiB."})


def _check_text(row: Mapping[str, Any]) -> None:
    """One row that the database cannot take would stop its whole batch."""
    try:
        text = orjson.dumps(row)
    except TypeError as error:
        raise BadLineError({"": "Holds bytes that are no UTF-8."}) from error
    if rb"\u0000" in text:
        raise BadLineError({"": "Holds a NUL character."})


def _word(state: str) -> str:
    return state.strip().casefold().replace("-", "_").replace(" ", "_")


def _order_id(value: Any, problems: dict[str, str]) -> str:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not 0 < len(text) <= ORDER_ID_LIMIT or not text.isprintable():
        problems["orderId"] = f"Must be text of 1 to {ORDER_ID_LIMIT} printable characters." if value else "Required."
        return ""
    return text


def _state(value: Any, words: States, problems: dict[str, str]) -> tuple[str, EventType | None]:
    if not isinstance(value, str) or not value.strip():
        problems["state"] = "Required."
        return "", None
    if _word(value) not in words:
        problems["state"] = f"Unknown state {value[:40]!r}."
        return "", None
    return value.strip(), words[_word(value)]


def _time(value: Any, problems: dict[str, str]) -> datetime:
    problem = "Must be a time, as 2026-11-25T08:00:00Z; without an offset it is UTC."
    try:
        at = datetime.fromisoformat(value.strip())
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, AttributeError, OverflowError):
        problems["time"] = problem if value else "Required."
        return datetime.now(UTC)


def _metadata(row: Mapping[str, Any], problems: dict[str, str]) -> Mapping[str, Any]:
    given = row.get("metadata") or {}
    if not isinstance(given, Mapping):
        problems["metadata"] = "Must be an object."
        return {}
    others = {name: value for name, value in row.items() if name not in _KNOWN.values() and value not in ("", None)}
    return {**others, **given}


def _whom(row: Mapping[str, Any]) -> Mapping[str, Any]:
    for name in ("userId", "recipient"):
        if row.get(name):
            return {name: row[name]}
    guest = {name: row[name] for name in GUEST if row.get(name)}
    return {"recipient": guest} if guest else {}
