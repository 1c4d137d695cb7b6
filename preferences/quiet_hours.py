"""Quiet hours: the part of each day in which a person is not to be disturbed. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From `start` until `end` by the clocks of `time_zone` (an IANA name), each day; past midnight where end < start.

    A time that the clocks skip is read as if they had not been changed, one that they show twice as its first: what
    iCalendar does (RFC 5545, section 3.3.5; read 2026-11-25).
    """

    start: time
    end: time
    time_zone: str

    def end_after(self, now: datetime) -> datetime | None:
        """When the quiet hours that hold at `now` end, in UTC; None when none do. `now` is aware."""
        zone = ZoneInfo(self.time_zone)
        today = now.astimezone(zone).date()
        # those that began yesterday may still hold; and clocks are put back by up to an hour around midnight too
        for day in (today - timedelta(days=1), today, today + timedelta(days=1)):
            ends_on = day if self.start < self.end else day + timedelta(days=1)
            end = _instant(ends_on, self.end, zone)
            if _instant(day, self.start, zone) <= now < end:
                return end
        return None


def _instant(day: date, clock: time, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, clock, zone).astimezone(UTC)
