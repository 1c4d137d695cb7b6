"""When a provider was left alone, from the changes of its breaker: is it us, or the provider?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Q
from django.utils import timezone

from channels.breaker import KEEP, State
from channels.models import BreakerChange
from notifier.models import NotificationEvent

AROUND = timedelta(seconds=KEEP)  # a breaker without a change for so long is forgotten
MOST = 2000  # changes that are read


@dataclass(frozen=True, slots=True)
class Outage:
    """A breaker was open, trials included. `until` is None where no end is known."""

    channel: str
    provider: str
    since: datetime
    until: datetime | None
    reason: str

    def overlaps(self, start: datetime, end: datetime) -> bool:
        return self.since <= end and (self.until is None or self.until >= start)


def outages_of(events: Sequence[NotificationEvent]) -> list[Outage]:
    """Those that were while one of the events was under way, oldest first. One query; walks breaker_change_newest."""
    around = Q()
    for start, end in map(under_way, events):
        around |= Q(at__range=(start - AROUND, end + AROUND))
    if not events:
        return []
    changes = BreakerChange.objects.filter(around).order_by("-at", "-id")[:MOST]
    return outages(reversed(changes))


def under_way(event: NotificationEvent) -> tuple[datetime, datetime]:
    """From when until when something could happen to it."""
    return event.recorded_at, event.settled_at or max(event.recorded_at, min(timezone.now(), event.expires_at))


def outages(changes: Iterable[BreakerChange]) -> list[Outage]:
    """From changes, oldest first. A trial that fails opens again, which is the same outage."""
    began: dict[tuple[str, str], BreakerChange] = {}
    found = []
    for change in changes:
        place = (change.channel, change.provider)
        if change.state == State.CLOSED and (first := began.pop(place, None)):
            found.append(Outage(*place, first.at, change.at, first.reason))
        elif change.state == State.OPEN:
            began.setdefault(place, change)
    found += [Outage(*place, first.at, None, first.reason) for place, first in began.items()]
    return sorted(found, key=lambda outage: outage.since)
