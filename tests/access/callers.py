"""The kinds of callers there are, each with what it may do and how it is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.test import Client
from django.utils import timezone

from notifier.models import ApiKey
from preferences import tokens
from preferences.models import User

UNAUTHENTICATED, FORBIDDEN = 401, 403
CUSTOMER = "customer"
SOMEBODY = UUID(int=8).hex


@dataclass(frozen=True)
class Kind:
    """`make` gives a client that sends what such a caller would. `scopes`: what it may do; `refused`: else."""

    name: str
    make: Callable[[], Client]
    refused: int = UNAUTHENTICATED
    scopes: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return self.name


def _with(header: str) -> Client:
    return Client(headers={"Authorization": header})


def _key(*scopes: str, **fields: Any) -> Client:
    limits = {name: fields.pop(name) for name in ("networks", "event_types") if name in fields}
    row, key = ApiKey.issue("caller", scopes, **limits)
    # used just now, so that the use is not noted again: whatever a refused call writes is an error then
    ApiKey.objects.filter(pk=row.pk).update(last_used_at=timezone.now(), **fields)
    return _with(f"Api-Key {key}")


def _ended(field: str) -> Callable[[], Client]:
    return lambda: _key(*ApiKey.SCOPES, **{field: timezone.now() - timedelta(seconds=1)})


def _scope(scope: str) -> Kind:
    return Kind(f"key with {scope}", lambda: _key(scope), FORBIDDEN, frozenset({scope}))


def staff(*, may_everything: bool) -> Client:
    """A session of the admin."""
    name = "root" if may_everything else "clerk"
    user = User.objects.create_user(name, is_staff=True, is_superuser=may_everything)
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def customer() -> Client:
    """Somebody with a token of the API, and nobody's things."""
    return _with(f"Bearer {tokens.make(SOMEBODY, tokens.Purpose.API)}")


#: Callers of the API. A new kind joins this list with one line, and is then tried on every address.
KINDS = (
    Kind("no key", Client),
    Kind("no scheme", lambda: _with("nk_something")),
    Kind("another scheme", lambda: _with("Basic nk_something")),
    Kind("no customer's token", lambda: _with("Bearer nk_something")),
    Kind("customer's token for the page", lambda: _with(f"Bearer {tokens.make(SOMEBODY, tokens.Purpose.USER)}")),
    Kind("scheme alone", lambda: _with("Api-Key")),
    Kind("not ASCII", lambda: _with("Api-Key k\xe4se")),
    Kind("unknown key", lambda: _with("Api-Key nk_unknown")),
    Kind("expired key", _ended("expires_at")),
    Kind("revoked key", _ended("revoked_at")),
    Kind("staff session without permission", lambda: staff(may_everything=False)),
    Kind("session of a superuser", lambda: staff(may_everything=True)),
    Kind("key of another network", lambda: _key(*ApiKey.SCOPES, networks=["10.0.0.0/8"]), FORBIDDEN),
    *map(_scope, ApiKey.SCOPES),
    Kind("customer's token", customer, FORBIDDEN, frozenset({CUSTOMER})),
)
