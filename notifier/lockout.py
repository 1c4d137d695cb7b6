"""What an address sees that gave too many wrong passwords."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render


def locked_out(request: HttpRequest, _answer: HttpResponse | None, _credentials: dict[str, Any] | None) -> HttpResponse:
    """429 with Retry-After, in place of what the login would have answered. As django-axes calls it."""
    minutes = settings.AXES_COOLOFF_TIME.total_seconds() / 60
    context = admin.site.each_context(request) | {"title": "Too many wrong passwords", "minutes": round(minutes)}
    page = render(request, "notifier/locked_out.html", context, status=429)
    page["Retry-After"] = str(round(60 * minutes))
    return page
