"""The Celery way: the broker's messages are those that a worker of Notifier takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from celery import Celery
from django.conf import settings

from notifier.models import DeadLetter, NotificationEvent
from notifier_client import Guest, Trigger, Unavailable
from notifier_client.events import OrderPlaced, OrderShipped
from notifier_client.over_celery import CeleryNotifier
from preferences.models import User
from tests import processes
from tests.ports import free_port
from tests.sandbox_process import Sandbox

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]


def test_a_worker_records_what_was_sent(
    sandbox: Sandbox, service_account: Path, tmp_path: Path, customer: Callable[..., User]
) -> None:
    user = customer()
    many = [Trigger.of(OrderPlaced(order_id=f"O{number}"), user_id=user.id) for number in range(600)]
    guest = Trigger.of(
        OrderShipped(order_id="G", tracking_url="https://t.example/1"), recipient=Guest(email="gina@mail.example")
    )
    bad = Trigger(event_type="ORDER_LOST", metadata={})
    redis.Redis.from_url(settings.REDIS_URL).flushdb()
    command = processes.celery("worker", "--concurrency", "1", "--loglevel", "INFO", "--queues", "events")
    with processes.running({"worker": command}, processes.environment(sandbox, service_account), tmp_path):
        with CeleryNotifier(settings.REDIS_URL) as sender:
            for _ in range(2):
                assert sender.send(guest).event_id is None
            sender.send_many([*many, bad])
            alone = sender.trigger(OrderPlaced(order_id="A"), user_id=user.id)
        CeleryNotifier(Celery(broker=settings.REDIS_URL, set_as_current=False)).send(guest)
        processes.wait_for(lambda: NotificationEvent.objects.count() >= 602 and DeadLetter.objects.exists(), "recorded")
    sent = {one.idempotency_key for one in (*many, guest)} | {alone.idempotency_key}
    assert set(NotificationEvent.objects.values_list("idempotency_key", flat=True)) == sent
    assert NotificationEvent.objects.count() == 602
    assert DeadLetter.objects.get().event_type == "ORDER_LOST"


def test_no_broker_is_unavailable() -> None:
    with CeleryNotifier(f"redis://127.0.0.1:{free_port()}/0") as sender, pytest.raises(Unavailable, match="broker"):
        sender.trigger(OrderPlaced(order_id="A"), user_id="u")
