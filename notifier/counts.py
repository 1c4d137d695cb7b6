"""What each step of the path adds to the tally, from what it has in hand anyway."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from channels.base import ASKED_TO_WAIT, RATE_LIMIT, Permit
from notifier.catalogue import GONE, event_types
from notifier.measures import (
    ATTEMPTS,
    DEAD_LETTERS,
    DELIVERIES,
    EVENTS_RECORDED,
    EVENTS_SETTLED,
    FALLBACKS,
    HOLDS,
    LIMITER_WAITS,
    RETRIES,
    SETTLE_LAG,
    SKIPS,
    TIME_TO_PROVIDER,
    cause_named,
    provider_named,
    type_named,
)
from notifier.states import DeliveryStatus
from notifier.tally import Key, add, observed

if TYPE_CHECKING:
    from notifier.claim import Claimed
    from notifier.plan import Planned
    from notifier.querysets.deliveries import Candidate, DeliveryResult
    from notifier.querysets.events import Settled


def recorded(types: Iterable[str]) -> None:
    """An event of each of these types."""
    add({(EVENTS_RECORDED.name, name): number for name, number in Counter(map(type_named, types)).items()})


def refused(causes: Iterable[str]) -> None:
    """Triggers, or events that could not be planned, that became dead letters."""
    add({(DEAD_LETTERS.name, cause): number for cause, number in Counter(map(cause_named, causes)).items()})


def planned(deliveries: Iterable[Planned]) -> None:
    """Those that were inserted: what is skipped, held, or stands in from the start."""
    found: Counter[Key] = Counter()
    for delivery in deliveries:
        if delivery.skip_reason:
            _skip(found, delivery.channel, delivery.skip_reason.value)
        if delivery.hold_reason:
            found[HOLDS.name, delivery.hold_reason.value] += 1
        if delivery.fallback_of:
            found[FALLBACKS.name, delivery.channel, delivery.fallback_of] += 1
    add(found)


def skipped(channel: str, reasons: Iterable[str]) -> None:
    """Deliveries that were planned, and are not to be sent after all."""
    found: Counter[Key] = Counter()
    for reason in reasons:
        _skip(found, channel, reason)
    add(found)


def held(reasons: Iterable[str]) -> None:
    add({(HOLDS.name, reason): number for reason, number in Counter(reasons).items()})


def waited(channel: str, permit: Permit, number: int) -> None:
    """So many deliveries were not let through by this permit."""
    if number and permit.reason in (RATE_LIMIT, ASKED_TO_WAIT):
        add({(LIMITER_WAITS.name, channel, permit.provider): number})


def given_up(channel: str, causes: Iterable[str]) -> None:
    """Deliveries that failed while they waited for their provider."""
    found: Counter[Key] = Counter()
    _outcomes(found, channel, [(DeliveryStatus.FAILED.value, cause) for cause in causes])
    add(found)


def sent(
    channel: str, claimed: Sequence[Claimed], results: Sequence[DeliveryResult], changed: Iterable[tuple[UUID, str]]
) -> None:
    """What came of a slice. `changed`: the events whose delivery took its new state: a late writer changes none.

    Sorted by what they are first, and named then: of a slice most are alike.
    """
    took_it, now = {event for event, _ in changed}, time.monotonic()
    attempts, outcomes, times = [], [], defaultdict(list)
    for item, result in zip(claimed, results, strict=True):
        if not item.verdict:  # else the attempt is an earlier one, that is corrected
            attempts += [(attempt.provider, attempt.outcome) for attempt in result.attempts]
        if item.row.event_id in took_it:
            outcomes.append((result.status, result.cause))
            if result.status == DeliveryStatus.SENT:
                times[result.provider, item.row.event_type].append(_until_claim(item.row) + now - item.claimed_at)
    found: Counter[Key] = Counter()
    _attempts(found, channel, attempts)
    _outcomes(found, channel, outcomes)
    _times(found, channel, times)
    add(found)


def crashed(channel: str, result: DeliveryResult) -> None:
    """A send whose process ended."""
    found: Counter[Key] = Counter()
    _attempts(found, channel, [(attempt.provider, attempt.outcome) for attempt in result.attempts])
    _outcomes(found, channel, [(result.status, result.cause)])
    add(found)


def settled(events: Sequence[Settled]) -> None:
    kinds = Counter((event.event_type, event.status) for event in events)
    found: Counter[Key] = Counter()
    for (event_type, status), number in kinds.items():
        found[EVENTS_SETTLED.name, type_named(event_type), status] += number
    if lags := [event.lag for event in events if event.lag is not None]:
        found.update(observed(SETTLE_LAG, (), lags))
    add(found)


def _attempts(found: Counter[Key], channel: str, attempts: Iterable[tuple[str, str]]) -> None:
    for (provider, outcome), number in Counter(attempts).items():
        found[ATTEMPTS.name, channel, provider_named(channel, provider), outcome] += number


def _outcomes(found: Counter[Key], channel: str, outcomes: Iterable[tuple[str, str]]) -> None:
    """By status and cause."""
    for (status, cause), number in Counter(outcomes).items():
        if status == DeliveryStatus.RETRYING:
            found[RETRIES.name, channel] += number
            continue
        found[DELIVERIES.name, channel, status] += number
        if status == DeliveryStatus.FAILED:
            found[DEAD_LETTERS.name, cause_named(cause)] += number


def _skip(found: Counter[Key], channel: str, reason: str) -> None:
    found[DELIVERIES.name, channel, DeliveryStatus.SKIPPED.value] += 1
    found[SKIPS.name, channel, reason] += 1


def _until_claim(row: Candidate) -> float:
    """Seconds by the database's clock; a hold does not count."""
    return row.waited if row.hold_reason else (row.now - row.recorded_at).total_seconds()


def _times(found: Counter[Key], channel: str, times: Mapping[tuple[str, str], list[float]]) -> None:
    """By provider and event type."""
    for (provider, event_type), seconds in times.items():
        priority = event_types().get(event_type, GONE).priority.name.lower()
        found.update(observed(TIME_TO_PROVIDER, (channel, provider_named(channel, provider), priority), seconds))
