"""What a person is told of what is kept of them."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from pytest_django.fixtures import Settings

from notifier.models import ApiKey
from preferences.models import Device, Preference, SuppressedAddress, User
from tests import engine
from tests.letters import make_refused
from tests.sandbox_process import Sandbox

pytestmark = pytest.mark.django_db
KINDS = ["person", "devices", "preferences", "suppressedAddresses", "events", "inbox", "refusedTriggers"]


@pytest.fixture(autouse=True)
def _no_collected_files(settings: Settings) -> None:
    settings.WHITENOISE_AUTOREFRESH = True


@pytest.fixture
def ada(sandbox: Sandbox) -> User:
    ada = User.objects.create_user(email="ada@mail.example", phone="+4915112345678")
    Device.objects.create(user=ada, token="push-token")
    Preference.objects.create(user=ada, event_type="ORDER_PACKED", enabled=False)
    SuppressedAddress.objects.create(kind="phone", address=ada.phone, reason="OPTED_OUT")
    engine.trigger("ORDER_PLACED", ada.id)
    engine.trigger("ORDER_PLACED", recipient={"email": "ADA@mail.example"})  # as a guest
    engine.run()
    make_refused(json.dumps({"userId": str(ada.id)}).encode())
    other = User.objects.create_user(email="ben@mail.example")
    engine.trigger("ORDER_PLACED", other.id)
    return ada


def exported_by_api(user_id: Any, status: int = 200) -> Any:
    client = Client(headers={"Authorization": f"Api-Key {ApiKey.issue('shop', ['admin'])[1]}"})
    answer = client.get(f"/notifications/users/{user_id}/export")
    assert answer.status_code == status
    return answer.json()


def test_it_is_all_there(ada: User) -> None:
    told = exported_by_api(ada.id)

    assert list(told) == ["format", "exportedAt", "userId", *KINDS]
    assert told["person"]["email"] == "ada@mail.example"
    assert told["devices"][0]["token"] == "push-token"
    assert told["preferences"][0]["eventType"] == "ORDER_PACKED"
    assert told["suppressedAddresses"][0]["reason"] == "OPTED_OUT"
    assert [event["recipient"] for event in told["events"]] == [None, {"email": "ADA@mail.example"}]
    deliveries = {delivery["channel"]: delivery for delivery in told["events"][0]["deliveries"]}
    assert deliveries["EMAIL"]["attempts"][0]["outcome"] == "ACCEPTED"
    assert told["inbox"][0]["title"]
    assert json.loads(told["refusedTriggers"][0]["payload"]) == {"userId": str(ada.id)}


def test_of_nobody_there_is_nothing(db: None) -> None:
    assert exported_by_api(uuid4(), 404)["error"]["fields"] == {"userId": "No such user."}
    with pytest.raises(CommandError, match="Nothing is kept") as nobody:
        call_command("export_user", str(uuid4()))
    assert nobody.value.returncode == 2


def test_the_command_prints_the_same(ada: User, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("export_user", str(ada.id))
    printed = json.loads(capsys.readouterr().out)

    assert printed | {"exportedAt": ""} == exported_by_api(ada.id) | {"exportedAt": ""}


def test_a_file_is_the_operators_alone(ada: User, tmp_path: Path) -> None:
    file = tmp_path / "ada.json"

    call_command("export_user", "--email", "ada@mail.example", "--output", str(file))

    told = json.loads(file.read_text())
    assert (told["person"], len(told["events"])) == (None, 1)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
