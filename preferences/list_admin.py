"""The admin's lists of tables that grow without end."""

from __future__ import annotations

from django.db.models import Model
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.paginator import InfinitePaginator


class LongListAdmin(ModelAdmin):  # type: ignore[misc] # unfold is untyped
    """Lists that never count whole tables: they page by "is there more"."""

    paginator = InfinitePaginator
    show_full_result_count = False
    list_per_page = 50


class ReadOnlyAdmin(LongListAdmin):
    """Rows that nobody writes by hand. Newest first by the primary key: near enough to look at, and indexed."""

    ordering = ("-id",)

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002 - Django's signatures
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002 - as above
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002 - as above
        return False
