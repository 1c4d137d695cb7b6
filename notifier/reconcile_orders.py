"""Compare the order service's list with the ledger: of which states was no event recorded? And record those.

(notifier/reconcile.py asks providers about messages; this asks the ledger about orders.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import Any
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from notifier.catalogue import Audience, EventType, event_types
from notifier.models import NotificationEvent
from notifier.order_list import BadLine, Line, OrderState, Untold
from notifier.record import record_many
from notifier.sources import check_source
from notifier.trigger import KeyConflict, Trigger, TriggerError, UnknownUser, check_size, parse
from preferences import resolve

BATCH = 1000  # lines
SOURCE = "reconcile"  # of what is recorded here: the keys are unique within it
GRACE = timedelta(minutes=15)


class Answer(StrEnum):
    """What the ledger answers to a line."""

    TOLD = "TOLD"  # its event was recorded, or one that supersedes it
    RECENT = "RECENT"  # younger than the grace period: its event may be on its way
    TOO_OLD = "TOO_OLD"  # older than the retention: its event may be deleted
    IGNORED = "IGNORED"  # a state of which nobody is told
    UNREADABLE = "UNREADABLE"
    MISSING = "MISSING"  # no event of the order was recorded
    BEHIND = "BEHIND"  # earlier ones were, the one for this state was not


EXPLAINED: Mapping[Answer, str] = {
    Answer.MISSING: "no event of the order was recorded",
    Answer.BEHIND: "the order has events, but none that tells of this state",
    Answer.UNREADABLE: "the line cannot be used",
    Answer.TOLD: "its event was recorded, or a later one that stands for it",
    Answer.RECENT: "younger than the grace period: its event may be on its way",
    Answer.TOO_OLD: "older than what is kept: its event may be deleted",
    Answer.IGNORED: "a state of which nobody is told",
}


class Outcome(StrEnum):
    """What becomes of a state of which no event was recorded."""

    RECORDABLE = "RECORDABLE"  # it would be, were this no dry run
    RECORDED = "RECORDED"
    EXPIRED = "EXPIRED"  # older than its type's time to live: such news would confuse
    REFUSED = "REFUSED"  # it is no valid trigger; `fields` says why


@dataclass(frozen=True, slots=True)
class Finding:
    """A state of which no event was recorded. `last`: the order's latest event type, if it has one."""

    state: OrderState
    answer: Answer
    last: str = ""
    outcome: Outcome = Outcome.RECORDABLE
    fields: Mapping[str, str] = field(default_factory=dict)

    @property
    def line(self) -> int:
        return self.state.line


@dataclass(frozen=True, slots=True)
class Terms:
    """How to reconcile, and for a caller who may trigger some types only."""

    record: bool = False
    force: bool = False  # also what is EXPIRED
    grace: timedelta = GRACE
    origin: Mapping[str, str] = field(default_factory=dict)
    may_trigger: Callable[[str], bool] = lambda _: True


@dataclass(slots=True)
class Report:
    """How many lines there were of each Answer and Outcome, and those that want a look, by line."""

    counts: Counter[str]
    findings: list[Finding | BadLine]


@dataclass(slots=True)
class _Order:
    """What the ledger has of an order."""

    types: set[str] = field(default_factory=set)
    stage: int = 0
    last: tuple[datetime, str] = (datetime.min.replace(tzinfo=UTC), "")
    users: set[UUID] = field(default_factory=set)

    def tells_of(self, event_type: EventType) -> bool:
        """By the catalogue's own rule of what supersedes it: a receipt is owed even when later news has gone out."""
        later = event_type.superseded_from is not None and self.stage >= event_type.superseded_from
        return later or event_type.name in self.types


def batches(lines: Iterable[Line], terms: Terms) -> Iterator[Report]:
    """Reconcile a list of any length, with a few queries for each thousand lines: one report for each."""
    rest = iter(lines)
    while some := list(islice(rest, BATCH)):
        yield reconcile(some, terms)


def reconcile(lines: Iterable[Line], terms: Terms) -> Report:
    """One batch. With `terms.record`, what is missing is recorded; the caller rings the doorbell where something was.

    An event's key is its order and type, so that it is recorded once however often this runs.
    """
    now = timezone.now()
    counts: Counter[str] = Counter()
    asked: list[OrderState] = []
    bad: list[BadLine] = []
    for line in lines:
        match line:
            case BadLine():
                counts[Answer.UNREADABLE] += 1
                bad.append(line)
            case Untold():
                counts[Answer.IGNORED] += 1
            case OrderState(at=at) if at > now - terms.grace:
                counts[Answer.RECENT] += 1
            case OrderState(at=at) if at < now - settings.RETENTION:
                counts[Answer.TOO_OLD] += 1
            case OrderState():
                asked.append(line)
    findings = _missed(asked, terms, now)
    counts[Answer.TOLD] += len(asked) - len(findings)
    for finding in findings:
        counts.update((finding.answer, finding.outcome))
    return Report(+counts, sorted([*bad, *findings], key=lambda found: found.line))


def _missed(asked: Sequence[OrderState], terms: Terms, now: datetime) -> list[Finding]:
    orders = _orders({state.order_id for state in asked})
    found = [_found(state, orders.get(state.order_id)) for state in asked]
    return _with_outcomes([finding for finding in found if finding], orders, terms, now)


def _found(state: OrderState, order: _Order | None) -> Finding | None:
    """None where its event was recorded."""
    if order is None:
        return Finding(state, Answer.MISSING)
    return None if order.tells_of(state.event_type) else Finding(state, Answer.BEHIND, last=order.last[1])


def _orders(order_ids: Collection[str]) -> dict[str, _Order]:
    found: dict[str, _Order] = {}
    rows = NotificationEvent.objects.of_orders(order_ids) if order_ids else []
    for order_id, name, stage, recorded_at, users in rows:
        kind = event_types().get(name)
        if kind and kind.audience is Audience.STAFF:
            continue  # the customer was told nothing
        order = found.setdefault(order_id, _Order())
        order.types.add(name)
        order.stage = max(order.stage, stage or 0)
        order.last = max(order.last, (recorded_at, name))
        order.users.update(users)
    return found


def _with_outcomes(
    missed: Sequence[Finding], orders: Mapping[str, _Order], terms: Terms, now: datetime
) -> list[Finding]:
    """The same with their outcomes."""
    parsed = [_trigger(finding, orders, terms, now) for finding in missed]
    good = [trigger for trigger in parsed if isinstance(trigger, Trigger)]
    results = iter(record_many(good, SOURCE) if terms.record and good else _as_if(good))
    return [
        replace(finding, outcome=trigger[0], fields=trigger[1])
        if isinstance(trigger, tuple)
        else _with_result(finding, next(results), terms)
        for finding, trigger in zip(missed, parsed, strict=True)
    ]


def _trigger(
    finding: Finding, orders: Mapping[str, _Order], terms: Terms, now: datetime
) -> Trigger | tuple[Outcome, Mapping[str, str]]:
    """What would be recorded, or why it is not."""
    state, kind = finding.state, finding.state.event_type
    if state.at < now - kind.time_to_live and not terms.force:
        hours = kind.time_to_live.total_seconds() / 3600
        return Outcome.EXPIRED, {"time": f"Older than the time to live of {kind.name}, {hours:g} h."}
    body = _body(state, orders.get(state.order_id))
    try:
        check_size(body)
        trigger = parse(body, origin=terms.origin)
        check_source(SOURCE, trigger)
    except TriggerError as error:
        return Outcome.REFUSED, error.fields or {"": str(error)}
    if not terms.may_trigger(kind.name):
        return Outcome.REFUSED, {"eventType": f"The caller may not trigger {kind.name}."}
    return trigger


def _body(state: OrderState, order: _Order | None) -> dict[str, Any]:
    """A trigger's. Whom the list does not name is who the order's other events are for, if that is one user."""
    whom = state.whom
    if not whom and order and len(order.users) == 1:
        whom = {"userId": next(iter(order.users))}
    return {
        "eventType": state.event_type.name,
        "metadata": {**state.metadata, "orderId": state.order_id},
        "idempotencyKey": f"{state.order_id}:{state.event_type.name}",
        **whom,
    }


def _as_if(triggers: Sequence[Trigger]) -> list[TriggerError | None]:
    """What recording would say, without it. None for what would be."""
    known = resolve.existing({trigger.user_id for trigger in triggers if trigger.user_id})
    return [
        UnknownUser("No such user.", {"userId": "Unknown user."})
        if trigger.user_id and trigger.user_id not in known
        else None
        for trigger in triggers
    ]


def _with_result(finding: Finding, result: object, terms: Terms) -> Finding:
    # a conflict: another run recorded it meanwhile, from a list that says more or less of it
    if isinstance(result, TriggerError) and not isinstance(result, KeyConflict):
        return replace(finding, outcome=Outcome.REFUSED, fields=result.fields)
    return replace(finding, outcome=Outcome.RECORDED if terms.record else Outcome.RECORDABLE)
