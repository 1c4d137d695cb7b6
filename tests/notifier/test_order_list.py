"""The order service's list, as other people's exports come: every line is read or named, and none stops the rest."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from notifier.order_list import LINE_LIMIT, BadLine, Line, ListError, OrderState, Untold, read, states

AT = datetime(2026, 11, 25, 8, tzinfo=UTC)
HEADER = "orderId,state,time\n"
GOOD = "ORD1,shipped,2026-11-25T08:00:00Z\n"


def lines(text: str | bytes, **own: str) -> list[Line]:
    data = text if isinstance(text, bytes) else text.encode()
    return list(read(io.BytesIO(data), states(own)))


def good(found: Line) -> OrderState:
    assert isinstance(found, OrderState)
    return found


def bad(found: Line) -> dict[str, str]:
    assert isinstance(found, BadLine)
    return dict(found.fields)


@pytest.mark.parametrize(
    "text",
    [
        HEADER + GOOD,
        "\ufeff" + HEADER + GOOD,
        "\n" + HEADER.replace("\n", "\r\n") + "\r\n" + GOOD.replace("\n", "\r\n"),
        "time;order_id;State\n2026-11-25T08:00:00Z;ORD1;SHIPPED",
        "Order ID\tstate\ttime\nORD1\tORDER_SHIPPED\t2026-11-25 09:00:00+01:00\n",
        'orderId,state,time\n"ORD1"," shipped ",2026-11-25T08:00\n',
        '{"orderId": "ORD1", "state": "shipped", "time": "2026-11-25T08:00:00Z"}\n',
        '\n {"order_id": "ORD1", "state": "Shipped", "time": "2026-11-25T08:00:00.000Z", "userId": null}',
    ],
    ids=["csv", "BOM", "CRLF", "semicolons", "tabs", "quotes", "json", "blanks"],
)
def test_exports_are_taken_as_they_come(text: str) -> None:
    (found,) = lines(text)
    found = good(found)

    assert (found.order_id, found.event_type.name, found.at) == ("ORD1", "ORDER_SHIPPED", AT)
    assert (found.whom, found.metadata) == ({}, {})


def test_whom_and_metadata() -> None:
    rows: list[dict[str, Any]] = [
        {"userId": "u", "email": "ada@mail.example", "carrier": "DHL"},
        {"email": "ada@mail.example", "phone": "", "locale": "de", "total": 5},
        {"recipient": {"phone": "+4915112345678"}, "metadata": {"trackingUrl": "https://t.example"}, "carrier": None},
    ]
    base = {"orderId": 17, "state": "placed", "time": "2026-11-25T08:00:00Z"}
    found = [good(line) for line in lines(b"\n".join(orjson.dumps(base | row) for row in rows))]

    assert [line.order_id for line in found] == ["17"] * 3
    assert [line.whom for line in found] == [
        {"userId": "u"},
        {"recipient": {"email": "ada@mail.example", "locale": "de"}},
        {"recipient": {"phone": "+4915112345678"}},
    ]
    assert [line.metadata for line in found] == [
        {"carrier": "DHL"},
        {"total": 5},
        {"trackingUrl": "https://t.example"},
    ]


def test_columns_that_nobody_knows_are_metadata() -> None:
    text = "orderId,state,time,trackingUrl,note,email\nORD1,shipped,2026-11-25,https://t.example,,ada@mail.example\n"

    found = good(lines(text)[0])

    assert found.metadata == {"trackingUrl": "https://t.example"}
    assert found.whom == {"recipient": {"email": "ada@mail.example"}}
    assert found.at == datetime(2026, 11, 25, tzinfo=UTC)


def test_the_shops_own_words() -> None:
    text = HEADER + "".join(f"ORD1,{word},2026-11-25T08:00:00Z\n" for word in ("Paid", "In-Transit", "draft", "placed"))

    found = lines(text, paid="ORDER_CONFIRMED", **{"in transit": "order_shipped", "DRAFT": ""})

    assert [line.event_type.name if isinstance(line, OrderState) else line for line in found] == [
        "ORDER_CONFIRMED",
        "ORDER_SHIPPED",
        Untold(4),
        "ORDER_PLACED",
    ]


@pytest.mark.parametrize("name", ["ORDER_LOST", "FRAUD_ALERT"])
def test_a_word_leads_to_a_customers_type(name: str) -> None:
    with pytest.raises(ListError, match=f"paid: Unknown event type {name}; there are ORDER_PLACED, "):
        states({"paid": name})


@pytest.mark.parametrize(
    ("line", "problems"),
    [
        ("ORD1,packd,2026-11-25", {"state": "Unknown state 'packd'."}),
        ("ORD1,fraud_alert,2026-11-25", {"state": "Unknown state 'fraud_alert'."}),
        (",,", {"orderId": "Required.", "state": "Required.", "time": "Required."}),
        ("ORD1,shipped,25.11.2026", {"time": "Must be a time, as 2026-11-25T08:00:00Z; without an offset it is UTC."}),
        ("ORD1,shipped,0001-01-01T00:00+14:00", {"time": "Must be a time"}),
        ("O" * 101 + ",shipped,2026-11-25", {"orderId": "Must be text of 1 to 100 printable characters."}),
        ("ORD\x1b[2J,shipped,2026-11-25", {"orderId": "Must be text of 1 to 100 printable characters."}),
        ("ORD1,shipped", {"": "2 values for 3 columns."}),
        ("ORD1,shipped,2026-11-25,more", {"": "4 values for 3 columns."}),
        ("ORD\0,shipped,2026-11-25", {"": "Holds a NUL character."}),
        (b"ORD\xff,shipped,2026-11-25", {"": "Holds bytes that are no UTF-8."}),
        ("ORD1,shipped," + "x" * LINE_LIMIT, {"": "Longer than 64 KiB."}),
    ],
)
def test_a_bad_line_is_named_and_the_next_one_read(line: str | bytes, problems: dict[str, str]) -> None:
    data = line if isinstance(line, bytes) else line.encode()

    first, after = lines(HEADER.encode() + data + b"\n" + GOOD.encode())

    assert first.line == 2
    assert bad(first).keys() == problems.keys()
    assert all(bad(first)[name].startswith(problem) for name, problem in problems.items())
    assert (good(after).line, good(after).order_id) == (3, "ORD1")


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[1]",
        b"7",
        b'{"orderId": "\xff"}',
        b'{"orderId": "ORD1", "state": "shipped", "time": 1764057600}',
        b'{"orderId": true, "state": "shipped", "time": "2026-11-25"}',
        b'{"orderId": "ORD1", "state": "shipped", "time": "2026-11-25", "metadata": [1]}',
        b'{"orderId": "ORD1", "state": "shipped", "time": "2026-11-25", "note": "\\u0000"}',
        b'{"note": "' + b"x" * 2 * LINE_LIMIT + b'"}',
    ],
)
def test_a_bad_json_line_is_named_and_the_next_one_read(line: bytes) -> None:
    one = b'{"orderId": "ORD1", "state": "shipped", "time": "2026-11-25T08:00:00Z"}'

    before, found, after = lines(b"\n".join([one, line, one]))

    assert (before.line, found.line, after.line) == (1, 2, 3)
    assert bad(found)
    assert good(after).order_id == "ORD1"


def test_a_quote_that_never_ends_costs_what_it_swallows_and_no_memory() -> None:
    swallowed = "ORD1,shipped,2026-11-25T08:00:00Z\n" * 20_000

    found = lines(HEADER + 'ORD1,"shipped,2026-11-25\n' + swallowed + GOOD)

    problems = [bad(line) for line in found if isinstance(line, BadLine)]
    assert problems == [{"": "Not CSV: field larger than field limit (131072)."}]
    assert good(found[-1]).line == 20_003


def test_a_row_may_have_lines_of_its_own() -> None:
    found = lines(
        'orderId,state,time,reason\nORD1,delayed,2026-11-25,"snow\nand ice"\n' + "ORD2,delayed,2026-11-25,x\n"
    )

    assert [(good(line).line, good(line).metadata["reason"]) for line in found] == [(3, "snow\nand ice"), (4, "x")]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("orderId,state\nORD1,shipped\n", "there is no time"),
        ("ORD1,shipped,2026-11-25\n", "there is no orderId, state, time"),
        ("orderId,order_id,state,time\n", "names a column twice: orderId"),
        ('"' + "x" * 200_000, "there is no orderId"),
        ('"' + "x\n" * 200_000, "The first line is no CSV"),
    ],
)
def test_a_list_without_its_columns_is_refused(text: str, told: str) -> None:
    with pytest.raises(ListError, match=told):
        lines(text)


@pytest.mark.parametrize("text", ["", "\n\n", HEADER])
def test_an_empty_list_is_empty(text: str) -> None:
    assert lines(text) == []
