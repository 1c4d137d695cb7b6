"""A template that is published while workers run: theirs within seconds; a broken one stops none of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from notifier import tasks
from notifier.models import Attempt, NotificationEvent, TemplateVersion
from notifier.querysets.templates import Place
from notifier.serving import REFRESH
from preferences.models import User
from tests import engine, processes
from tests.sandbox_process import Sandbox

pytestmark = [pytest.mark.processes, pytest.mark.slow, pytest.mark.django_db(transaction=True)]

SMS = Place("ORDER_SHIPPED", "SMS", "en")
URL = {"trackingUrl": "https://track.example/1"}


def publish(source: str, instead_of: int = 0) -> TemplateVersion:
    base = TemplateVersion.objects.of(SMS).count() and instead_of
    version = TemplateVersion.objects.save_draft(SMS, source, note="", author="ada", base=base)
    TemplateVersion.objects.publish(SMS, version.number, publisher="ada", instead_of=instead_of)
    return version


def told(event: UUID) -> str:
    """With what its text was rendered, once it is settled."""
    tasks.ring()
    processes.wait_for(lambda: NotificationEvent.objects.get(id=event).settled_at, "settled")
    assert engine.status(event) == "SENT"
    return Attempt.objects.get(delivery__event_id=event, delivery__channel="SMS").template


def test_workers_take_what_is_published(
    workers: dict[str, Path], sandbox: Sandbox, customer: Callable[..., User]
) -> None:
    ada = customer(device="", email="")

    def ship(number: int) -> str:
        metadata = {"orderId": f"ORD{number}", **URL}
        return told(engine.trigger("ORDER_SHIPPED", ada.id, metadata=metadata))

    assert ship(1).startswith("f:")
    good = publish("{% block text %}Good {{ order_id }}{% endblock %}")
    began, number = time.monotonic(), 1
    while ship(number := number + 1) != good.label:
        assert time.monotonic() - began < REFRESH + 3, "each worker looks every two seconds"
    bad = publish("{% block text %}Bad {{ metadata.carrier }}{% endblock %}", good.number)
    processes.wait_for(
        lambda: (
            ship(1000 + Attempt.objects.count()) == good.label
            and TemplateVersion.objects.get(number=bad.number).broken_at
        ),
        "the broken one noticed",
    )
    assert not [m for m in sandbox.messages() if m["body"].startswith("Bad")]
