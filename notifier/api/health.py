"""For load balancers and orchestrators: is the process alive, and can it record?"""

from __future__ import annotations

from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from notifier.api.errors import RETRY_AFTER


@require_safe
def live(_request: HttpRequest) -> JsonResponse:
    """The process answers."""
    return JsonResponse({"status": "ok"})


@require_safe
def ready(_request: HttpRequest) -> JsonResponse:
    """Events can be recorded. Redis may be away: recording does not need it."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        headers = {"Retry-After": str(RETRY_AFTER)}
        return JsonResponse({"status": "unavailable", "database": "away"}, status=503, headers=headers)
    return JsonResponse({"status": "ok", "database": "ok"})
