"""Who may be reached how: people's addresses and choices as the engine plans with them.

Every function takes many people and asks the database a fixed number of times.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import time
from uuid import UUID

import orjson
from django.conf import settings
from django.db import connection

from preferences.models import Device, SuppressedAddress, User
from preferences.quiet_hours import QuietHours

EMAIL, PHONE, DEVICE, USER = "email", "phone", "device", "user"


@dataclass(frozen=True, slots=True)
class Address:
    """Where one message goes. `value` is personal data; `id` names it where a person has several."""

    value: str
    id: str = ""
    suppressed: bool = False


@dataclass(frozen=True, slots=True)
class Recipient:
    """A person as the engine sees them. A guest has no `user_id`.

    `addresses` goes by kind: "email", "phone", "device", "user"; `choices` by (type, channel), "" = all.
    """

    user_id: UUID | None
    locale: str
    time_zone: str
    addresses: Mapping[str, tuple[Address, ...]]
    choices: Mapping[tuple[str, str], bool] = field(default_factory=dict)
    quiet_hours: QuietHours | None = None

    def allows(self, event_type: str, channel: str) -> bool:
        """Does the person want this type on this channel?

        A choice for the type on the channel decides. Else the choices for the whole type and for the whole
        channel do, and off wins; else the one for everything. Without any, it is on.
        """
        exact = self.choices.get((event_type, channel))
        if exact is not None:
            return exact
        wide = [self.choices[key] for key in ((event_type, ""), ("", channel)) if key in self.choices]
        return all(wide) if wide else self.choices.get(("", ""), True)


#: stands where a person was erased meanwhile: reachable nowhere
NOBODY = Recipient(user_id=None, locale="en", time_zone="UTC", addresses={})


def person_sql(user_id: str, guest: str) -> str:
    """SQL of a row's person as JSON text, for a query in which these are a uuid and a jsonb; `person` reads it.

    NULL for a user who is unknown or inactive. Every look-up is by an index.
    """
    # lower() goes by the database's locale: C knows no Ü of a domain, and Turkish another i than Python. What it
    # gives is compared by the index's own collation, the default: by another one the whole table would be read
    suppressed = """(SELECT json_agg(blocked.kind) FROM preferences_suppressedaddress AS blocked
        WHERE (blocked.kind, blocked.address) IN (
            ('email', lower({email} COLLATE "C") COLLATE "default"), ('email', lower({email})), ('phone', {phone})))"""
    return f"""COALESCE(
        (SELECT json_build_array(
            owner.locale, owner.time_zone, owner.email, owner.phone,
            (SELECT json_agg(json_build_array(device.id, device.token)) FROM preferences_device AS device
             WHERE device.user_id = owner.id),
            (SELECT json_agg(json_build_array(choice.event_type, choice.channel, choice.enabled))
             FROM preferences_preference AS choice WHERE choice.user_id = owner.id),
            {suppressed.format(email="owner.email", phone="owner.phone")},
            owner.quiet_from, owner.quiet_until)
         FROM preferences_user AS owner WHERE owner.id = {user_id} AND owner.is_active),
        CASE WHEN {guest} IS NOT NULL THEN json_build_array(
            {guest} ->> 'locale', {guest} ->> 'timeZone', {guest} ->> 'email', {guest} ->> 'phone', NULL, NULL,
            {suppressed.format(email=f"({guest} ->> 'email')", phone=f"({guest} ->> 'phone')")}, NULL, NULL)
        END)::text"""  # noqa: S608 - names of columns


def person(user_id: UUID | None, found: str | None) -> Recipient:
    """The Recipient of a row, from what person_sql gave for it; NOBODY where that was NULL."""
    if found is None:
        return NOBODY
    locale, time_zone, email, phone, devices, choices, blocked, quiet_from, quiet_until = orjson.loads(found)
    return Recipient(
        user_id=user_id,
        locale=locale or settings.DEFAULT_LOCALE,
        time_zone=time_zone or "UTC",
        addresses={
            EMAIL: _address(EMAIL, email, blocked),
            PHONE: _address(PHONE, phone, blocked),
            DEVICE: tuple(Address(token, id=str(device_id)) for device_id, token in devices or ()),
            USER: (Address(str(user_id)),) if user_id else (),
        },
        choices={(event_type, channel): enabled for event_type, channel, enabled in choices or ()},
        quiet_hours=_quiet_hours(quiet_from, quiet_until, time_zone) if quiet_from else None,
    )


def load(user_ids: Iterable[UUID]) -> dict[UUID, Recipient]:
    """The active users among these, by id; who is unknown or inactive is absent. One query."""
    with connection.cursor() as cursor:
        cursor.execute(_LOAD, [list(set(user_ids))])
        return {user_id: person(user_id, found) for user_id, found in cursor.fetchall() if found is not None}


_LOAD = f"SELECT id, {person_sql('wanted.id', 'NULL::jsonb')} FROM unnest(%s::uuid[]) AS wanted(id)"  # noqa: S608


def guest(recipient: Mapping[str, str]) -> Recipient:
    """A person without an account, from a trigger's `recipient`. One query."""
    return guests([recipient])[0]


def guests(recipients: Sequence[Mapping[str, str]]) -> list[Recipient]:
    """The same for many, in their order. One query."""
    with connection.cursor() as cursor:
        cursor.execute(_GUESTS, [orjson.dumps(list(recipients)).decode()])
        return [person(None, found) for (found,) in cursor.fetchall()]


_GUESTS = f"""
SELECT {person_sql("NULL::uuid", "given.guest")}
FROM jsonb_array_elements(%s::jsonb) WITH ORDINALITY AS given(guest, place) ORDER BY place
"""  # noqa: S608


def existing(user_ids: Iterable[UUID]) -> set[UUID]:
    """Those among these ids that are active users. One query, none for none."""
    wanted = list(set(user_ids))
    if not wanted:
        return set()
    with connection.cursor() as cursor:  # each trigger asks: the ORM costs three times as much
        cursor.execute("SELECT id FROM preferences_user WHERE id = ANY(%s) AND is_active", [wanted])
        return {user_id for (user_id,) in cursor.fetchall()}


def members(group: str) -> list[UUID]:
    """The active staff of a group, in no order that matters."""
    staff = User.objects.filter(groups__name=group, is_active=True, is_staff=True)
    return list(staff.order_by("id").values_list("id", flat=True))


def mark_invalid(kind: str, address: str) -> None:
    """A provider says that this address is wrong for good. A device is forgotten, another suppressed."""
    if kind == DEVICE:
        Device.objects.filter(token=address).delete()
    else:
        SuppressedAddress.objects.get_or_create(
            kind=kind, address=_key(address), defaults={"reason": SuppressedAddress.Reason.INVALID}
        )


def mark_valid(kind: str, addresses: Iterable[str]) -> None:
    """Somebody gave these anew: what a provider once said of them no longer counts. An opt-out stays."""
    SuppressedAddress.objects.filter(
        kind=kind, address__in={_key(address) for address in addresses}, reason=SuppressedAddress.Reason.INVALID
    ).delete()


def opt_out(kind: str, address: str) -> None:
    """Nothing goes to this address any more, whoever has it. Says so also where it is known to be wrong."""
    SuppressedAddress.objects.update_or_create(
        kind=kind, address=_key(address), defaults={"reason": SuppressedAddress.Reason.OPTED_OUT}
    )


def opt_in(kind: str, address: str) -> None:
    """Its owner took the opt-out back."""
    SuppressedAddress.objects.filter(
        kind=kind, address=_key(address), reason=SuppressedAddress.Reason.OPTED_OUT
    ).delete()


def _key(address: str) -> str:
    return address.lower()


def _quiet_hours(start: str, end: str, time_zone: str) -> QuietHours:
    return QuietHours(time.fromisoformat(start), time.fromisoformat(end), time_zone)


def _address(kind: str, value: str | None, blocked: Sequence[str] | None) -> tuple[Address, ...]:
    return (Address(value, suppressed=kind in (blocked or ())),) if value else ()
