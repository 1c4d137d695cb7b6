"""A fuse against a caller that runs in circles: so many messages a day reach one address by one channel, no more.

What is over is held until there is room, at the latest the next day (UTC, by the workers' clocks), and operations are
told. Redis counts; while it is away nobody does, and all may go. Staff types are not counted: they have windows.

The counters are one string of fixed size a day, so that a day of millions takes no more memory than a quiet one, and no
address is in it. Two places may share a counter. With three million a day a third of them do, with a message or two:
far from any cap.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import redis
from django.conf import settings

from notifier.quick_redis import quick_redis
from preferences.resolve import EMAIL, PHONE, Recipient

COUNTERS = 2**23  # of 16 bits: 16 MB a day
KEPT = timedelta(days=2)
LONGEST_WAIT = timedelta(hours=1)  # a higher cap is found before the day ends


def place(recipient: Recipient, channel: str, kind: str) -> str:
    """What is counted: a mail address or phone number, whoever names it; else the person, and so each device."""
    addresses = recipient.addresses.get(kind, ()) if kind in (EMAIL, PHONE) else ()
    return f"{channel} {addresses[0].value.lower() if addresses else recipient.user_id}"


def over(places: Sequence[str]) -> frozenset[int]:
    """Count a message for each; the indexes of those for which there is no room today, which do not count.

    One round trip, two where some are over, of 0.3 s at most.
    """
    if not places or not settings.DAILY_CAP:
        return frozenset()
    counts: list[int] = quick_redis.ask(lambda client: _count(client, places, 1), list)
    beyond = [index for index, count in enumerate(counts) if count > settings.DAILY_CAP]
    if beyond:
        quick_redis.ask(lambda client: _count(client, [places[index] for index in beyond], -1), list)
    return frozenset(beyond)


def full(places: Sequence[str]) -> frozenset[int]:
    """The indexes of those for which there is no room today; counts nothing."""
    if not places or not settings.DAILY_CAP:
        return frozenset()
    fields = [part for one in places for part in ("GET", "u16", _counter(one))]
    counts: list[int] = quick_redis.ask(
        # its own helper knows no look without a write
        lambda client: client.execute_command("BITFIELD_RO", _key(), *fields),  # type: ignore[no-untyped-call] # redis-py
        list,
    )
    return frozenset(index for index, count in enumerate(counts) if count >= settings.DAILY_CAP)


def wait(now: datetime) -> float:
    """Seconds from `now` after which asking again pays."""
    tomorrow = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return min(tomorrow - now, LONGEST_WAIT).total_seconds()


def _count(client: redis.Redis, places: Sequence[str], number: int) -> list[int]:
    key = _key()
    fields = [part for one in places for part in ("INCRBY", "u16", _counter(one), number)]
    with client.pipeline(transaction=False) as pipeline:
        # its own helper takes one field after the other
        pipeline.execute_command("BITFIELD", key, "OVERFLOW", "SAT", *fields)  # type: ignore[no-untyped-call] # redis-py
        pipeline.expire(key, KEPT)
        counts: list[int] = pipeline.execute()[0]
    return counts


def _key() -> str:
    return f"notifier:cap:{datetime.now(UTC).date().isoformat()}"


def _counter(place: str) -> str:
    return f"#{zlib.crc32(place.encode()) % COUNTERS}"
