"""What the shop tells us of its people: saved, merged and forgotten here."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from datetime import time
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models import Q

from preferences import audit
from preferences.models import Device, Preference, SuppressedAddress, User
from preferences.resolve import EMAIL, PHONE, mark_valid

FIELDS = ("email", "phone", "locale", "time_zone")


@dataclass(frozen=True, slots=True)
class Saved:
    user: User
    created: bool


def save(people: Sequence[tuple[UUID, Mapping[str, Any]]]) -> list[Saved | ValidationError]:
    """Merge what is given into the people of these ids, making those who are new; one answer each, in order.

    Of FIELDS, what is absent stays and None clears. Somebody whose fields are wrong is left as they were, and
    their place holds the ValidationError, by field. A few queries, however many people.
    """
    with transaction.atomic():
        rows = User.objects.filter(id__in={user_id for user_id, _ in people})
        known = {user.id: user for user in rows.order_by("id").select_for_update()}
        latest = dict(known)
        answers: list[Saved | ValidationError] = []
        for user_id, changes in people:
            answer = _merged(latest.get(user_id), user_id, changes)
            if isinstance(answer, Saved):
                latest[user_id] = answer.user
            answers.append(answer)
        _write(known, [user for user_id, user in latest.items() if user is not known.get(user_id)])
    return answers


def _write(before: Mapping[UUID, User], changed: Iterable[User]) -> None:
    users = sorted(changed, key=lambda user: user.id)  # one order, so that two calls cannot deadlock
    User.objects.bulk_create(users, update_conflicts=True, unique_fields=["id"], update_fields=FIELDS)
    for kind in (EMAIL, PHONE):
        given = {getattr(user, kind) for user in users}
        mark_valid(kind, given - {getattr(user, kind) for user in before.values()})


def _merged(user: User | None, user_id: UUID, changes: Mapping[str, Any]) -> Saved | ValidationError:
    """A copy with the changes, or what is wrong with them."""
    merged = User(id=user_id)
    for name in FIELDS:
        value = changes.get(name) if name in changes else getattr(user or merged, name)
        if value is not None:  # None clears: the new row's default stands
            setattr(merged, name, value)
    try:
        merged.clean_fields(exclude={field.name for field in User._meta.fields} - set(FIELDS))
    except ValidationError as error:
        return error
    return Saved(merged, created=user is None)


def save_device(user: User, token: str, platform: str) -> tuple[Device, bool]:
    """The device with this token, now this person's; True when it is new. Raises ValidationError."""
    Device(user=user, token=token, platform=platform).clean_fields(exclude={"user"})
    return Device.objects.update_or_create(token=token, defaults={"user": user, "platform": platform})


def set_quiet_hours(user: User, start: time | None, end: time | None) -> None:
    """From `start` until `end` by the clocks of the person's time zone; both None: none. Raises ValidationError."""
    user.quiet_from, user.quiet_until = start, end
    user.validate_constraints()
    user.save(update_fields=["quiet_from", "quiet_until"])


PAGE_FIELDS = ("locale", "time_zone", "quiet_from", "quiet_until")


def draft(user: User, changes: Mapping[str, str]) -> User:
    """A checked copy of the person with these of PAGE_FIELDS, as a form sends them; empty quiet hours are none.

    Raises ValidationError, by field.
    """
    changed = copy(user)
    for name, text in changes.items():
        setattr(changed, name, text or None)
    changed.clean_fields(exclude={field.name for field in User._meta.fields} - set(PAGE_FIELDS))
    try:
        changed.validate_constraints()
    except ValidationError as error:
        raise ValidationError({"quiet_until": error.messages}) from error
    return changed


def rechoose(user: User, made: Mapping[tuple[str, str], bool], forgotten: Collection[tuple[str, str]] = ()) -> None:
    """Make some of a person's choices and forget others, by (event type, channel), all at once."""
    with transaction.atomic():
        for event_type, channel in forgotten:
            Preference.objects.filter(user=user, event_type=event_type, channel=channel).delete()
        if made:
            choose(user, made)


def choose(user: User, choices: Mapping[tuple[str, str], bool]) -> list[Preference]:
    """Set a person's choices, by (event type, channel), all at once; the rows in the order given."""
    rows = [
        Preference(user=user, event_type=event_type, channel=channel, enabled=enabled)
        for (event_type, channel), enabled in choices.items()
    ]
    Preference.objects.bulk_create(
        sorted(rows, key=lambda row: (row.event_type, row.channel)),
        update_conflicts=True,
        unique_fields=["user", "event_type", "channel"],
        update_fields=["enabled", "updated_at"],
    )
    return rows


class StaffError(ValueError):
    """A member of staff cannot be forgotten as such."""


def close(user_id: UUID) -> User | None:
    """Reach this person no more, and take no further events for them; the person, if they are known.

    Raises StaffError: what staff did stays attributable.
    """
    with transaction.atomic():
        user = User.objects.select_for_update().filter(id=user_id).first()
        if user and (user.is_staff or user.is_superuser):
            raise StaffError(f"{user} is staff; take the staff status away first.")
        if user:
            User.objects.filter(id=user_id).update(is_active=False)
    return user


def forget(user_id: UUID | None, email: str, phone: str) -> None:
    """Delete the person, if they have a row, their devices and choices, and what providers said of these addresses.

    The history of these rows forgets the addresses with them. An opt-out stays, address and all: it is what keeps its
    promise to the person, should they come back as a guest.
    """
    wanted = Q(kind=EMAIL, address=email.lower()) | Q(kind=PHONE, address=phone)
    with transaction.atomic():
        SuppressedAddress.objects.filter(wanted, reason=SuppressedAddress.Reason.INVALID).delete()
        if user_id:
            User.objects.filter(id=user_id).delete()
        audit.blank(user_id, [address for address in (email.lower(), phone) if address])


def having(emails: Sequence[str] = (), *, phone: str = "", limit: int) -> list[UUID]:
    """Up to `limit` people with one of these addresses, exactly as they are kept. Walks user_email and user_phone."""
    # asked for none, PostgreSQL would read some partial index whole: to its planner none meets any condition
    wanted = [(_HAVING_EMAIL, list(emails))] * bool(emails) + [(_HAVING_PHONE, phone)] * bool(phone)
    if not wanted:
        return []
    with connection.cursor() as cursor:
        cursor.execute(f"{' UNION '.join(sql for sql, _ in wanted)} LIMIT %s", [*(value for _, value in wanted), limit])
        return [user_id for (user_id,) in cursor.fetchall()]


def named(term: str, limit: int) -> list[UUID]:
    """Up to `limit` active people whom somebody means by an id, an email, a phone number or a username."""
    with suppress(ValueError):
        return list(User.objects.filter(id=UUID(term), is_active=True).values_list("id", flat=True))
    wanted = Q(email=term) if "@" in term else Q(phone=term.replace(" ", "")) | Q(username=term)
    return list(User.objects.filter(wanted, is_active=True).values_list("id", flat=True)[:limit])


_HAVING_EMAIL = "SELECT id FROM preferences_user WHERE email <> '' AND email = ANY(%s)"
_HAVING_PHONE = "SELECT id FROM preferences_user WHERE phone <> '' AND phone = %s"
