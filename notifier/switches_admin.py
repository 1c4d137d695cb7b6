"""Switches in the admin: one page in place of a list."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse

from notifier.models import Pause
from notifier.switches_page import switches_page
from preferences.list_admin import ReadOnlyAdmin


@admin.register(Pause)
class PauseAdmin(ReadOnlyAdmin):
    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:  # noqa: ARG002 - Django's signature
        return switches_page(request, self.admin_site)
