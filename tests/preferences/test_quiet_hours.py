"""When quiet hours hold, and when they end: by the person's clocks, whatever these do."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preferences.quiet_hours import QuietHours

NIGHT = QuietHours(time(22), time(7), "Europe/Berlin")
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"])


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "end"),
    [
        ("2026-11-25T20:59", None),  # 21:59 in Berlin
        ("2026-11-25T21:00", "2026-11-26T06:00"),
        ("2026-11-26T03:00", "2026-11-26T06:00"),
        ("2026-11-26T06:00", None),
        ("2026-03-28T22:00", "2026-03-29T05:00"),  # the night that loses an hour
        ("2026-10-24T21:00", "2026-10-25T06:00"),  # the night that gains one
    ],
)
def test_a_night(now: str, end: str | None) -> None:
    assert NIGHT.end_after(utc(now)) == (end and utc(end))


def test_a_part_of_a_day() -> None:
    nap = QuietHours(time(13), time(15), "Asia/Kathmandu")  # 5:45 ahead of UTC
    assert nap.end_after(utc("2026-11-25T07:15")) == utc("2026-11-25T09:15")
    assert nap.end_after(utc("2026-11-25T09:15")) is None


def test_an_end_that_the_clocks_skip() -> None:
    """02:30 never shows on that day: it counts as half an hour after they were put forward."""
    hours = QuietHours(time(1), time(2, 30), "Europe/Berlin")
    assert hours.end_after(utc("2026-03-29T00:45")) == utc("2026-03-29T01:30")


def test_an_end_that_the_clocks_show_twice_comes_once() -> None:
    hours = QuietHours(time(22), time(2, 30), "Europe/Berlin")
    assert hours.end_after(utc("2026-10-25T00:15")) == utc("2026-10-25T00:30")
    assert hours.end_after(utc("2026-10-25T01:15")) is None  # 02:15 by the clocks, for the second time


def test_a_beginning_that_the_clocks_show_twice_comes_once() -> None:
    hours = QuietHours(time(2, 30), time(5), "Europe/Berlin")
    assert hours.end_after(utc("2026-10-25T00:45")) == utc("2026-10-25T04:00")
    assert hours.end_after(utc("2026-10-25T01:15")) == utc("2026-10-25T04:00")


@given(
    now=st.integers(0, 10 * 366 * 24 * 60).map(lambda minutes: utc("2020-01-01T00:00") + timedelta(minutes=minutes)),
    start=st.times(),
    end=st.times(),
    zone=ZONES,
)
def test_they_end_within_a_day_and_are_over_then(now: datetime, start: time, end: time, zone: str) -> None:
    start, end = start.replace(second=0, microsecond=0), end.replace(second=0, microsecond=0)
    if start == end:
        return
    until = QuietHours(start, end, zone).end_after(now)
    if until is None:
        return
    assert now < until <= now + timedelta(hours=25)
    shown = until.astimezone(ZoneInfo(zone)).time()
    assert shown == end or _is_skipped(until, end, zone)


def _is_skipped(until: datetime, end: time, zone: str) -> bool:
    """Whether the clocks skip `end` on the day of `until`."""
    there = until.astimezone(ZoneInfo(zone))
    wall = datetime.combine(there.date(), end, ZoneInfo(zone))
    return wall.astimezone(UTC).astimezone(ZoneInfo(zone)).time() != end
