"""Who calls, and what they may: `Authorization: Api-Key KEY` with the scope that a view asks for, or a customer's own
`Authorization: Bearer TOKEN`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from django.conf import settings
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied, Throttled
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from notifier import throttle
from notifier.api.errors import forbidden
from notifier.models import ApiKey
from preferences import tokens
from preferences.tokens import Purpose, TokenError

if TYPE_CHECKING:
    from rest_framework.views import APIView  # it reads its settings, which name this module

SCHEME = "Api-Key"
CUSTOMER_SCHEME = "Bearer"
USE_NOTED_EVERY = timedelta(minutes=1)  # so that a busy key costs no write a request


class ApiKeyAuthentication(BaseAuthentication):
    """`request.auth` becomes the caller's ApiKey. A request without a key stays anonymous."""

    def authenticate(self, request: Request) -> tuple[ApiKey, ApiKey] | None:
        key = _credentials(request, SCHEME)
        if key is None:
            return None
        row = ApiKey.find(key)
        if row is None:
            _count_without_a_key(request)
            raise AuthenticationFailed("This API key is unknown, expired or revoked.")
        if not row.may_come_from(request.META.get("REMOTE_ADDR", "")):
            _count_without_a_key(request)
            raise PermissionDenied("This API key may not be used from this address.")
        _note_use(row)
        return row, row

    def authenticate_header(self, request: Request) -> str:  # noqa: ARG002 - REST framework's signature
        return SCHEME


@dataclass(frozen=True, slots=True)
class Customer:
    """Somebody who calls for themselves."""

    user_id: UUID
    is_authenticated: bool = True


class CustomerAuthentication(BaseAuthentication):
    """`request.auth` becomes the Customer whose token it is (POST /notifications/users/{userId}/token)."""

    def authenticate(self, request: Request) -> tuple[Customer, Customer] | None:
        token = _credentials(request, CUSTOMER_SCHEME)
        if token is None:
            return None
        try:
            customer = Customer(UUID(tokens.read(token, Purpose.API, settings.CUSTOMER_TOKEN_LIFETIME)))
        except TokenError as error:
            _count_without_a_key(request)
            raise AuthenticationFailed(f"{str(error).capitalize()}; the shop makes new ones.") from error
        return customer, customer

    def authenticate_header(self, request: Request) -> str:  # noqa: ARG002 - REST framework's signature
        return CUSTOMER_SCHEME


def _credentials(request: Request, scheme: str) -> str | None:
    """What follows the scheme in the request's Authorization; None where that names another one."""
    given, _, credentials = get_authorization_header(request).decode("latin-1").partition(" ")
    return credentials.strip() if given.lower() == scheme.lower() else None


def _count_without_a_key(request: Request) -> None:
    """Raises Throttled where its address sends too many such requests."""
    if grant := throttle.without_proof(request):
        raise Throttled(grant.wait, f"Too many requests without a valid key ({grant.rate}).")


def check_own(request: Request, user_id: UUID) -> None:
    """A customer has business with nobody else's things. Raises 403."""
    if isinstance(request.auth, Customer) and request.auth.user_id != user_id:
        raise forbidden("This token is another person's.", {"userId": "Not yours."})


def _note_use(row: ApiKey) -> None:
    now = timezone.now()
    if row.last_used_at is None or now - row.last_used_at > USE_NOTED_EVERY:
        ApiKey.objects.filter(pk=row.pk).update(last_used_at=now)


class HasScope(BasePermission):
    """The caller's key carries the scope that the view's `required_scopes` names for this method.

    A customer may call what `customers_may` names; such a view sees to it that the things are theirs (check_own).
    """

    def has_permission(self, request: Request, view: APIView) -> bool:
        method = "GET" if request.method == "HEAD" else request.method or ""
        # a method that the view does not have is answered by 405, as OPTIONS; one that forgot its scope by 403
        known = method != "OPTIONS" and hasattr(view, method.lower())
        if isinstance(request.auth, Customer):
            if known and method not in getattr(view, "customers_may", ()):
                raise PermissionDenied("This takes an API key, not a customer's token.")
            return True
        if not isinstance(request.auth, ApiKey):
            _count_without_a_key(request)
            return False
        scope = getattr(view, "required_scopes", {}).get(method)
        if known and scope not in request.auth.scopes:
            raise PermissionDenied(f"This API key lacks the scope {scope!r}.")
        return True


class CallerThrottle(BaseThrottle):
    """Counts a request by its key; by its customer, or its address where the view asks for no key, as pages do."""

    _wait: float | None = None

    def allow_request(self, request: Request, view: APIView) -> bool:  # noqa: ARG002 - REST framework's signature
        match request.auth:
            case ApiKey() as key:
                counts = [throttle.by_key(key)]
            case Customer(user_id):  # many may be behind one address
                counts = [throttle.by_customer(user_id)]
            case _:
                counts = throttle.by_address(request.META.get("REMOTE_ADDR", ""))
        grant = throttle.refused(*counts)
        self._wait = grant.wait if grant else None
        return grant is None

    def wait(self) -> float | None:
        return self._wait
