"""`manage.py reconcile_orders`: what an order service says of its orders, against what was recorded."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from pytest_django.fixtures import Settings

from notifier import tasks
from notifier.management.order_report import SHOWN
from notifier.models import NotificationEvent
from notifier.reconcile_orders import BATCH
from notifier.record import record
from notifier.trigger import parse
from preferences.models import User
from tests import engine
from tests.sandbox_process import Sandbox

pytestmark = pytest.mark.django_db


def ago(**time: float) -> str:
    return (datetime.now(UTC) - timedelta(**time)).isoformat()


@pytest.fixture
def ada(db: None) -> User:
    return User.objects.create_user(email="ada@mail.example", locale="de")


@pytest.fixture
def orders(tmp_path: Path) -> Callable[..., str]:
    """Writes a list of (order, state, time, more) and gives its name."""

    def write(*rows: tuple[str, str, str] | tuple[str, str, str, Mapping[str, Any]]) -> str:
        path = tmp_path / "orders.jsonl"
        named = [dict(zip(("orderId", "state", "time"), row, strict=False)) | dict(*row[3:]) for row in rows]
        path.write_bytes(b"\n".join(map(orjson.dumps, named)))
        return str(path)

    return write


def run(*arguments: str) -> tuple[int, str]:
    """The exit code, and what was printed; the lines as one."""
    out, code = io.StringIO(), 0
    try:
        call_command("reconcile_orders", *arguments, stdout=out)
    except CommandError as error:
        code = error.returncode
        out.write(str(error))
    return code, " ".join(out.getvalue().split())


def findings(*arguments: str) -> list[dict[str, Any]]:
    out = io.StringIO()
    with suppress(CommandError):  # the exit code, which `run` is for
        call_command("reconcile_orders", *arguments, "--report", "json", stdout=out)
    return [orjson.loads(line) for line in out.getvalue().splitlines()]


def told(event_type: str, order_id: str, user: User | None = None, **more: Any) -> None:
    """An event that came as it should."""
    metadata = {"orderId": order_id, "trackingUrl": "https://t.example"}
    whom = {"userId": str(user.id)} if user else {}
    record(parse({"eventType": event_type, "metadata": metadata, **whom, **more}), "shop")


def recorded(source: str = "reconcile") -> list[tuple[str, str]]:
    events = NotificationEvent.objects.filter(source=source).order_by("recorded_at", "id")
    return list(events.values_list("order_id", "event_type"))


@pytest.mark.parametrize(
    ("came", "state", "finding"),
    [
        ([], "placed", "MISSING"),
        (["ORDER_PLACED"], "placed", None),
        (["ORDER_PLACED"], "confirmed", "BEHIND"),
        (["ORDER_PLACED", "ORDER_SHIPPED"], "confirmed", None),  # overtaken: nobody needs to hear of it any more
        (["ORDER_CONFIRMED"], "placed", "BEHIND"),  # the receipt is owed whatever came later
        (["ORDER_SHIPPED"], "shipped", None),
        (["ORDER_SHIPPED"], "delivered", "BEHIND"),
        (["ORDER_DELIVERED"], "cancelled", "BEHIND"),
        (["ORDER_CANCELLED"], "shipped", None),
        (["ORDER_SHIPPED"], "delayed", "BEHIND"),
        (["ORDER_DELIVERED"], "delayed", None),
        (["ORDER_DELAYED"], "shipped", "BEHIND"),
    ],
)
def test_the_catalogue_says_what_tells_of_a_state(
    ada: User, orders: Callable[..., str], came: list[str], state: str, finding: str | None
) -> None:
    for event_type in came:
        told(event_type, "ORD1", ada)

    found = findings(orders(("ORD1", state, ago(hours=1))))

    assert [(row["finding"], row["lastEventType"]) for row in found] == (
        [(finding, came[-1] if came else "")] if finding else []
    )


def test_what_staff_were_told_tells_the_customer_nothing(orders: Callable[..., str]) -> None:
    User.objects.create_user("clerk", is_staff=True).groups.create(name="fraud")
    told("FRAUD_ALERT", "ORD1")
    assert NotificationEvent.objects.filter(order_id="ORD1").exists()

    assert [row["finding"] for row in findings(orders(("ORD1", "placed", ago(hours=1))))] == ["MISSING"]


def test_what_is_young_may_be_on_its_way_and_what_is_old_may_be_deleted(
    orders: Callable[..., str], settings: Settings
) -> None:
    listed = orders(
        ("ORD1", "placed", ago(minutes=10)), ("ORD2", "placed", ago(days=91)), ("ORD3", "placed", ago(days=89))
    )

    code, shown = run(listed)

    assert code == 1
    assert "1 │ MISSING: no event of the order was recorded" in shown
    assert "1 │ RECENT: younger than the grace period" in shown
    assert "1 │ TOO_OLD: older than what is kept" in shown
    assert [row["orderId"] for row in findings(listed, "--grace", "5")] == ["ORD1", "ORD3"]
    settings.RETENTION = timedelta(days=100)
    assert [row["orderId"] for row in findings(listed)] == ["ORD2", "ORD3"]


def test_without_record_nothing_is_written(ada: User, orders: Callable[..., str]) -> None:
    listed = orders(("ORD1", "placed", ago(hours=1), {"userId": str(ada.id)}))

    for arguments in ((), ("--dry-run",)):
        code, shown = run(listed, *arguments)
        assert (code, shown[-10:]) == (1, "1 missing.")
        assert "1 │ RECORDABLE: would be recorded with --record" in shown
    assert not NotificationEvent.objects.exists()


def test_what_is_missing_is_recorded_once_and_goes_out(
    ada: User, orders: Callable[..., str], sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    rings: list[int] = []
    monkeypatch.setattr(tasks, "ring", lambda: rings.append(1))
    told("ORDER_PLACED", "ORD2", ada)
    listed = orders(
        ("ORD1", "placed", ago(hours=1), {"userId": str(ada.id)}),
        ("ORD2", "shipped", ago(hours=1), {"trackingUrl": "https://track.example/2"}),  # whose: the ledger knows
        ("ORD3", "placed", ago(hours=1), {"email": "guest@mail.example"}),
    )

    first, again = run(listed, "--record"), run(listed, "--record")

    assert first[0] == again[0] == 0
    assert "3 │ RECORDED: recorded now" in first[1]
    assert "3 │ TOLD" in again[1]
    assert recorded() == [("ORD1", "ORDER_PLACED"), ("ORD2", "ORDER_SHIPPED"), ("ORD3", "ORDER_PLACED")]
    assert rings == [1]
    assert NotificationEvent.objects.get(order_id="ORD2", event_type="ORDER_SHIPPED").user_id == ada.id
    assert NotificationEvent.objects.filter(origin={"command": "reconcile_orders"}).count() == 3
    engine.run()
    assert {mail["to"] for mail in sandbox.messages() if mail["channel"] == "EMAIL"} == {
        "ada@mail.example",
        "guest@mail.example",
    }


def test_a_line_that_comes_twice_is_recorded_once(ada: User, orders: Callable[..., str]) -> None:
    line = ("ORD1", "placed", ago(hours=1), {"userId": str(ada.id)})

    code, _ = run(orders(line, line, (*line[:3], {**line[3], "carrier": "DHL"})), "--record")

    assert code == 0
    assert recorded() == [("ORD1", "ORDER_PLACED")]


@pytest.mark.parametrize(
    ("more", "cause"),
    [
        ({}, "userId: Give either userId or recipient."),
        ({"userId": "me"}, "userId: Must be a UUID."),
        ({"userId": str(uuid4())}, "userId: Unknown user."),
        ({"email": "nobody", "trackingUrl": "https://t.example"}, "recipient.email: Not an email address."),
        ({"email": "guest@mail.example", "trackingUrl": "ftp://x"}, "metadata.trackingUrl: Must match ^https?://."),
    ],
)
def test_what_makes_no_trigger_is_refused_with_its_cause(
    orders: Callable[..., str], more: dict[str, str], cause: str
) -> None:
    listed = orders(("ORD1", "shipped", ago(hours=1), {"trackingUrl": "https://t.example"} | more))

    for arguments in ((), ("--record",)):
        (found,) = findings(listed, *arguments)
        assert (found["outcome"], found["cause"]) == ("REFUSED", cause)
    assert run(listed, "--record")[0] == 1
    assert recorded() == []


def test_news_past_its_time_to_live_is_left_out_unless_forced(ada: User, orders: Callable[..., str]) -> None:
    listed = orders(("ORD1", "delivered", ago(hours=13), {"userId": str(ada.id)}))

    (found,) = findings(listed, "--record")

    assert (found["outcome"], found["cause"]) == (
        "EXPIRED",
        "time: Older than the time to live of ORDER_DELIVERED, 12 h.",
    )
    assert recorded() == []
    assert run(listed, "--record", "--force")[0] == 0
    assert recorded() == [("ORD1", "ORDER_DELIVERED")]


def test_the_source_is_held_to_its_event_types(ada: User, orders: Callable[..., str], settings: Settings) -> None:
    settings.SOURCES = {"reconcile": ("ORDER_PLACED",)}
    whom = {"userId": str(ada.id)}
    listed = orders(("ORD1", "placed", ago(hours=1), whom), ("ORD1", "delivered", ago(hours=1), whom))

    assert run(listed, "--record")[0] == 1
    assert [row["cause"] for row in findings(listed)] == [
        "eventType: The source 'reconcile' may trigger ORDER_PLACED only."
    ]
    assert recorded() == [("ORD1", "ORDER_PLACED")]


def test_bad_lines_are_named_and_stop_nothing(ada: User, orders: Callable[..., str]) -> None:
    told("ORDER_PLACED", "ORD1", ada)
    listed = orders(("ORD1", "packd", ago(hours=1)), ("ORD1", "placed", "yesterday"), ("ORD1", "placed", ago(hours=1)))

    code, shown = run(listed)

    assert code == 3
    assert "2 lines could not be used." in shown
    assert [(row["line"], row["cause"][:13]) for row in findings(listed)] == [
        (1, "state: Unknow"),
        (2, "time: Must be"),
    ]
    assert "1 │ TOLD" in shown


def test_nothing_missing_is_0(ada: User, orders: Callable[..., str]) -> None:
    told("ORDER_PLACED", "ORD1", ada)

    assert run(orders(("ORD1", "placed", ago(hours=1))))[0] == 0
    assert run(orders(("ORD1", "draft", ago(hours=1))), "--state", "draft=")[0] == 0
    assert run(orders()) == (0, "The list is empty.")


def test_standard_input_and_csv_both_ways(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"order_id;state;time\nORD1;bezahlt;{ago(hours=1)}\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    out = io.StringIO()

    with pytest.raises(CommandError, match=r"1 missing\."):
        call_command("reconcile_orders", "--report", "csv", "--state", "bezahlt=ORDER_CONFIRMED", stdout=out)

    (row,) = csv.DictReader(io.StringIO(out.getvalue()))
    assert (row["line"], row["orderId"], row["state"]) == ("2", "ORD1", "bezahlt")
    assert (row["eventType"], row["finding"], row["outcome"]) == ("ORDER_CONFIRMED", "MISSING", "REFUSED")


def test_a_table_shows_the_first_and_counts_the_rest(orders: Callable[..., str]) -> None:
    listed = orders(*((f"[red]{number}", "placed", ago(hours=1)) for number in range(SHOWN + 3)))

    _, shown = run(listed)

    assert "[red]49" in shown
    assert "[red]50" not in shown
    assert "… and 3 more: --report csv has all of them." in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no-such-file"], "no-such-file: No such file or directory."),
        (
            ["{list}", "--state", "paid=ORDER_LOST"],
            "--state paid: Unknown event type ORDER_LOST; there are ORDER_PLACED",
        ),
        (["{list}", "--state", "paid"], "'paid' is not WORD=TYPE, as paid=ORDER_CONFIRMED."),
        (["{list}", "--grace", "soon"], "'soon' is not a number of minutes from 0 to 43200."),
        (["{list}", "--record", "--dry-run"], "not allowed with argument"),
    ],
)
def test_a_wrong_argument_is_named(orders: Callable[..., str], arguments: list[str], message: str) -> None:
    listed = orders(("ORD1", "placed", ago(hours=1)))

    code, shown = run(*(argument.format(list=listed) for argument in arguments))

    assert code in {1, 2}  # Django's parser raises its own
    assert message in shown


def test_a_list_without_its_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_text("order,state\n1,placed\n")

    code, shown = run(str(path))

    assert code == 2
    assert "The first line must name the columns orderId, state, time; there is no orderId, time." in shown


def many(number: int) -> list[tuple[str, str, str, Mapping[str, Any]]]:
    return [(f"ORD{n}", "placed", ago(hours=1), {"email": "guest@mail.example"}) for n in range(number)]


@pytest.mark.parametrize(("arguments", "most"), [((), 2), (("--record",), 3)])
def test_a_batch_costs_a_few_queries(orders: Callable[..., str], arguments: tuple[str, ...], most: int) -> None:
    listed = orders(*many(2 * BATCH))

    with CaptureQueriesContext(connection) as queries:
        run(listed, *arguments)

    assert len(queries) <= 2 * most, [query["sql"][:80] for query in queries]


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [(OperationalError, 2, "The database is away. 1,000 lines"), (KeyboardInterrupt, 130, "Stopped. 1,000 lines")],
)
def test_what_ends_it_early_says_how_far_it_got(
    orders: Callable[..., str], error: type[BaseException], code: int, told: str
) -> None:
    asked: list[int] = []

    def fail(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        if "array_agg(DISTINCT user_id)" in str(sql):
            asked.append(1)
            if len(asked) == 2:
                raise error
        return execute(sql, params, many, context)

    listed = orders(*many(2 * BATCH))
    with connection.execute_wrapper(fail):
        ended, shown = run(listed, "--record")

    assert ended == code
    assert told in shown
    assert "1,000 recorded. Run it again: nothing is recorded twice." in shown
    assert len(recorded()) == BATCH
    assert run(listed, "--record")[0] == 0
    assert len(recorded()) == 2 * BATCH


def test_a_reader_that_goes_away_ends_it_quietly(orders: Callable[..., str]) -> None:
    listed = orders(*many(2 * BATCH))
    reader, writer = os.pipe()
    os.close(reader)

    with os.fdopen(writer, "w") as out, pytest.raises(CommandError, match="Nobody reads the report any more") as caught:
        call_command("reconcile_orders", listed, "--record", "--report", "csv", stdout=out)

    assert caught.value.returncode == 2
    assert len(recorded()) == BATCH
