"""What a provider accepted reaches the ledger, though the database connection broke while it was being sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

import pytest
from django.db import DatabaseError, connection
from pytest_django.fixtures import Settings

from channels.base import Message, Outcome
from channels.testing import RecordingProvider
from notifier.models import Attempt
from preferences.models import User
from tests import engine

pytestmark = pytest.mark.django_db(transaction=True)


class CuttingProvider(RecordingProvider):
    """Accepts, and meanwhile the database server ends our connection."""

    def send(self, messages: Sequence[Message]) -> list[Outcome]:
        with suppress(DatabaseError), connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        return super().send(messages)


def test_an_acceptance_is_written_on_a_fresh_connection(settings: Settings, customer: Callable[..., User]) -> None:
    provider = {"PROVIDER": f"{__name__}.CuttingProvider"}
    settings.CHANNELS = {"IN_APP": {"CHANNEL": "channels.in_app.InAppChannel", "PROVIDERS": [provider]}}
    event = engine.trigger("ORDER_PACKED", customer().id)
    engine.run()
    assert engine.states(event) == {"IN_APP": "SENT", "PUSH": "SKIPPED CHANNEL_DISABLED"}
    assert Attempt.objects.get().outcome == "ACCEPTED"
    assert engine.status(event) == "SENT"
