"""Who may be reached how: people's addresses and choices as the engine plans with them.

Every function takes many people and asks the database a fixed number of times.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from django.conf import settings

from preferences.models import Device, Preference, SuppressedAddress, User

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


def load(user_ids: Iterable[UUID]) -> dict[UUID, Recipient]:
    """The active users among these, by id; who is unknown or inactive is absent. Four queries."""
    users = list(User.objects.filter(id__in=set(user_ids), is_active=True))
    ids = [user.id for user in users]
    suppressed = _suppressed([user.email for user in users], [user.phone for user in users])
    devices: dict[UUID, list[Address]] = defaultdict(list)
    for device_id, user_id, token in Device.objects.filter(user__in=ids).values_list("id", "user_id", "token"):
        devices[user_id].append(Address(token, id=str(device_id)))
    choices: dict[UUID, dict[tuple[str, str], bool]] = defaultdict(dict)
    rows = Preference.objects.filter(user__in=ids).values_list("user_id", "event_type", "channel", "enabled")
    for user_id, event_type, channel, enabled in rows:
        choices[user_id][event_type, channel] = enabled
    return {
        user.id: Recipient(
            user_id=user.id,
            locale=user.locale,
            time_zone=user.time_zone,
            addresses={
                EMAIL: _address(EMAIL, user.email, suppressed),
                PHONE: _address(PHONE, user.phone, suppressed),
                DEVICE: tuple(devices[user.id]),
                USER: (Address(str(user.id)),),
            },
            choices=choices[user.id],
        )
        for user in users
    }


def guest(recipient: Mapping[str, str]) -> Recipient:
    """A person without an account, from a trigger's `recipient`. One query."""
    return guests([recipient])[0]


def guests(recipients: Sequence[Mapping[str, str]]) -> list[Recipient]:
    """The same for many, in their order. One query."""
    suppressed = _suppressed([r.get("email", "") for r in recipients], [r.get("phone", "") for r in recipients])
    return [
        Recipient(
            user_id=None,
            locale=recipient.get("locale") or settings.DEFAULT_LOCALE,
            time_zone=recipient.get("timeZone") or "UTC",
            addresses={
                EMAIL: _address(EMAIL, recipient.get("email", ""), suppressed),
                PHONE: _address(PHONE, recipient.get("phone", ""), suppressed),
                DEVICE: (),
                USER: (),
            },
        )
        for recipient in recipients
    ]


def existing(user_ids: Iterable[UUID]) -> set[UUID]:
    """Those among these ids that are active users. One query, none for none."""
    return set(User.objects.filter(id__in=set(user_ids), is_active=True).values_list("id", flat=True))


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


def _key(address: str) -> str:
    return address.lower()


def _suppressed(emails: Iterable[str], phones: Iterable[str]) -> set[tuple[str, str]]:
    """(kind, address) of those among these that get nothing. Looked up by the unique index."""
    wanted_emails, wanted_phones = ({_key(address) for address in some if address} for some in (emails, phones))
    rows = SuppressedAddress.objects.filter(kind=EMAIL, address__in=wanted_emails).union(
        SuppressedAddress.objects.filter(kind=PHONE, address__in=wanted_phones), all=True
    )
    return set(rows.values_list("kind", "address"))


def _address(kind: str, value: str, suppressed: set[tuple[str, str]]) -> tuple[Address, ...]:
    return (Address(value, suppressed=(kind, _key(value)) in suppressed),) if value else ()
