"""Why an event went the way it did: every decision about it, in order. Read from the ledger; nothing is guessed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Prefetch

from notifier.models import Attempt, DeadLetter, Delivery, NotificationEvent
from notifier.outages import Outage
from notifier.querysets.events import EventQuerySet
from notifier.states import FINAL, DeliveryStatus


@dataclass(frozen=True, slots=True)
class Decision:
    """One thing that was decided or found out. `reason` is a word of a closed list, `detail` is for people.

    `attempt`: of ATTEMPTED. `letter`: the dead letter that a failure left. `until`: when a breaker closed again.
    """

    at: datetime
    decision: str
    channel: str = ""
    reason: str = ""
    detail: str = ""
    attempt: Attempt | None = None
    letter: DeadLetter | None = None
    until: datetime | None = None


def whole_events() -> EventQuerySet:
    """Events with all that hangs on them, in four queries."""
    attempts = Prefetch("attempts", Attempt.objects.order_by("number", "address_id"))
    deliveries = Delivery.objects.order_by("first_due_at", "channel").prefetch_related(attempts, "dead_letters")
    return NotificationEvent.objects.prefetch_related(Prefetch("deliveries", deliveries))


def timeline(event: NotificationEvent, outages: Iterable[Outage] = ()) -> list[Decision]:
    """The decisions about an event, oldest first; uses its prefetched deliveries and attempts.

    `outages`: of the providers meanwhile.
    """
    decisions = [Decision(event.recorded_at, "RECORDED", detail=f"by {event.source}")]
    deliveries = list(event.deliveries.all())
    for delivery in deliveries:
        decisions += _about(delivery, _planned_at(delivery, event, deliveries))
    decisions += [_left_alone(outage) for outage in outages]
    if event.settled_at is not None:
        decisions.append(Decision(event.settled_at, "SETTLED", reason=event.status))
    return sorted(decisions, key=lambda decision: decision.at)


def _planned_at(delivery: Delivery, event: NotificationEvent, deliveries: Sequence[Delivery]) -> datetime:
    """A delivery is first due when it is planned, but for one that was held: that is due from the end of its hold."""
    known = [attempt.started_at for attempt in delivery.attempts.all()]
    if delivery.hold_reason:
        lost = (d.finished_at for d in deliveries if d.channel == delivery.fallback_of and d.finished_at)
        return min([*known, next(lost, event.recorded_at)])
    return min([*known, delivery.first_due_at])


def _about(delivery: Delivery, planned_at: datetime) -> Iterator[Decision]:
    channel, status = delivery.channel, delivery.status
    attempts = list(delivery.attempts.all())
    if delivery.fallback_of:
        yield Decision(planned_at, "FELL_BACK", channel, delivery.fallback_of, delivery.detail)
    elif status != DeliveryStatus.SKIPPED:
        yield Decision(planned_at, "PLANNED", channel)
    for attempt in attempts:
        detail = " ".join(part for part in (attempt.provider, attempt.address_id, attempt.detail) if part)
        at = attempt.finished_at or attempt.started_at
        yield Decision(at, "ATTEMPTED", channel, attempt.outcome, detail, attempt)
    letters = list(delivery.dead_letters.all())
    for letter in letters:
        if letter.closed_at:  # an open one is the delivery's present state
            yield Decision(letter.created_at, "FAILED", channel, letter.cause, letter.last_error, letter=letter)
            yield Decision(letter.closed_at, letter.status, channel)
    if delivery.hold_reason:
        yield Decision(planned_at, "HELD", channel, delivery.hold_reason, f"until {_clock(delivery.first_due_at)}")
    # an attempt's end is written a moment after the state that it led to
    latest = max((attempt.finished_at or attempt.started_at for attempt in attempts), default=planned_at)
    if status == DeliveryStatus.QUEUED and delivery.detail.startswith("waits"):
        yield Decision(planned_at, "WAITING", channel, detail=f"{delivery.detail}, until {_clock(delivery.due_at)}")
    if status == DeliveryStatus.RETRYING:
        yield Decision(latest, status, channel, detail=f"{delivery.detail} again at {_clock(delivery.due_at)}".strip())
    elif status in FINAL:
        at = max(delivery.finished_at or latest, latest)
        kept = next((letter for letter in letters if not letter.closed_at), None)
        yield Decision(at, status, channel, delivery.skip_reason, delivery.detail, letter=kept)


def _left_alone(outage: Outage) -> Decision:
    until = f"until {_clock(outage.until)}" if outage.until else "with no end known"
    detail = f"{outage.provider} was left alone, {until}: {outage.reason}"
    return Decision(outage.since, "BREAKER_OPEN", outage.channel, outage.provider, detail, until=outage.until)


def _clock(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
