"""Forget a person: everything that says who they are or what they were told.

What stays proves that something was sent: type, order, source and key of the event, times, channels, outcomes, the
providers' names for messages, and the fingerprint of each address (notifier/fingerprint.py). docs/security.md lists it.

Batch by batch, each a transaction of its own. Whatever ends it half-way, the same call goes on: a person's own row,
which names their addresses, is the last to go, and a guest's events are found as long as they name the guest.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from uuid import UUID

import orjson
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import connection, transaction

from channels.models import InboxMessage
from notifier import counts
from notifier.models import DeadLetter, NotificationEvent
from notifier.querysets.events import Person
from notifier.states import SkipReason
from preferences import people
from preferences.addresses import clean_phone

BATCH = 200  # events a transaction
LETTERS = 500  # refused triggers that are read at once
POLL = 0.2  # seconds between two looks at what is being sent


@dataclass(slots=True)
class Forgotten:
    """How much there was. `known`: the person had a row of their own."""

    known: bool = False
    events: int = 0
    skipped: int = 0
    letters: int = 0
    messages: int = 0
    waits: list[UUID] = field(default_factory=list)  # events of which something is being sent right now

    @property
    def nothing(self) -> bool:
        return not (self.known or self.events or self.letters or self.messages)


def erase(person: Person) -> Forgotten:
    """All of it; waits for what is being sent to this person right now, at most for a delivery's lease.

    Raises preferences.people.StaffError, with nothing changed.
    """
    total = Forgotten()
    for total in batches(person):  # noqa: B007 - the last one is the whole
        pass
    return total


def batches(person: Person) -> Generator[Forgotten, None, None]:
    """The same step by step: how much was forgotten so far, after each batch."""
    total = Forgotten()
    if person.user_id and (user := people.close(person.user_id)):
        total.known = True
        person = replace(person, email=person.email or user.email, phone=person.phone or user.phone)
    yield from _events(person, total)
    yield from _inbox(person, total)
    yield from _refused(person, total)
    people.forget(person.user_id, person.email, person.phone)
    yield total


def _events(person: Person, total: Forgotten) -> Iterator[Forgotten]:
    """Until a look finds none: one may have been recorded while the others were gone through."""
    ends = time.monotonic() + settings.DELIVERY_LEASE.total_seconds()
    while True:
        # by now whoever still sends has lost its lease: what it writes down holds no address
        overdue = time.monotonic() > ends
        if overdue:
            total.waits.clear()
        ids = NotificationEvent.objects.of_person(person, BATCH, besides=total.waits, erased=False)
        if not ids and not total.waits:
            return
        if not ids:
            _let_others_have_the_connection()
            time.sleep(POLL)
        again, total.waits = [*ids, *total.waits], []
        for start in range(0, len(again), BATCH):
            _erase(again[start : start + BATCH], total, while_sending=overdue)
        yield total


def _erase(ids: Sequence[UUID], total: Forgotten, *, while_sending: bool) -> None:
    with transaction.atomic():
        done = NotificationEvent.objects.erase(ids, while_sending=while_sending)
        for channel in done.skipped:
            transaction.on_commit(partial(counts.skipped, channel, [SkipReason.ERASED.value]))
    total.events += len(done.events)
    total.skipped += len(done.skipped)
    total.letters += done.letters
    total.waits += sorted(set(ids) - set(done.events))


def _let_others_have_the_connection() -> None:
    if not connection.in_atomic_block:
        connection.close()


def _inbox(person: Person, total: Forgotten) -> Iterator[Forgotten]:
    while person.user_id:
        ids = list(InboxMessage.objects.filter(user_id=person.user_id).values_list("id", flat=True)[:BATCH])
        if not ids:
            return
        total.messages += InboxMessage.objects.filter(id__in=ids).delete()[0]
        yield total


def _refused(person: Person, total: Forgotten) -> Iterator[Forgotten]:
    """Of triggers that were never recorded only the bytes are there: each is read."""
    after = UUID(int=0)
    while letters := DeadLetter.objects.refused(after, LETTERS):
        theirs = [letter_id for letter_id, payload in letters if names(person, payload)]
        if theirs:
            DeadLetter.objects.erase_refused(theirs)
        total.letters += len(theirs)
        after = letters[-1][0]
        yield total


def names(person: Person, payload: bytes) -> bool:
    """Does a trigger, valid or not, name this person: by id, or by an address however it is written?"""
    try:
        texts = list(_texts(orjson.loads(payload)))
    except orjson.JSONDecodeError:
        texts = payload.decode(errors="replace").split()
    wanted = {str(person.user_id), person.email.lower()} - {"None", ""}
    digits = _digits(person.phone)
    return any(
        any(each in text.lower() for each in wanted) or (digits and digits in (_digits(text), _as_number(text)))
        for text in texts
    )


def _texts(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for key, item in value.items():
                yield str(key)
                yield from _texts(item)
        case list():
            for item in value:
                yield from _texts(item)


def _digits(text: str) -> str:
    return "".join(filter(str.isdigit, text))


def _as_number(text: str) -> str:
    """As 00 49 or with its zero in brackets: whatever a person may write for it."""
    try:
        return _digits(clean_phone(text))
    except ValidationError:
        return ""
