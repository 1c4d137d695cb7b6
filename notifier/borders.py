"""Where messages may go at all: by phone only to the countries of settings.SMS_REGIONS, and in staging to nobody but
those whom settings.STAGING_RECIPIENTS names.

An entry of that is a mail address, a domain (@shop.example), a phone number or device:TOKEN. With *= before it, it gets
what is for everybody else of its kind. Whose mail address or phone number is named gets push messages, too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache

from django.conf import settings
from django.core.signals import setting_changed

from channels.base import Channel
from notifier.states import SkipReason
from preferences.addresses import region_of
from preferences.resolve import DEVICE, EMAIL, PHONE, USER, Address, Recipient

MARK = "[STAGING]"
FIRST_LINES = ("subject", "title", "text")  # the part of a message that is read first
EVERYBODY = "*="
DEVICE_ENTRY = "device:"


def staging() -> bool:
    """Are messages kept from real customers?"""
    return bool(settings.STAGING_RECIPIENTS)


def refusal(recipient: Recipient, kind: str) -> SkipReason:
    """Why nothing can go to this kind of address of the recipient; NONE when something can."""
    addresses = recipient.addresses.get(kind)
    if not addresses:
        return SkipReason.NO_ADDRESS
    usable = [address for address in addresses if not address.suppressed]
    if not usable:
        return SkipReason.SUPPRESSED
    # the settings are looked at here first: four times an event, a call for each would be a third of the plan
    if kind == PHONE and settings.SMS_REGIONS and not any(_in_its_country(kind, address) for address in usable):
        return SkipReason.COUNTRY
    if settings.STAGING_RECIPIENTS and not destinations(recipient, kind):
        return SkipReason.STAGING
    return SkipReason.NONE


def destinations(recipient: Recipient, kind: str) -> tuple[Address, ...]:
    """Where a message to this kind of address goes: all that are sent are made from these."""
    usable = tuple(
        address
        for address in recipient.addresses.get(kind, ())
        if not address.suppressed and _in_its_country(kind, address)
    )
    if not usable or not staging() or kind == USER:
        return usable
    return _allowed_in_staging(recipient, kind, usable)


def keeps_out(channel: Channel) -> bool:
    """In staging a channel without addresses, which names people by their id alone, must not leave the house."""
    in_house = bool(channel.providers) and not any(provider.remote for provider in channel.providers)
    return staging() and channel.address == USER and not in_house


def marked(parts: Mapping[str, str]) -> Mapping[str, str]:
    """A message's parts, which in staging say so at their beginning."""
    if not staging():
        return parts
    first = next((name for name in FIRST_LINES if name in parts), next(iter(parts)))
    return {**parts, first: f"{MARK} {parts[first]}"}


def _in_its_country(kind: str, address: Address) -> bool:
    regions: Collection[str] = settings.SMS_REGIONS
    return kind != PHONE or not regions or region_of(address.value) in regions


@dataclass(frozen=True, slots=True)
class _Named:
    """STAGING_RECIPIENTS by kind of address; `stand_ins` get what is for everybody else."""

    addresses: frozenset[tuple[str, str]]
    domains: frozenset[str]
    stand_ins: Mapping[str, str]

    def has(self, kind: str, value: str) -> bool:
        value = value.lower() if kind == EMAIL else value
        return (kind, value) in self.addresses or (kind == EMAIL and value.rpartition("@")[2] in self.domains)


def _allowed_in_staging(recipient: Recipient, kind: str, addresses: tuple[Address, ...]) -> tuple[Address, ...]:
    named = _named()
    owner = kind == DEVICE and any(
        named.has(of, address.value) for of in (EMAIL, PHONE) for address in recipient.addresses.get(of, ())
    )
    allowed = tuple(address for address in addresses if owner or named.has(kind, address.value))
    if not allowed and (stand_in := named.stand_ins.get(kind)):
        return (Address(stand_in, id="staging" if kind == DEVICE else ""),)
    return allowed


@cache
def _named() -> _Named:
    entries: tuple[str, ...] = settings.STAGING_RECIPIENTS
    plain = [_kind_and_value(entry) for entry in entries if not entry.startswith(("@", EVERYBODY))]
    return _Named(
        addresses=frozenset(plain),
        domains=frozenset(entry[1:].lower() for entry in entries if entry.startswith("@")),
        stand_ins=dict(_kind_and_value(e.removeprefix(EVERYBODY)) for e in entries if e.startswith(EVERYBODY)),
    )


def _kind_and_value(entry: str) -> tuple[str, str]:
    if entry.startswith(DEVICE_ENTRY):
        return DEVICE, entry.removeprefix(DEVICE_ENTRY)
    return (PHONE, entry) if entry.startswith("+") else (EMAIL, entry.lower())


def _forget(*, setting: str, **_: object) -> None:
    if setting == "STAGING_RECIPIENTS":
        _named.cache_clear()


setting_changed.connect(_forget)  # only tests change settings
