"""How often a key, a customer, an address and a recipient may ask: counted over all web processes, in Redis.

The rates are settings.API_RATES; a window begins with its first request. Redis away counts nobody and refuses nobody.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address, ip_network
from typing import Any
from uuid import UUID

import redis
from django.conf import settings
from django.core.signals import setting_changed
from django.http import HttpRequest
from limits import parse

from notifier.models import ApiKey
from notifier.quick_redis import quick_redis

#: All counts of a request in one round trip: `limits` has a script for one. It gives how many of each may pass, and
#: the milliseconds until more may.
SCRIPT = """
local grants = {}
for i, key in ipairs(KEYS) do
    local cost, limit = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1])
    local count = redis.call('INCRBY', key, cost)
    if count == cost then redis.call('EXPIRE', key, ARGV[3 * i]) end
    grants[2 * i - 1] = math.max(0, math.min(cost, limit - count + cost))
    grants[2 * i] = count > limit and redis.call('PTTL', key) or 0
end
return grants
"""
NETWORK_V6 = 64  # bits: who has one IPv6 address usually has all of such a network


@dataclass(frozen=True, slots=True)
class Count:
    """`cost` requests by or for `name`. `kind` is a key of settings.API_RATES."""

    kind: str
    name: str
    cost: int = 1


@dataclass(frozen=True, slots=True)
class Grant:
    """How many of a Count may pass, and where not all: the seconds until more may, and the rate as people read it."""

    granted: int
    wait: float = 0.0
    rate: str = ""

    @property
    def retry_after(self) -> str:
        """The header's value: whole seconds."""
        return str(max(1, math.ceil(self.wait)))


def take(counts: Sequence[Count]) -> list[Grant]:
    """Count these; one grant each, in their order. At most one round trip, of 0.3 s at most; Redis away grants all."""
    limited = [(index, count, limit) for index, count in enumerate(counts) if (limit := _limit(count.kind))]
    grants = [Grant(count.cost) for count in counts]
    if not limited:
        return grants
    keys = [limit.prefix + count.name for _, count, limit in limited]
    arguments = [number for _, count, limit in limited for number in (count.cost, limit.amount, limit.seconds)]
    found: list[int] = quick_redis.ask(lambda client: _script(client)(keys, arguments, client), list)
    for (index, _, limit), granted, wait in zip(limited, found[::2], found[1::2], strict=False):  # none: Redis is away
        if wait:
            grants[index] = Grant(granted, wait / 1000, limit.text)
    return grants


def refused(*counts: Count) -> Grant | None:
    """Count these; the first that passes its rate, if one does."""
    return next((grant for grant in take(counts) if not grant.granted), None)


def without_proof(request: HttpRequest) -> Grant | None:
    """Count, by its address, a request that shows no valid key, token, link or signature; refused where one sends too
    many of these. Good ones from the same address are not counted here, however many they are."""
    return refused(*by_address(request.META.get("REMOTE_ADDR", "")))


def by_address(address: str) -> list[Count]:
    """An address as the web server names its peer, to be counted; a unix socket has none."""
    try:
        peer = ip_address(address)
    except ValueError:
        return []
    peer = getattr(peer, "ipv4_mapped", None) or peer
    return [Count("address", str(peer if peer.version == 4 else ip_network((peer, NETWORK_V6), strict=False)))]


def by_customer(name: UUID | None) -> Count:
    """What a person does for themselves: by their id; a guest goes by the delivery that the link is about."""
    return Count("customer", str(name))


def by_key(key: ApiKey) -> Count:
    return Count("key", str(key.pk))


@dataclass(frozen=True, slots=True)
class _Limit:
    """At most `amount` in `seconds`."""

    prefix: str
    amount: int
    seconds: int
    text: str


@cache
def _limit(kind: str) -> _Limit | None:
    rate: str = settings.API_RATES[kind]
    if not rate:
        return None
    item = parse(rate)
    # with the rate in the key a new rate begins anew
    prefix = f"notifier:limit:{kind}:{item.amount}/{item.get_expiry()}:"
    return _Limit(prefix, item.amount, item.get_expiry(), rate)


@cache
def _script(client: redis.Redis) -> Any:
    return client.register_script(SCRIPT)


def _forget(*, setting: str, **_: object) -> None:
    if setting == "API_RATES":
        _limit.cache_clear()


setting_changed.connect(_forget)  # only tests change settings
