"""Events as people ask about them: the answer in a sentence, then every decision. For the page and the API alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.core.exceptions import ValidationError

from notifier.answer import answer
from notifier.models import NotificationEvent
from notifier.outages import Outage, outages_of, under_way
from notifier.querysets.events import Sought
from notifier.timeline import Decision, timeline, whole_events
from preferences import people, resolve
from preferences.addresses import clean_phone
from preferences.resolve import Recipient

PAGE = 10  # events
MANY = 100  # people of one address


@dataclass(frozen=True, slots=True)
class Story:
    """`recipient` is as of today; None where nobody knows them any more."""

    event: NotificationEvent
    recipient: Recipient | None
    answer: str
    decisions: Sequence[Decision]


def stories(events: Sequence[NotificationEvent]) -> list[Story]:
    """Of events as whole_events gives them, in their order. Three queries at most, however many there are."""
    outages, recipients = outages_of(events), _recipients(events)
    return [_story(event, recipients.get(event.id), outages) for event in events]


def page_of(sought: Sought, *, older_than: str = "", limit: int = PAGE) -> tuple[list[NotificationEvent], str]:
    """The newest events that are meant, whole, newest first; and what `older_than` is for the next page, or "".

    Raises ValueError for an `older_than` that this never gave.
    """
    ids = NotificationEvent.objects.newest(sought, limit + 1, before=UUID(older_than) if older_than else None)
    found = {event.id: event for event in whole_events().filter(id__in=ids[:limit])}
    return [found[one] for one in ids[:limit] if one in found], str(ids[limit - 1]) if len(ids) > limit else ""


def sought(term: str) -> Sought:
    """What somebody means who types this: an id of an event, a user or an order, an email, or a phone number."""
    term = term.strip()
    known = _uuid(term)
    if known:
        return Sought(event_id=known, user_ids=(known,), order_id=term)
    if "@" in term:
        return by_email(term)
    phone = _phone(term)
    return Sought(order_id=term, user_ids=people.having(phone=phone, limit=MANY) if phone else (), phone=phone)


def by_email(email: str) -> Sought:
    """Users and guests. Of users as the address was given, or in lower case; of guests in any case."""
    return Sought(user_ids=people.having([email, email.lower()], limit=MANY), email=email.lower())


def by_phone(phone: str) -> Sought:
    """Users and guests, by a number with its country code. Raises ValidationError."""
    number = clean_phone(phone)
    return Sought(user_ids=people.having(phone=number, limit=MANY), phone=number)


def _story(event: NotificationEvent, recipient: Recipient | None, outages: Sequence[Outage]) -> Story:
    channels = {delivery.channel for delivery in event.deliveries.all()}
    start, end = under_way(event)
    own = [outage for outage in outages if outage.channel in channels and outage.overlaps(start, end)]
    return Story(event, recipient, answer(event, recipient, own), timeline(event, own))


def _recipients(events: Sequence[NotificationEvent]) -> dict[UUID, Recipient]:
    """By event, as of today."""
    users = {event.user_id for event in events if event.user_id}
    known = resolve.load(users) if users else {}
    guests = {event.id: event.recipient for event in events if not event.user_id and event.recipient}
    found = resolve.guests(list(guests.values())) if guests else []
    of_users = {event.id: known[event.user_id] for event in events if event.user_id in known}
    return of_users | dict(zip(guests, found, strict=True))


def _phone(term: str) -> str:
    """A number in any usual notation, with its country: +49 151 …, 0049 (151) …, 49151…; else empty."""
    for written in (term, f"+{term.removeprefix('00')}"):
        try:
            return clean_phone(written)
        except ValidationError:
            continue
    return ""


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
