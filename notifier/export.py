"""All that is kept of a person, as JSON: for whoever asks what a shop knows of them. docs/security.md has its shape."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.utils import timezone

from channels.models import InboxMessage
from notifier.erasure import LETTERS, names
from notifier.models import Attempt, DeadLetter, Delivery, NotificationEvent
from notifier.querysets.events import Person
from notifier.timeline import whole_events
from preferences.models import SuppressedAddress, User

FORMAT = 1  # counts up when a field changes its meaning or goes
PAGE = 500  # events


def export(person: Person) -> dict[str, Any]:
    """Everything, by kind; empty lists where nothing is kept. Times are datetimes, ids UUIDs."""
    user = User.objects.filter(id=person.user_id).first() if person.user_id else None
    if user:
        person = Person(user.id, person.email or user.email, person.phone or user.phone)
    return {
        "format": FORMAT,
        "exportedAt": timezone.now(),
        "userId": person.user_id,
        "person": _person(user) if user else None,
        "devices": [_fields(d, "id", "token", "platform", "created_at") for d in user.devices.all()] if user else [],
        "preferences": (
            [_fields(p, "event_type", "channel", "enabled", "updated_at") for p in user.preferences.all()]
            if user
            else []
        ),
        "suppressedAddresses": _suppressed(person),
        "events": _events(person),
        "inbox": _inbox(person.user_id),
        "refusedTriggers": _refused(person),
    }


def holds_nothing(exported: dict[str, Any]) -> bool:
    """Nobody of that id or address was ever here, or they were forgotten and their events are past retention."""
    return not any(exported[name] for name in ("person", "suppressedAddresses", "events", "inbox", "refusedTriggers"))


def _fields(row: object, *names: str) -> dict[str, Any]:
    return {_camel(name): getattr(row, name) for name in names}


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def _person(user: User) -> dict[str, Any]:
    names = ("email", "phone", "locale", "time_zone", "quiet_from", "quiet_until", "username", "is_active")
    return _fields(user, *names, "is_staff", "created_at", "last_login")


def _suppressed(person: Person) -> list[dict[str, Any]]:
    addresses = [address for address in (person.email.lower(), person.phone) if address]
    rows = SuppressedAddress.objects.filter(address__in=addresses).order_by("created_at")
    return [_fields(row, "kind", "address", "reason", "created_at") for row in rows]


def _events(person: Person) -> list[dict[str, Any]]:
    found: list[UUID] = []
    while page := NotificationEvent.objects.of_person(person, PAGE, besides=found):
        found += page
    events = whole_events().filter(id__in=found).order_by("recorded_at", "id")
    return [_event(event) for event in events.iterator(chunk_size=PAGE)]


def _event(event: NotificationEvent) -> dict[str, Any]:
    names = ("source", "idempotency_key", "event_type", "order_id", "metadata", "recipient", "status")
    told = {"eventId": event.id, **_fields(event, *names, "recorded_at", "settled_at")}
    return {**told, "deliveries": [_delivery(delivery) for delivery in event.deliveries.all()]}


def _delivery(delivery: Delivery) -> dict[str, Any]:
    names = ("channel", "status", "skip_reason", "detail", "provider", "provider_message_id", "sent_at", "finished_at")
    told = {"deliveryId": delivery.id, **_fields(delivery, *names)}
    letters = [_fields(letter, "cause", "last_error", "status") for letter in delivery.dead_letters.all()]
    return {**told, "attempts": [_attempt(each) for each in delivery.attempts.all()], "deadLetters": letters}


def _attempt(attempt: Attempt) -> dict[str, Any]:
    names = ("number", "address_id", "address_hash", "provider", "outcome", "code", "detail", "provider_message_id")
    return _fields(attempt, *names, "started_at", "finished_at")


def _inbox(user_id: UUID | None) -> list[dict[str, Any]]:
    rows = InboxMessage.objects.filter(user_id=user_id).order_by("created_at", "id") if user_id else ()
    return [_fields(row, "id", "event_type", "title", "body", "url", "created_at", "read_at") for row in rows]


def _refused(person: Person) -> list[dict[str, Any]]:
    after, found = UUID(int=0), []
    while letters := DeadLetter.objects.refused(after, LETTERS):
        found += [(letter_id, payload) for letter_id, payload in letters if names(person, payload)]
        after = letters[-1][0]
    return [{"id": letter_id, "payload": payload.decode(errors="replace")} for letter_id, payload in found]
