"""Who may be reached how: people's addresses and choices as the engine plans with them.

Every function takes many people and asks the database a fixed number of times.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import time
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from django.conf import settings
from django.core.cache import caches
from django.db import connection

from preferences.models import Device, SuppressedAddress, User
from preferences.quiet_hours import QuietHours

EMAIL, PHONE, DEVICE, USER = "email", "phone", "device", "user"
CACHE = "people"
FEW = 20  # people
NO_CHOICES: Mapping[tuple[str, str], bool] = MappingProxyType({})


class Address(NamedTuple):  # as the one below: made many times an event, at a third of a dataclass's cost
    """Where one message goes. `value` is personal data; `id` names it where a person has several."""

    value: str
    id: str = ""
    suppressed: bool = False


class Recipient(NamedTuple):
    """A person as the engine sees them. A guest has no `user_id`.

    `addresses` goes by kind: "email", "phone", "device", "user"; `choices` by (type, channel), "" = all.
    """

    user_id: UUID | None
    locale: str
    time_zone: str
    addresses: Mapping[str, tuple[Address, ...]]
    choices: Mapping[tuple[str, str], bool] = NO_CHOICES
    quiet_hours: QuietHours | None = None

    def allows(self, event_type: str, channel: str) -> bool:
        """Does the person want this type on this channel?

        A choice for the type on the channel decides. Else the choices for the whole type and for the whole
        channel do, and off wins; else the one for everything. Without any, it is on.
        """
        if not self.choices:
            return True
        chosen = self.choices.get
        if (exact := chosen((event_type, channel))) is not None:
            return exact
        of_type, of_channel = chosen((event_type, "")), chosen(("", channel))
        if of_type is None and of_channel is None:
            return chosen(("", ""), True)
        return of_type is not False and of_channel is not False

    def turned_off_by(self, event_type: str, channel: str) -> tuple[str, str] | None:
        """The choice (type, channel; "" = all) because of which `allows` says no; None where it says yes."""
        if self.allows(event_type, channel):
            return None
        keys = ((event_type, channel), (event_type, ""), ("", channel), ("", ""))
        return next(key for key in keys if self.choices.get(key) is False)


#: stands where a person was erased meanwhile: reachable nowhere
NOBODY = Recipient(user_id=None, locale="en", time_zone="UTC", addresses={})


def glance_sql(user_id: str, guest: str, whole: str) -> str:
    """SQL of what `people` needs of a row's person, as JSON text: [version, suppressed kinds, person].

    For a query in which `user_id` is a uuid, `guest` a jsonb and `whole` a bool. A user comes without the person, as it
    may be in the cache, unless `whole`. NULL for a user who is unknown or inactive. Every look-up is by an index.
    """
    return f"""COALESCE(
        (SELECT json_build_array(owner.version, {_suppressed("owner.email", "owner.phone")},
            CASE WHEN {whole} THEN {_PERSON} END)
         FROM preferences_user AS owner WHERE owner.id = {user_id} AND owner.is_active),
        CASE WHEN {guest} IS NOT NULL THEN json_build_array(
            NULL, {_suppressed(f"({guest} ->> 'email')", f"({guest} ->> 'phone')")}, json_build_array(
                {guest} ->> 'locale', {guest} ->> 'timeZone', {guest} ->> 'email', {guest} ->> 'phone',
                NULL, NULL, NULL, NULL))
        END)::text"""  # noqa: S608 - names of columns


def _suppressed(email: str, phone: str) -> str:
    # by the address alone, as no phone number is a mail address: one look into the index in place of three.
    # lower() goes by the database's locale: C knows no Ü of a domain, and Turkish another i than Python. What it
    # gives is compared by the index's own collation, the default: by another one the whole table would be read
    return f"""(SELECT json_agg(blocked.kind) FROM preferences_suppressedaddress AS blocked
        WHERE blocked.address = ANY(ARRAY[
            lower({email} COLLATE "C") COLLATE "default", lower({email}), {phone}]))"""  # noqa: S608 - names of columns


_PERSON = """json_build_array(
    owner.locale, owner.time_zone, owner.email, owner.phone,
    (SELECT json_agg(json_build_array(device.id, device.token)) FROM preferences_device AS device
     WHERE device.user_id = owner.id),
    (SELECT json_agg(json_build_array(choice.event_type, choice.channel, choice.enabled))
     FROM preferences_preference AS choice WHERE choice.user_id = owner.id),
    owner.quiet_from, owner.quiet_until)"""


def comes_whole(number: int) -> bool:
    """Whether so many people are sooner read whole than looked for in the cache first."""
    return number < FEW or not settings.PEOPLE_CACHE_SECONDS


def people(rows: Sequence[tuple[UUID | None, str | None]]) -> list[Recipient]:
    """The Recipients of (user id, what glance_sql gave), in their order; NOBODY where that was NULL.

    One look into the cache, and one query for whom it does not know; neither where all came whole.
    """
    glances = [orjson.loads(found) if found else None for _, found in rows]
    wanted = {user_id: g[0] for (user_id, _), g in zip(rows, glances, strict=True) if user_id and g and g[2] is None}
    known = _remembered(wanted) if wanted else {}
    return [_seen(user_id, g, known) if g else NOBODY for (user_id, _), g in zip(rows, glances, strict=True)]


def _seen(user_id: UUID | None, glance: Sequence[Any], known: Mapping[UUID, Sequence[Any]]) -> Recipient:
    _, suppressed, person = glance
    person = person or (user_id and known.get(user_id))
    return _recipient(user_id, person, suppressed) if person else NOBODY  # erased since the glance


def _remembered(versions: Mapping[UUID, int]) -> dict[UUID, Sequence[Any]]:
    """People by id, each at the version that is named, or at a newer one.

    What was read under a version is never another thing, so nothing has to be taken out of the cache: whoever sees a
    change sees a new version, and who is still writing down what came before writes where nobody looks any more.
    """
    keys = {_key_of(user_id, version): user_id for user_id, version in versions.items()}
    found = {keys[key]: text for key, text in caches[CACHE].get_many(keys).items()}
    if missing := versions.keys() - found.keys():
        with connection.cursor() as cursor:
            cursor.execute(_MISSING, [list(missing)])
            loaded = cursor.fetchall()
        caches[CACHE].set_many({_key_of(user_id, version): text for user_id, version, text in loaded})
        found |= {user_id: text for user_id, _, text in loaded}
    return {user_id: orjson.loads(text) for user_id, text in found.items()}


def _key_of(user_id: UUID, version: int) -> str:
    return f"{user_id.hex}.{version}"  # the id, too: whatever becomes of the numbers, nobody is taken for another


_MISSING = f"SELECT id, version, {_PERSON}::text FROM preferences_user AS owner WHERE id = ANY(%s) AND is_active"  # noqa: S608 - as above


def _recipient(user_id: UUID | None, person: Sequence[Any], suppressed: Collection[str] | None) -> Recipient:
    locale, time_zone, email, phone, devices, choices, quiet_from, quiet_until = person
    addresses = {
        EMAIL: _address(EMAIL, email, suppressed),
        PHONE: _address(PHONE, phone, suppressed),
        DEVICE: tuple(Address(token, device_id) for device_id, token in devices) if devices else (),
        USER: (Address(str(user_id)),) if user_id else (),
    }
    chosen = {(event_type, channel): enabled for event_type, channel, enabled in choices} if choices else NO_CHOICES
    quiet_hours = _quiet_hours(quiet_from, quiet_until, time_zone) if quiet_from else None
    # by place: by name it takes twice as long
    return Recipient(user_id, locale or settings.DEFAULT_LOCALE, time_zone or "UTC", addresses, chosen, quiet_hours)


def load(user_ids: Iterable[UUID], *, whole: bool = True) -> dict[UUID, Recipient]:
    """The active users among these, by id; who is unknown or inactive is absent. One query, or as `people` says."""
    wanted = list(dict.fromkeys(user_ids))
    with connection.cursor() as cursor:
        cursor.execute(_LOAD, [whole, wanted])
        found = cursor.fetchall()
    rows = [(user_id, glance) for user_id, (glance,) in zip(wanted, found, strict=True) if glance is not None]
    return dict(zip((user_id for user_id, _ in rows), people(rows), strict=True))


_LOAD = f"""
SELECT {glance_sql("wanted.id", "NULL::jsonb", "%s")}
FROM unnest(%s::uuid[]) WITH ORDINALITY AS wanted(id, place) ORDER BY place
"""  # noqa: S608 - as above


def guest(recipient: Mapping[str, str]) -> Recipient:
    """A person without an account, from a trigger's `recipient`. One query."""
    return guests([recipient])[0]


def guests(recipients: Sequence[Mapping[str, str]]) -> list[Recipient]:
    """The same for many, in their order. One query."""
    with connection.cursor() as cursor:
        cursor.execute(_GUESTS, [orjson.dumps(list(recipients)).decode()])
        return people([(None, found) for (found,) in cursor.fetchall()])


_GUESTS = f"""
SELECT {glance_sql("NULL::uuid", "given.guest", "true")}
FROM jsonb_array_elements(%s::jsonb) WITH ORDINALITY AS given(guest, place) ORDER BY place
"""  # noqa: S608 - as above


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
        suppress(kind, address, SuppressedAddress.Reason.INVALID)


def mark_valid(kind: str, addresses: Iterable[str]) -> None:
    """Somebody gave these anew: what a provider once said of them no longer counts. An opt-out stays."""
    SuppressedAddress.objects.filter(
        kind=kind, address__in={_key(address) for address in addresses}, reason=SuppressedAddress.Reason.INVALID
    ).delete()


def opt_out(kind: str, address: str) -> None:
    """Nothing goes to this address any more, whoever has it. Says so also where it is known to be wrong."""
    suppress(kind, address, SuppressedAddress.Reason.OPTED_OUT)


def suppress(kind: str, address: str, reason: str) -> tuple[SuppressedAddress, bool]:
    """The row of an address that gets nothing, and whether it is new. An opt-out stays one, whatever else is said."""
    find = SuppressedAddress.objects.get_or_create
    if reason == SuppressedAddress.Reason.OPTED_OUT:
        find = SuppressedAddress.objects.update_or_create
    return find(kind=kind, address=_key(address), defaults={"reason": reason})


def opt_in(kind: str, address: str) -> None:
    """Its owner took the opt-out back."""
    SuppressedAddress.objects.filter(
        kind=kind, address=_key(address), reason=SuppressedAddress.Reason.OPTED_OUT
    ).delete()


def _key(address: str) -> str:
    return address.lower()


def _quiet_hours(start: str, end: str, time_zone: str) -> QuietHours:
    return QuietHours(time.fromisoformat(start), time.fromisoformat(end), time_zone)


def _address(kind: str, value: str | None, suppressed: Collection[str] | None) -> tuple[Address, ...]:
    return (Address(value, "", suppressed is not None and kind in suppressed),) if value else ()
