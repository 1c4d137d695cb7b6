"""What can happen to a worker, made to happen: the letters W of docs/architecture.md, and C9.

A worker killed whole is in test_chord_losses.py; one whose loop hangs in test_liveness.py.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from functools import partial

import psycopg
import pytest
from celery.exceptions import Reject
from django.conf import settings

from channels.errors import ProviderUnavailable
from config.celery import app
from notifier import tasks
from notifier.models import Attempt, Delivery
from preferences.models import User
from tests import engine, processes
from tests.integration.stage import Stage, go_on, headers, stopped_child
from tests.integration.started import Started
from tests.integration.test_chord_losses import assert_sent_once, sending
from tests.ports import free_port
from tests.sandbox_process import Sandbox

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]

Customer = Callable[..., User]
STOP_WITHIN = 10.0  # seconds for a worker with a second's work left; a deployment gives it 70


def message_ids(sandbox: Sandbox) -> list[str]:
    return [message["deliveryId"] for message in sandbox.messages()]


def test_w2_a_row_that_kills_its_worker_is_given_up(stage: Stage, sandbox: Sandbox, customer: Customer) -> None:
    """W1 as well: each time the killed child's message comes back at once, and finds the row taken."""
    poison = engine.trigger("ORDER_PACKED", customer(device="").id)
    for crash in range(1, settings.MAX_CRASHES + 1):
        stage.arm("deliver.claimed", "kill")
        stage.until(lambda: not (stage.points / "deliver.claimed").exists(), f"crash {crash}")
        processes.wait_for(stage.is_calm, "the message came back and found nothing to do")
        assert sending("IN_APP")
        engine.pass_time(settings.DELIVERY_LEASE)
    healthy = engine.trigger("ORDER_PLACED", customer(email="eve@shop.example").id)
    stage.until_settled(healthy)
    stage.until(lambda: Delivery.objects.get(event_id=poison, channel="IN_APP").status == "FAILED", "given up")
    outcomes = Attempt.objects.filter(delivery__event_id=poison, delivery__channel="IN_APP").order_by("number")
    assert list(outcomes.values_list("outcome", flat=True)) == ["UNKNOWN"] * settings.MAX_CRASHES
    assert engine.status(healthy) == "SENT"
    stage.until_settled(poison)


def test_w6_a_worker_that_is_told_to_stop(bare_stage: Stage, sandbox: Sandbox, customer: Customer) -> None:
    """T15: what runs ends, what waits goes back at once, nothing is sent twice, and it is over soon."""
    sandbox.fault("sendgrid", mode="latency", latency=1.5)
    user = customer()
    events = [engine.trigger("ORDER_PLACED", user.id, metadata={"orderId": f"ORD{n}"}) for n in range(2)]
    with bare_stage.worker("told", "--concurrency", "1", NOTIFIER_DISPATCH_BATCH="1") as told:
        bare_stage.tell("deliver", "EMAIL", [], queue="email", countdown=90)
        told.wait_until_it_says(b"notifier.deliver")
        bare_stage.until(lambda: sending("EMAIL"), "a mail on its way")
        told.send(signal.SIGTERM)
        began = time.monotonic()
        assert told.process.wait(STOP_WITHIN * 2) == 0
        assert time.monotonic() - began < STOP_WITHIN
    assert bare_stage.unacknowledged() == 0
    assert not Delivery.objects.filter(status="SENDING").exists()
    waiting = [headers(message) for messages in bare_stage.waiting().values() for message in messages]
    assert [header["task"] for header in waiting if header["eta"]] == ["notifier.deliver"]
    bare_stage.ensure_crew()
    bare_stage.until_settled(*events)
    ids = message_ids(sandbox)
    assert len(ids) == len(set(ids)) == 4
    assert set(Attempt.objects.values_list("number", "outcome")) == {(1, "ACCEPTED")}
    bare_stage.end_crew()  # it holds the message that waits


@pytest.mark.slow
def test_w8_children_that_are_replaced_lose_nothing(bare_stage: Stage, sandbox: Sandbox, customer: Customer) -> None:
    user = customer()
    events = [engine.trigger("ORDER_PLACED", user.id, metadata={"orderId": f"ORD{n}"}) for n in range(6)]
    with bare_stage.worker("short", "--max-tasks-per-child", "5", NOTIFIER_DISPATCH_BATCH="2") as short:
        first = set(short.children())
        bare_stage.until_settled(*events)
        processes.wait_for(bare_stage.is_calm, "nothing under way")
        assert not first & set(short.children())
    ids = message_ids(sandbox)
    assert len(ids) == len(set(ids)) == 12
    assert set(Attempt.objects.values_list("number", "outcome")) == {(1, "ACCEPTED")}


def one_not_among(before: list[int], worker: Started) -> bool:
    return bool(set(worker.children()) - set(before))


def test_a_child_that_ended_is_replaced_at_once(bare_stage: Stage) -> None:
    """By itself Celery often misses the end, and looks again only every 5 s."""
    with bare_stage.worker("killed") as killed:
        for _ in range(5):
            before = killed.children()
            os.kill(before[0], signal.SIGKILL)
            processes.wait_for(partial(one_not_among, before, killed), "a new child", 3)


def test_w9_connections_are_kept_and_healed(bare_stage: Stage, sandbox: Sandbox, customer: Customer) -> None:
    """One to Postgres for each child, and none more to Redis; and cut ones are replaced before the next task."""
    user = customer()
    with bare_stage.worker("counted", PGAPPNAME="counted"), psycopg.connect(processes.database_url()) as monitor:
        monitor.autocommit = True

        def sends(orders: Iterable[int]) -> None:
            events = [engine.trigger("ORDER_PLACED", user.id, metadata={"orderId": f"ORD{n}"}) for n in orders]
            bare_stage.until_settled(*events)

        def connections() -> tuple[set[int], int]:
            sessions = "SELECT pid FROM pg_stat_activity WHERE application_name = 'counted'"
            with bare_stage.client() as client:
                return {pid for (pid,) in monitor.execute(sessions)}, len(client.client_list())

        sends(range(15))
        before, to_redis = connections()
        sends(range(15, 30))
        after, to_redis_then = connections()
        assert 1 <= len(before) <= len(after) <= 2
        assert before <= after
        assert to_redis_then <= to_redis + 4  # what a child opens at its first message of a kind
        monitor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'counted'")
        sends(range(30, 36))
    assert len(set(message_ids(sandbox))) == len(message_ids(sandbox)) == 72


def test_c9_a_retry_that_cannot_be_published_goes_back() -> None:
    """Celery alone would delete the message."""
    with app.connection_for_write(url=f"redis://127.0.0.1:{free_port()}/0") as nobody:
        tasks.deliver.push_request(id="t1", args=("EMAIL", []), kwargs={}, retries=0, called_directly=False)
        try:
            with pytest.raises(Reject) as rejected:
                tasks.deliver.retry(exc=ProviderUnavailable("away"), countdown=1, connection=nobody, retry=False)
        finally:
            tasks.deliver.pop_request()
    assert rejected.value.requeue  # type: ignore[attr-defined] # the stubs do not know it


@pytest.mark.slow
def test_c9_redis_is_away_when_a_retry_is_due(stage: Stage, sandbox: Sandbox, customer: Customer) -> None:
    """T16: for longer than publishing is tried. The message is given back when Redis is; the row was due anyway."""
    sandbox.fault("sendgrid", mode="status", status=503, times=1)
    event = engine.trigger("ORDER_PLACED", recipient={"email": "guest@mail.example"})
    stage.arm("deliver.recorded", "stop")
    stage.tell("dispatch")
    stage.wait_until_hit("deliver.recorded")
    child = stopped_child(stage.crew)
    stage.valkey.kill(wipe=False)
    go_on(child)
    began = time.monotonic()
    processes.wait_for(lambda: time.monotonic() - began > 25, "publishing given up, after 19 s and a wait")
    stage.valkey.start()
    stage.valkey.wait()
    stage.until_settled(event)
    assert_sent_once(sandbox, event)
    assert list(Attempt.objects.order_by("number").values_list("outcome", flat=True)) == ["UNAVAILABLE", "ACCEPTED"]
    stage.forget_unacknowledged()
