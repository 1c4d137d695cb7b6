"""Runs the engine's verbs by hand, in the test's own process: what the workers do, step by step and without waiting."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import F
from django.db.models.functions import Now

from channels.testing import forget_gates
from notifier import deliver, record, settle, sweep
from notifier.dispatch import Lane, Round, dispatch
from notifier.models import Delivery, NotificationEvent
from notifier.trigger import parse


def trigger(event_type: str, user_id: UUID | None = None, **more: Any) -> UUID:
    """Record one event of an order as an API key's source would; its id."""
    body: dict[str, Any] = {"eventType": event_type, "metadata": {"orderId": "ORD1"}, **more}
    if user_id:
        body["userId"] = str(user_id)
    return record.record(parse(body), "shop")[0].event_id


def round_of(lane: Lane = Lane.STANDARD) -> Round:
    return dispatch(lane)


def send(started: Round, *, again: bool = False, last_run: bool = True) -> list[deliver.Report]:
    """The chord's header."""
    urgent = started.lane is Lane.URGENT
    return [
        deliver.deliver(channel, [UUID(i) for i in ids], urgent=urgent, alone=alone, again=again, last_run=last_run)
        for alone, messages in ((False, started.deliveries), (True, started.alone))
        for channel, ids in messages.items()
    ]


def settle_round(started: Round) -> bool:
    """The chord's body."""
    return settle.settle([(UUID(event), number) for event, number in started.events])


def run(rounds: int = 10) -> None:
    """Round after round until nothing is due any more."""
    for _ in range(rounds):
        started = [dispatch(lane) for lane in Lane]
        if not any(one.events for one in started):
            return
        for one in started:
            send(one)
            settle_round(one)
    raise AssertionError(f"still due after {rounds} rounds")


def repair() -> sweep.Swept:
    """What the sweeper's task does."""
    swept = sweep.sweep()
    settle.settle(swept.lost_rounds)
    return swept


def die_while_sending() -> None:
    """What the claim writes, by a process that ends then; its lease has run out since."""
    Delivery.objects.filter(status__in=["QUEUED", "RETRYING"]).update(
        status="SENDING", attempt=1, lease_until=Now() - timedelta(seconds=1)
    )


def run_out(event: UUID, times: int = 20) -> None:
    """Let ten minutes and another ten pass until the event is settled."""
    for _ in range(times):
        run()
        if NotificationEvent.objects.filter(pk=event).exclude(settled_at=None).exists():
            return
        pass_time(timedelta(minutes=10))
        forget_gates()
    raise AssertionError(f"not settled after {times} times")


def pass_time(by: timedelta) -> None:
    """Move every row's times into the past: the database's clock is the only one, and nobody waits for it."""
    times = ("due_at", "lease_until", "expires_at", "recorded_at")
    NotificationEvent.objects.update(**{name: F(name) - by for name in times})
    Delivery.objects.update(**{name: F(name) - by for name in ("due_at", "lease_until", "first_due_at")})


def states(event_id: UUID) -> dict[str, str]:
    """Channel -> status, and the reason of what was skipped."""
    return {
        d.channel: f"{d.status} {d.skip_reason}".strip()
        for d in Delivery.objects.filter(event_id=event_id).order_by("channel")
    }


def status(event_id: UUID) -> str:
    return NotificationEvent.objects.get(pk=event_id).status
