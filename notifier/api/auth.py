"""Who calls, and what they may: `Authorization: Api-Key KEY`, and the scope that a view asks for."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from django.utils import timezone
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.settings import api_settings
from rest_framework.throttling import SimpleRateThrottle

from notifier.models import ApiKey

if TYPE_CHECKING:
    from rest_framework.views import APIView  # it reads its settings, which name this module

SCHEME = "Api-Key"
USE_NOTED_EVERY = timedelta(minutes=1)  # so that a busy key costs no write a request


class ApiKeyAuthentication(BaseAuthentication):
    """`request.auth` becomes the caller's ApiKey. A request without a key stays anonymous."""

    def authenticate(self, request: Request) -> tuple[ApiKey, ApiKey] | None:
        scheme, _, key = get_authorization_header(request).decode("latin-1").partition(" ")
        if scheme.lower() != SCHEME.lower():
            return None
        row = ApiKey.find(key.strip())
        if row is None:
            raise AuthenticationFailed("This API key is unknown, expired or revoked.")
        if not row.may_come_from(request.META.get("REMOTE_ADDR", "")):
            raise PermissionDenied("This API key may not be used from this address.")
        _note_use(row)
        return row, row

    def authenticate_header(self, request: Request) -> str:  # noqa: ARG002 - REST framework's signature
        return SCHEME


def _note_use(row: ApiKey) -> None:
    now = timezone.now()
    if row.last_used_at is None or now - row.last_used_at > USE_NOTED_EVERY:
        ApiKey.objects.filter(pk=row.pk).update(last_used_at=now)


class HasScope(BasePermission):
    """The caller's key carries the scope that the view's `required_scopes` names for this method."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        if not isinstance(request.auth, ApiKey):
            return False
        method = request.method or ""
        scope = getattr(view, "required_scopes", {}).get(method)
        # a method that the view does not have is answered by 405; one that forgot its scope by 403
        if hasattr(view, method.lower()) and scope not in request.auth.scopes:
            raise PermissionDenied(f"This API key lacks the scope {scope!r}.")
        return True


class KeyThrottle(SimpleRateThrottle):
    """At most THROTTLE_RATES["api_key"] requests a key, counted in Django's cache."""

    scope = "api_key"

    def get_rate(self) -> str | None:
        rates: dict[str, str | None] = api_settings.DEFAULT_THROTTLE_RATES  # type: ignore[assignment] # text, not numbers
        return rates[self.scope]

    def get_cache_key(self, request: Request, view: APIView) -> str | None:  # noqa: ARG002
        return f"throttle:{request.auth.pk}" if isinstance(request.auth, ApiKey) else None
