"""What can go wrong with a chord on Redis, made to happen: the letters C of docs/architecture.md.

The oracle is the sandbox: each delivery arrives once, and each event comes to its end. No lease is waited for: the
test moves the rows' times.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from uuid import UUID

import pytest
from django.conf import settings

from channels.models import InboxMessage
from notifier.models import Attempt, Delivery, NotificationEvent
from preferences.models import Preference, User
from tests import engine, processes
from tests.integration.stage import Stage, go_on, headers, is_settled, stopped_child
from tests.sandbox_process import Sandbox

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]

Customer = Callable[..., User]
A_MOMENT = 6.0  # seconds for what must happen without the sweeper


def assert_sent_once(sandbox: Sandbox, event: UUID, status: str = "SENT") -> None:
    """The event's end, and one message for each delivery that was accepted."""
    assert engine.status(event) == status
    sent = Delivery.objects.filter(event_id=event, status="SENT")
    outside = Counter(str(id_) for id_ in sent.exclude(channel="IN_APP").values_list("id", flat=True))
    assert Counter(message["deliveryId"] for message in sandbox.messages()) == outside
    assert InboxMessage.objects.count() == sent.filter(channel="IN_APP").count()


def sending(channel: str) -> bool:
    return Delivery.objects.filter(channel=channel, status="SENDING").exists()


def end_event_leases() -> None:
    NotificationEvent.objects.update(lease_until=NotificationEvent.objects.get().recorded_at - timedelta(days=1))


@contextmanager
def redis_refusing_writes(stage: Stage) -> Iterator[None]:
    """It answers OOM to whatever would need memory."""
    with stage.client() as client:
        client.config_set("maxmemory", 1)
        try:
            yield
        finally:
            client.config_set("maxmemory", 0)


def test_c1_redis_flushed_in_mid_chord(stage: Stage, sandbox: Sandbox, customer: Customer) -> None:
    sandbox.fault("sendgrid", mode="latency", latency=1.5)
    event = engine.trigger("ORDER_PLACED", customer().id)
    stage.until(lambda: sending("EMAIL"), "a mail on its way")
    with stage.client() as client:
        client.flushdb()
    stage.until(lambda: not sending("EMAIL"), "the mail sent, though nobody counts it")
    engine.pass_time(settings.DELIVERY_LEASE)  # settle, run in vain meanwhile, looks again after it
    stage.until_settled(event)
    assert_sent_once(sandbox, event)


def test_c2_the_publisher_dies_between_two_headers(stage: Stage, sandbox: Sandbox, customer: Customer) -> None:
    event = engine.trigger("ORDER_PLACED", customer().id)
    stage.arm("publish.deliver", "stop")
    stage.tell("dispatch")
    stage.wait_until_hit("publish.deliver")
    child = stopped_child(stage.crew)
    stage.arm("publish.deliver", "kill")
    go_on(child)
    stage.wait_until_hit("publish.deliver")
    processes.wait_for(lambda: Delivery.objects.filter(status="SENT").count() == 1, "the published header done")
    processes.wait_for(stage.is_calm, "nothing under way")
    assert not is_settled(event)
    engine.pass_time(settings.EVENT_LEASE)
    stage.until_settled(event)
    assert_sent_once(sandbox, event)


def test_c3_a_part_that_redis_does_not_take(stage: Stage, sandbox: Sandbox, customer: Customer) -> None:
    """And R14: Redis answers with errors for a while, and the worker lives."""
    event = engine.trigger("ORDER_PACKED", customer(device="").id)
    stage.arm("deliver.recorded", "stop")
    stage.tell("dispatch")
    stage.wait_until_hit("deliver.recorded")
    said = stage.crew.said()
    with redis_refusing_writes(stage):
        go_on(stopped_child(stage.crew))
        stage.crew.wait_until_it_says(b"command not allowed when used memory", said)
        processes.wait_for(lambda: not stage.unacknowledged(), "the task over")
    processes.wait_for(stage.is_calm, "nothing under way")
    assert not is_settled(event)
    engine.pass_time(settings.EVENT_LEASE)
    stage.until_settled(event)
    assert_sent_once(sandbox, event)
    assert Attempt.objects.count() == 1


def test_c5_the_last_header_dies_before_it_publishes_the_body(
    stage: Stage, sandbox: Sandbox, customer: Customer
) -> None:
    event = engine.trigger("ORDER_PLACED", customer().id)
    stage.arm("publish.settle", "kill")
    stage.tell("dispatch")
    stage.wait_until_hit("publish.settle")
    processes.wait_for(stage.is_calm, "the message came back and found nothing to do")
    assert not is_settled(event)
    engine.pass_time(settings.EVENT_LEASE)
    stage.until_settled(event)
    assert_sent_once(sandbox, event)


def test_c7_a_header_dies_before_it_is_counted(stage: Stage, sandbox: Sandbox, customer: Customer) -> None:
    """The message comes back, sends nothing, and is counted: the body runs without the sweeper."""
    event = engine.trigger("ORDER_PLACED", customer().id)
    stage.arm("deliver.recorded", "kill")
    stage.tell("dispatch")
    stage.wait_until_hit("deliver.recorded")
    processes.wait_for(lambda: is_settled(event), "settled by the chord", A_MOMENT)
    assert_sent_once(sandbox, event)
    assert set(Attempt.objects.values_list("number", "outcome")) == {(1, "ACCEPTED")}


def test_c8_a_chord_outlives_every_retry_in_it(stage: Stage, sandbox: Sandbox, customer: Customer) -> None:
    sandbox.fault("sendgrid", mode="latency", latency=1.5)
    event = engine.trigger("ORDER_PLACED", customer().id)
    stage.tell("dispatch")
    processes.wait_for(lambda: sending("EMAIL"), "a mail on its way")
    with stage.client() as client:
        processes.wait_for(lambda: [*client.scan_iter("*.s")], "the chord's size")
        left = [client.ttl(key) for pattern in ("*.s", "*.t", "*.j") for key in client.scan_iter(pattern)]
    assert min(left) > 86_400
    processes.wait_for(lambda: is_settled(event), "settled by the chord", A_MOMENT)


def test_c11_c12_one_header_and_none(stage: Stage, sandbox: Sandbox, customer: Customer) -> None:
    ada, quiet = customer(device=""), customer(device="")
    Preference.objects.create(user=quiet, enabled=False)
    one, none = (engine.trigger("ORDER_PACKED", user.id) for user in (ada, quiet))
    stage.tell("dispatch")
    processes.wait_for(lambda: is_settled(one, none), "settled by their chords", A_MOMENT)
    assert (engine.status(one), engine.status(none)) == ("SENT", "SKIPPED")


def test_c14_c15_two_chords_for_one_event(bare_stage: Stage, sandbox: Sandbox, customer: Customer) -> None:
    """The first one's headers still wait when the second is published; and no header of either ever expires."""
    event = engine.trigger("ORDER_PLACED", customer().id)
    with bare_stage.worker("control", "--queues", "control", NOTIFIER_QUEUE_BOUND="8"):  # else the second is held back
        for chord in (1, 2):
            bare_stage.until(NotificationEvent.objects.filter(round=chord).exists, f"chord {chord}")
            end_event_leases()
    waiting = [headers(message) for queue in ("email", "push", "in_app") for message in bare_stage.waiting()[queue]]
    assert len(waiting) == 6
    assert {header["expires"] for header in waiting} == {None}
    bare_stage.ensure_crew()
    bare_stage.until_settled(event)
    assert_sent_once(sandbox, event)
    assert set(Attempt.objects.values_list("number", flat=True)) == {1}


def test_c17_a_header_is_cut_off_by_the_hard_limit(bare_stage: Stage, sandbox: Sandbox, customer: Customer) -> None:
    """The errback settles, and what was being sent is tried again as its lease ends."""
    event = engine.trigger("ORDER_PACKED", customer(device="").id)
    bare_stage.arm("deliver.claimed", "stop")
    with bare_stage.worker("limited", DJANGO_SETTINGS_MODULE="tests.integration.quick_settings") as limited:
        bare_stage.tell("dispatch")
        limited.wait_until_it_says(b"Hard time limit (5.0s) exceeded")
        bare_stage.until_settled(event)
    assert_sent_once(sandbox, event)
    assert list(Attempt.objects.order_by("number").values_list("outcome", flat=True)) == ["UNKNOWN", "ACCEPTED"]


def test_w3_a_worker_is_killed_with_a_mail_on_its_way(stage: Stage, sandbox: Sandbox, customer: Customer) -> None:
    """Its children die with it. That mail alone may come twice, and says so; nobody waits for the broker."""
    sandbox.fault("sendgrid", mode="latency", latency=1.5, times=1)
    event = engine.trigger("ORDER_PLACED", customer().id)
    stage.until(lambda: sending("EMAIL"), "a mail on its way")
    stage.crew.send(signal.SIGKILL)
    stage.crew.process.wait()
    stage.forget_unacknowledged()
    stage.ensure_crew()
    engine.pass_time(settings.EVENT_LEASE)
    stage.until_settled(event)
    assert engine.status(event) == "SENT"
    arrived = Counter(message["deliveryId"] for message in sandbox.messages())
    sent = Delivery.objects.exclude(channel="IN_APP").values_list("id", flat=True)
    assert set(arrived) == {str(id_) for id_ in sent}
    doubtful = Attempt.objects.filter(maybe_duplicate=True).values_list("delivery_id", flat=True)
    assert {id_ for id_, count in arrived.items() if count > 1} <= {str(id_) for id_ in doubtful}
