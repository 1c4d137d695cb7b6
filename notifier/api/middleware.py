"""Errors that arise outside the API's views (no such address, a crash) in the API's own shape."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from django.http import HttpRequest, HttpResponseBase, JsonResponse

from notifier.api.errors import ApiError

PATHS = ("/notifications/", "/health/", "/api/")


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
        error = ApiError(status, code, f"{status.phrase}.")
        return JsonResponse({"error": error.body}, status=status)
