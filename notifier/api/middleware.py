"""Errors that arise outside the API's views (no such address, a crash) in the API's own shape."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from django.http import HttpRequest, HttpResponseBase, JsonResponse

from notifier.api.errors import DATABASE_AWAY, ApiError, database_away

PATHS = ("/notifications/", "/health/", "/api/", "/metrics")


class ApiErrors:
    """Turns Django's error pages into JSON, on the API's paths alone; what went wrong is in the log."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        is_page = response.headers.get("Content-Type", "").startswith("text/html")
        if response.status_code < HTTPStatus.BAD_REQUEST or not is_page or not request.path.startswith(PATHS):
            return response
        status = HTTPStatus(response.status_code)
        code = "INTERNAL" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else status.name
        return _answer(ApiError(status, code, f"{status.phrase}."))

    def process_exception(self, request: HttpRequest, exception: Exception) -> JsonResponse | None:
        """A database that is away, also for what is no view of the REST framework's."""
        if isinstance(exception, DATABASE_AWAY) and request.path.startswith(PATHS):
            return _answer(database_away())
        return None


def _answer(error: ApiError) -> JsonResponse:
    return JsonResponse({"error": error.body}, status=error.http_status, headers=error.headers)
