"""Who makes a request: told to the history with each change (docs/audit.md), and with each event that is recorded."""

from __future__ import annotations

import re
from collections.abc import Callable
from uuid import UUID

from django.http import HttpRequest, HttpResponseBase

from notifier.api.auth import Customer
from notifier.models import ApiKey
from preferences.acting import Actor, acting
from preferences.models import Change, User

_CUSTOMER = "notifier.customer"
_REQUEST_ID = re.compile(r"[\w.:/+=-]{1,100}")


class Callers:
    """Names the caller of every request to the history."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        with acting(lambda: caller(request)):
            return self.get_response(request)


def caller(request: HttpRequest) -> Actor:
    """The API key, the member of staff or the customer; who came without any counts as a customer without a name."""
    key, user = getattr(request, "auth", None), getattr(request, "user", None)
    match = request.resolver_match
    told = origin(request) | ({"page": match.route} if match else {})  # never the path: it may hold a token
    if isinstance(key, ApiKey):
        return Actor(Change.ActorKind.API_KEY, key.prefix, {**told, "source": key.source})
    if isinstance(user, User) and user.is_staff:
        return Actor(Change.ActorKind.STAFF, user.get_username(), told)
    name = str(key.user_id) if isinstance(key, Customer) else request.META.get(_CUSTOMER, "")
    return Actor(Change.ActorKind.CUSTOMER, name, told)


def name_customer(request: HttpRequest, user_id: UUID) -> None:
    """A page found out by its link whose request it is."""
    request.META[_CUSTOMER] = str(user_id)


def origin(request: HttpRequest) -> dict[str, str]:
    """From where a request came: `ip`, and the `requestId` that it was given by a proxy or its sender."""
    request_id = request.headers.get("X-Request-ID", "")
    found = {"ip": request.META.get("REMOTE_ADDR") or "", "requestId": request_id}
    if not _REQUEST_ID.fullmatch(request_id):
        del found["requestId"]
    return {name: text for name, text in found.items() if text}
