"""The channels that settings.CHANNELS configures, built once a process and only when first asked for.

    CHANNELS = {
        "SMS": {
            "CHANNEL": "channels.sms.SmsChannel",
            "PROVIDERS": [{"PROVIDER": "channels.providers.twilio.TwilioProvider", "OPTIONS": {…}, "RATE": 100}],
            "DAILY_BUDGET": 5000,
        },
    }

The providers of a channel are asked in the order given. RATE is how many messages a second the provider's account
takes, over all workers; DAILY_BUDGET how many messages the channel sends in a day at most; without one, or with 0,
there is no limit. Whatever is wrong with an entry is an
ImproperlyConfigured of one line that names the entry.
"""

from __future__ import annotations

import inspect
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from channels.base import AddressKind, Channel, Provider
from channels.budget import Budget
from channels.gate import Gate

_T = TypeVar("_T")


def names() -> tuple[str, ...]:
    """The configured channels, in the order of the settings."""
    return tuple(settings.CHANNELS)


def address_kind(name: str) -> AddressKind:
    """Which address the channel needs. Raises KeyError for a channel that is not configured."""
    return channel_class(name).address


def address_kinds() -> dict[str, str]:
    """The configured channels, each with the kind of address that it needs."""
    return {name: address_kind(name).value for name in names()}


def disturbing() -> frozenset[str]:
    """The configured channels that keep to quiet hours."""
    return frozenset(name for name in names() if channel_class(name).disturbs)


def parts(name: str) -> Mapping[str, str]:
    """The channel's template parts, each with its format ("text" or "html"). KeyError as above."""
    return channel_class(name).parts


@cache
def channel_class(name: str) -> type[Channel]:
    """The channel's class, without building its providers. Raises KeyError, ImproperlyConfigured."""
    entry = _entry(name)
    found = _import(entry.get("CHANNEL"), Channel, f"CHANNELS[{name!r}]['CHANNEL']")
    if found.name != name:
        raise ImproperlyConfigured(
            f"CHANNELS[{name!r}]['CHANNEL']: {found.__qualname__} is the channel {found.name!r}."
        )
    return found


@cache
def get(name: str) -> Channel:
    """The channel with its providers. Raises KeyError when it is not configured, ImproperlyConfigured."""
    found = channel_class(name)
    entries = _entry(name).get("PROVIDERS", [])
    if not entries and found.send is Channel.send:
        raise ImproperlyConfigured(f"CHANNELS[{name!r}]['PROVIDERS'] is empty.")
    places = [f"CHANNELS[{name!r}]['PROVIDERS'][{i}]" for i in range(len(entries))]
    providers = [_provider(entry, where) for entry, where in zip(entries, places, strict=True)]
    rates = [_rate(entry, where) for entry, where in zip(entries, places, strict=True)]
    _set_gates(name, providers, rates)
    channel = found(providers)
    if budget := daily_budget(name):
        channel.budget = Budget(name, budget)
    return channel


def daily_budget(name: str) -> int:
    """Messages that the channel may send in a day; 0 is no limit. Raises KeyError, ImproperlyConfigured."""
    return _whole(_entry(name).get("DAILY_BUDGET", 0), f"CHANNELS[{name!r}]['DAILY_BUDGET']", "day")


def gates() -> list[Gate]:
    """The gates of every configured channel's remote providers. Raises ImproperlyConfigured."""
    return [provider.gate for name in names() for provider in get(name).providers if provider.gate]


def listeners(provider: str) -> list[tuple[Channel, Provider]]:
    """The providers of this name that take calls at POST /webhooks/{provider}, with their channels."""
    channels = [get(name) for name in names()]
    found = [(channel, one) for channel in channels for one in channel.providers if one.name == provider]
    return [(channel, one) for channel, one in found if type(one).reply is not Provider.reply]


def clear() -> None:
    """Forget what was built; the next call builds anew from the settings."""
    channel_class.cache_clear()
    get.cache_clear()


def _entry(name: str) -> Mapping[str, Any]:
    if name not in settings.CHANNELS:
        raise KeyError(f"channel {name} is not configured")
    entry: Mapping[str, Any] = settings.CHANNELS[name]
    return entry


def _provider(entry: Mapping[str, Any], where: str) -> Provider:
    found = _import(entry.get("PROVIDER"), Provider, f"{where}['PROVIDER']")
    options = entry.get("OPTIONS", {})
    try:
        inspect.signature(found).bind(**options)
    except TypeError as error:
        raise ImproperlyConfigured(f"{where}['OPTIONS']: {found.__qualname__} {error}.") from None
    try:
        return found(**options)
    except ImproperlyConfigured as error:
        raise ImproperlyConfigured(f"{where}['OPTIONS']: {error}") from error


def _rate(entry: Mapping[str, Any], where: str) -> int:
    return _whole(entry.get("RATE", 0), f"{where}['RATE']", "second")


def _whole(number: object, where: str, time: str) -> int:
    if type(number) is not int or number < 0:
        raise ImproperlyConfigured(f"{where}: {number!r} is not a whole number of messages a {time}.")
    return number


def _set_gates(channel: str, providers: Sequence[Provider], rates: Sequence[int]) -> None:
    """Two accounts of one provider in a channel are told apart by a number."""
    seen: Counter[str] = Counter()
    for provider, rate in zip(providers, rates, strict=True):
        seen[provider.name] += 1
        number = f"-{seen[provider.name]}" if seen[provider.name] > 1 else ""
        if provider.remote:
            provider.gate = Gate(channel, provider.name + number, rate)


def _import(path: object, base: type[_T], where: str) -> type[_T]:
    try:
        found = import_string(str(path))
    except ImportError as error:
        raise ImproperlyConfigured(f"{where}: {error}.") from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ImproperlyConfigured(f"{where}: {path} is not a subclass of {base.__name__}.")
    return found


def _forget(*, setting: str, **_: object) -> None:
    if setting == "CHANNELS":
        clear()


setting_changed.connect(_forget)  # only tests change settings
os.register_at_fork(after_in_child=clear)  # a provider's lock may have been held by a thread that did not fork along
