"""Typed events become the JSON that docs/api.md describes, for each way to Notifier."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import zipfile
from datetime import UTC, date, datetime
from decimal import Decimal
from io import StringIO
from pathlib import Path
from uuid import UUID

import pytest
from django.core.management import call_command

import notifier_client.events as generated
from notifier.catalogue import event_types
from notifier.client_events import module
from notifier.trigger import parse
from notifier_client import Guest, Trigger
from notifier_client.events import FraudAlert, Item, OrderDelayed, OrderPlaced, OrderShipped
from notifier_client.payload import Event

ROOT = Path(__file__).resolve().parents[2]
ADA = UUID("01920000-0000-7000-8000-00000000000a")


def test_the_committed_events_are_those_of_the_catalogue() -> None:
    printed = StringIO()
    call_command("client_events", stdout=printed)
    path = ROOT / "notifier_client" / "events.py"
    assert path.read_text() == printed.getvalue(), "run: manage.py client_events > notifier_client/events.py"


def test_every_type_has_its_class_and_a_sample_fits_it() -> None:
    classes = {one.event_type: one for one in vars(generated).values() if _is_event(one)}
    assert classes.keys() == event_types().keys()
    for name, event_type in event_types().items():
        required = {field.name for field in dataclasses.fields(classes[name]) if _is_required(field)}
        assert len(required) == len(event_type.schema["required"])


def _is_event(one: object) -> bool:
    return isinstance(one, type) and issubclass(one, Event) and one is not Event


def _is_required(field: dataclasses.Field[object]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def test_what_must_be_given_is_asked_for() -> None:
    with pytest.raises(TypeError, match="tracking_url"):
        OrderShipped(order_id="ORD1")  # type: ignore[call-arg] # that is what is tested


def test_json_is_the_apis_and_notifier_takes_it() -> None:
    event = OrderPlaced(
        order_id="ORD1",
        items=[Item(name="Lamp", quantity=2, price=Decimal("89.00"))],
        total=Decimal("178.00"),
        currency="EUR",
        extra={"warehouse": {"id": UUID(int=1), "since": date(2026, 11, 25)}, "at": datetime(2026, 1, 2, tzinfo=UTC)},
    )
    trigger = Trigger.of(event, user_id=ADA, idempotency_key="k1")
    body = trigger.as_json()
    assert body == {
        "eventType": "ORDER_PLACED",
        "userId": str(ADA),
        "metadata": {
            "warehouse": {"id": str(UUID(int=1)), "since": "2026-11-25"},
            "at": "2026-01-02T00:00:00+00:00",
            "orderId": "ORD1",
            "items": [{"name": "Lamp", "quantity": 2, "price": "89.00"}],
            "total": "178.00",
            "currency": "EUR",
        },
        "idempotencyKey": "k1",
    }
    assert parse(body).idempotency_key == "k1"
    assert trigger.as_arguments().keys() == {"event_type", "user_id", "metadata", "idempotency_key"}


def test_a_guest_and_staff() -> None:
    guest = Trigger.of(OrderDelayed(order_id="O"), recipient=Guest(email="g@mail.example", time_zone="Europe/Berlin"))
    assert guest.as_json()["recipient"] == {"email": "g@mail.example", "timeZone": "Europe/Berlin"}
    assert parse(guest.as_json()).recipient
    assert "userId" not in Trigger.of(FraudAlert(reason="two countries")).as_json()


def test_a_key_is_made_once_for_each_trigger() -> None:
    first, second = (Trigger.of(OrderPlaced(order_id="O"), user_id=ADA) for _ in range(2))
    assert first.idempotency_key != second.idempotency_key
    assert first.as_json()["idempotencyKey"] == first.as_json()["idempotencyKey"] == first.idempotency_key


def test_what_json_cannot_hold_is_named() -> None:
    with pytest.raises(TypeError, match=r"extra\.lines\.0"):
        Trigger.of(OrderPlaced(order_id="O", extra={"lines": [object()]}), user_id=ADA)


@pytest.mark.parametrize(
    ("properties", "problem"),
    [
        ({"order_id": {"type": "string"}}, "order_id: must be in camelCase"),
        ({"extra": {"type": "string"}}, "extra: must be in camelCase"),
        ({"class": {"type": "string"}}, "class: must be in camelCase"),
        ({}, "orderId: a schema of type None"),
        ({"what": {"type": ["string", "null"]}}, "what: a schema of type"),
        ({"b": {"type": "object"}, "bs": {"type": "array", "items": {"type": "object", "required": []}}}, "B: two"),
    ],
)
def test_a_schema_without_a_python_type_is_refused(properties: dict[str, object], problem: str) -> None:
    schema = {"type": "object", "required": [] if properties else ["orderId"], "properties": properties}
    with pytest.raises(ValueError, match=problem):
        module([dataclasses.replace(event_types()["ORDER_PLACED"], schema=schema)])


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client as it is installed."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT / "notifier_client", check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_the_client_is_installed_by_itself(wheel: Path) -> None:
    """Nothing of the server's, and all that the outbox needs."""
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.partition("/")[0] for name in names} == {"notifier_client", "notifier_client-0.1.0.dist-info"}
    for part in (
        "py.typed",
        "events.py",
        "outbox/migrations/0001_initial.py",
        "outbox/management/commands/sweep_outbox.py",
    ):
        assert f"notifier_client/{part}" in names


def test_the_client_needs_neither_django_nor_the_server(wheel: Path) -> None:
    """It runs out of its wheel, where none of these can be imported."""
    program = (
        "import sys\n"
        "for name in ('django', 'celery', 'confluent_kafka', 'notifier', 'config'): sys.modules[name] = None\n"
        f"sys.path.insert(0, {str(wheel)!r})\n"
        "import notifier_client, notifier_client.events\n"
        "print(notifier_client.HttpNotifier('http://127.0.0.1:1', 'k').__class__.__name__, notifier_client.__file__)"
    )
    ran = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=False)
    assert (ran.stdout.strip(), ran.stderr) == (f"HttpNotifier {wheel}/notifier_client/__init__.py", "")
