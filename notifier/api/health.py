"""For load balancers and orchestrators: is the process alive, and can it record? And for staff: what is sick?

Whoever asks is told `ok` or `unavailable`. Staff, by their session of the admin, and keys with the scope `read` see
each check; that takes the database, so while it is away nobody does.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from django.db import Error
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe
from rest_framework.exceptions import APIException
from rest_framework.request import Request

from notifier import health
from notifier.api.auth import ApiKeyAuthentication
from notifier.api.errors import RETRY_AFTER
from notifier.health import Check

log = logging.getLogger(__name__)

SCOPE = "read"


@require_safe
def live(_request: HttpRequest) -> JsonResponse:
    """The process answers."""
    return JsonResponse({"status": "ok"})


@require_safe
def ready(request: HttpRequest) -> JsonResponse:
    """Events can be recorded. 200 also while what sends them is sick: `degraded`, for those who may know."""
    essentials = health.essentials()
    is_ready = all(check.status == health.OK for check in essentials.values())
    if essentials["database"].status == health.OK and _may_see(request):
        checks = {**essentials, **health.others()}
        return _answer(is_ready, {"status": _word(is_ready, checks), "checks": _shown(checks)})
    return _answer(is_ready, {"status": _word(is_ready, {})})


def _word(is_ready: bool, checks: Mapping[str, Check]) -> str:
    if not is_ready:
        return "unavailable"
    return "ok" if all(check.status == health.OK for check in checks.values()) else "degraded"


def _shown(checks: Mapping[str, Check]) -> dict[str, Any]:
    return {name: {"status": check.status, **check.told} for name, check in checks.items()}


def _answer(is_ready: bool, body: Mapping[str, Any]) -> JsonResponse:
    headers = {"Cache-Control": "no-store"} | ({} if is_ready else {"Retry-After": str(RETRY_AFTER)})
    return JsonResponse(body, status=200 if is_ready else 503, headers=headers)


def _may_see(request: HttpRequest) -> bool:
    """A wrong key is no error here: a probe is to be told of the process, not of its key."""
    try:
        if "Authorization" in request.headers:
            found = ApiKeyAuthentication().authenticate(Request(request))
            return found is not None and SCOPE in found[1].scopes
        user: Any = getattr(request, "user", None)
        return bool(user and user.is_active and user.is_staff)
    except APIException:
        return False
    except Error as error:  # such as tables that are not there yet
        log.warning("nobody may see the details: %s", type(error).__name__)
        return False
