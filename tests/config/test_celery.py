"""The Celery app as it is set up: what a setting can tell without a worker."""

from __future__ import annotations

import pytest
from kombu.exceptions import OperationalError

from config.celery import app
from config.consumer import Connection
from tests.ports import free_port


def test_reconnecting_never_waits_longer_than_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the broker was away: a worker's and Beat's connection tries at this pace."""
    monkeypatch.setattr("kombu.utils.functional.sleep", lambda seconds: None)
    waits: list[float] = []
    connection = app.connection_for_read(url=f"redis://127.0.0.1:{free_port()}/0")
    with pytest.raises(OperationalError):
        connection.ensure_connection(lambda error, wait: waits.append(wait), 40)
    assert len(waits) == 40
    assert 0 < waits[0] <= max(waits) == 2


def test_every_connection_of_the_app_reconnects_so() -> None:
    for connection in (app.connection_for_read(), app.connection_for_write(), app.connection_for_read().clone()):
        assert isinstance(connection, Connection)
