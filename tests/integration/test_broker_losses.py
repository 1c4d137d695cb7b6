"""What can go wrong with Redis as a broker, made to happen: the letters R of docs/architecture.md.

Publishing with Redis away (R10) is in tests/notifier/test_doorbell.py, its append-only file (R12) in tests/deploy,
its return (R8, R15) in test_redis_away.py, what only a setting tells in tests/config/test_celery.py.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from uuid import UUID

import pytest
from django.conf import settings

from notifier import tasks
from notifier.models import Attempt, Delivery, NotificationEvent
from preferences.models import User
from tests import engine, processes
from tests.integration.stage import Stage, is_settled
from tests.integration.test_chord_losses import assert_sent_once
from tests.ports import free_port
from tests.sandbox_process import Sandbox

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]

Customer = Callable[..., User]
QUICK = "tests.integration.quick_settings"


def test_r1_a_message_taken_out_and_lost(bare_stage: Stage, sandbox: Sandbox, customer: Customer) -> None:
    """As by a worker killed between BRPOP and its note of what is unacknowledged."""
    event = engine.trigger("ORDER_PLACED", customer().id)
    with bare_stage.worker("control", "--queues", "control"):
        bare_stage.until(lambda: len(bare_stage.waiting()) >= 3, "three headers waiting")
    with bare_stage.client() as client:
        client.delete("email")
    bare_stage.ensure_crew()
    processes.wait_for(lambda: Delivery.objects.filter(status="SENT").count() == 2, "the others sent")
    processes.wait_for(bare_stage.is_calm, "nothing under way")
    assert not is_settled(event)
    engine.pass_time(settings.EVENT_LEASE)
    bare_stage.until_settled(event)
    assert_sent_once(sandbox, event)


def test_r2_r3_another_worker_takes_over_what_a_killed_one_held(
    bare_stage: Stage, sandbox: Sandbox, customer: Customer
) -> None:
    """After the visibility timeout and one look, though its killed restorer held the lock; no lease helps here."""
    event = engine.trigger("ORDER_PACKED", customer(device="").id)
    bare_stage.arm("deliver.recorded", "stop")
    with bare_stage.worker("killed", DJANGO_SETTINGS_MODULE=QUICK) as killed:
        bare_stage.tell("dispatch")
        bare_stage.wait_until_hit("deliver.recorded")
        killed.kill_group()
    assert bare_stage.unacknowledged() == 1
    with bare_stage.worker("heir", DJANGO_SETTINGS_MODULE=QUICK):
        processes.wait_for(lambda: is_settled(event), "settled by the chord", 25)
    assert_sent_once(sandbox, event)
    assert Attempt.objects.count() == 1


@pytest.mark.slow
def test_r4_a_wait_longer_than_the_visibility_timeout(bare_stage: Stage, sandbox: Sandbox, customer: Customer) -> None:
    """T9: the message comes back while it waits, so several run; the claim lets one send."""
    event = engine.trigger("ORDER_PLACED", customer().id)
    ids = [str(id_) for id_ in _planned(bare_stage, event, "email")]
    with (
        bare_stage.worker("one", DJANGO_SETTINGS_MODULE=QUICK) as one,
        bare_stage.worker("two", DJANGO_SETTINGS_MODULE=QUICK) as two,
    ):
        bare_stage.tell("deliver", "EMAIL", ids, queue="email", countdown=20)
        done = b"notifier.deliver"
        processes.wait_for(
            lambda: sum(w.log.read_bytes().count(done) for w in (one, two)) >= 4 and bare_stage.is_calm(),
            "received more than once, and done",
        )
        bare_stage.until_settled(event)
    assert_sent_once(sandbox, event)


def _planned(stage: Stage, event: UUID, *dropped: str) -> list[UUID]:
    """Plan the event's first round, and lose these headers; the ids of the deliveries they were for."""
    with stage.worker("control", "--queues", "control"):
        stage.until(lambda: stage.waiting().keys() >= set(dropped), "headers waiting")
    with stage.client() as client:
        client.delete(*dropped)
    channels = [queue.upper() for queue in dropped]
    return list(Delivery.objects.filter(event_id=event, channel__in=channels).values_list("id", flat=True))


def test_t10_every_message_up_to_five_times_in_any_order(
    bare_stage: Stage, sandbox: Sandbox, customer: Customer
) -> None:
    """R11 as well: what was published twice. From two workers at once, one call each reaches the provider."""
    user, shuffled = customer(), random.Random(10)
    events = [engine.trigger("ORDER_PLACED", user.id, metadata={"orderId": f"ORD{n}"}) for n in range(4)]
    with bare_stage.worker("control", "--queues", "control", NOTIFIER_DISPATCH_BATCH="1"):
        bare_stage.until(lambda: not NotificationEvent.objects.filter(status="QUEUED").exists(), "all dispatched")
    with bare_stage.client() as client:
        for queue, messages in bare_stage.waiting().items():
            many = [message for message in messages for _ in range(shuffled.randint(1, 5))]
            shuffled.shuffle(many)
            client.delete(queue)
            client.rpush(queue, *many)
    with bare_stage.worker("one"), bare_stage.worker("two"):
        bare_stage.until_settled(*events)
        # not "acknowledged": copies share their tag, and rarely one leaves a note that the visibility timeout ends
        processes.wait_for(lambda: not bare_stage.waiting(), "every copy taken")
    bare_stage.forget_unacknowledged()
    ids = [message["deliveryId"] for message in sandbox.messages()]
    assert len(ids) == len(set(ids)) == 8
    assert set(Attempt.objects.values_list("number", "outcome")) == {(1, "ACCEPTED")}


def test_r13_bindings_lost(stage: Stage, sandbox: Sandbox, customer: Customer) -> None:
    """Messages find their queue by its name; the table that a flush takes along is not looked at."""
    with stage.client() as client:
        client.delete(*client.scan_iter("_kombu.binding.*"))
    event = engine.trigger("ORDER_PLACED", customer().id)
    stage.until_settled(event)
    assert_sent_once(sandbox, event)


def test_r14_redis_is_read_only_for_a_while(stage: Stage, sandbox: Sandbox, customer: Customer) -> None:
    """As after a failover. Its workers log errors and live; memory that is full is test_chord_losses.py's C3."""
    events = [engine.trigger("ORDER_PLACED", customer().id)]
    stage.until_settled(*events)
    said = stage.crew.said()
    with stage.client() as client:
        client.replicaof("127.0.0.1", str(free_port()))
        stage.crew.wait_until_it_says(b"read only replica", said)
        events.append(engine.trigger("ORDER_PLACED", customer().id, metadata={"orderId": "ORD2"}))
        client.replicaof("NO", "ONE")
    stage.until_settled(*events)
    stage.forget_unacknowledged()  # the acknowledgement that was refused
    ids = [message["deliveryId"] for message in sandbox.messages()]
    assert len(ids) == len(set(ids)) == 4


@pytest.mark.slow
def test_r9_redis_hangs_half_open(stage: Stage, sandbox: Sandbox, customer: Customer) -> None:
    """T8: it accepts and says nothing, so that nobody notices by itself. Work goes on within 10 s of its return."""
    event = engine.trigger("ORDER_PLACED", customer().id)
    stage.valkey.child.send(signal.SIGSTOP)
    hung = time.monotonic()
    processes.wait_for(lambda: time.monotonic() - hung > 20, "Redis hung for long")
    stage.valkey.child.send(signal.SIGCONT)
    stage.until_settled(event, deadline=10)
    assert_sent_once(sandbox, event)
    stage.forget_unacknowledged()


def test_r4_no_message_waits_longer_than_a_third_of_the_visibility_timeout() -> None:
    """A retry in the chord is the only countdown there is."""
    longest = settings.VISIBILITY_TIMEOUT.total_seconds() / 3
    assert tasks.deliver.retry_backoff_max < longest  # type: ignore[attr-defined] # an option of autoretry
