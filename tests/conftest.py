"""What most tests need: the sandbox, channels that send to it, and people."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from pytest_django import DjangoDbBlocker
from pytest_django.fixtures import Settings

from channels import registry
from channels.testing import forget_gates
from config.providers import channels_from_environment
from notifier import health, switches, tally
from preferences.models import Device, User
from sandbox import credentials
from tests import sandbox_process
from tests.sandbox_process import Sandbox

tally.SOON = 60 * 60  # what one test counted is not written in the middle of another, which may have Redis away


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Tests that commit are cleaned up by TRUNCATE, of the history too."""
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute("ALTER TABLE preferences_change DISABLE TRIGGER keep_whole_history")
    yield
    health.close()  # a database that somebody uses cannot be dropped


@pytest.fixture(autouse=True)
def _no_switches() -> None:
    """What an earlier test paused is not believed for another second."""
    switches.forget()


@pytest.fixture
def whole_history(db: None) -> None:
    """The history refuses TRUNCATE, as it does outside tests; until the test's transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE preferences_change ENABLE TRIGGER keep_whole_history")


@pytest.fixture(scope="session")
def sandbox_session() -> Iterator[Sandbox]:
    with sandbox_process.running() as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def service_account(sandbox_session: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fcm")
    credentials.write_service_account(folder / "sandbox-service-account.json", f"{sandbox_session.url}/token")
    return folder


@pytest.fixture
def sandbox(sandbox_session: Sandbox, service_account: Path, settings: Settings) -> Iterator[Sandbox]:
    """The sandbox, empty and healthy, with settings.CHANNELS pointing to it."""
    sandbox_session.heal()
    sandbox_session.clear()
    forget_gates()
    forget_gates()  # what failed in another test
    settings.CHANNELS = channels_from_environment(
        debug=True,
        data_dir=service_account,
        sandbox_url=sandbox_session.url,
        public_url="http://127.0.0.1:8000",
        shop=settings.SHOP,
    )
    yield sandbox_session
    registry.clear()


@pytest.fixture
def customer(db: None) -> Callable[..., User]:
    """Makes a customer who can be reached by everything; fields by keyword, `device=""` for none."""

    def make(*, device: str = "device-1", **fields: Any) -> User:
        user = User.objects.create_user(**{"email": "ada@shop.example", "phone": "+4915112345678", **fields})
        if device:
            Device.objects.create(user=user, token=f"{device}-{user.id}")
        return user

    return make
