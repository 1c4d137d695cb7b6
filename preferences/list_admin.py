"""The admin's lists of tables that grow without end: no count, no OFFSET, and no filter that reads a whole table.

A page begins after a row, named by its key, and goes on along the index of the list's order. What no index finds is
looked for in the last hours or days alone (RecentFilter).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.utils import timezone
from unfold import paginator
from unfold.admin import ModelAdmin
from unfold.views import ChangeList

from preferences import saved_searches
from preferences.models import User

OLDER, NEWER = "older", "newer"  # parameters: than the row with this key
WITHIN = {"1h": timedelta(hours=1), "24h": timedelta(days=1), "7d": timedelta(days=7), "30d": timedelta(days=30)}
WITHIN_WORDS = {"1h": "Last hour", "24h": "Last 24 hours", "7d": "Last 7 days", "30d": "Last 30 days"}
DEFAULT = "24h"  # where another filter needs a bound


class InfinitePaginator(paginator.InfinitePaginator):  # type: ignore[misc] # unfold is untyped
    """Named as unfold's own: its pages leave out how many results there are where the class is called so."""

    template_name = "preferences/keyset.html"


class KeysetChangeList(ChangeList):  # type: ignore[misc] # as above
    """Ordered as the admin's `ordering` says, always: newest first, ending with the primary key, all descending."""

    older = newer = ""  # query strings of the pages beside this one; empty where there is none

    def get_filters_params(self, params: dict[str, Any] | None = None) -> dict[str, Any]:
        found = super().get_filters_params(params)
        return {name: value for name, value in found.items() if name not in (OLDER, NEWER)}

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[str]:  # noqa: ARG002 - Django's
        return list(self.model_admin.ordering)

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)  # no query yet: the paginator never counts
        older_than, newer_than = (self._row(request.GET.get(name, "")) for name in (OLDER, NEWER))
        for name in (OLDER, NEWER):  # or the link of a filter, or to another page, would keep it
            self.params.pop(name, None)
            self.filter_params.pop(name, None)
        backwards = newer_than is not None and older_than is None
        rows = self._rows(newer_than if backwards else older_than, backwards=backwards)
        more, rows = len(rows) > self.list_per_page, rows[: self.list_per_page]
        if backwards:
            rows.reverse()
        self.result_list, self.result_count = rows, len(rows)
        has_older, has_newer = (True, more) if backwards else (more, older_than is not None)
        self.older = self._beside(OLDER, rows[-1:]) if has_older else ""
        self.newer = self._beside(NEWER, rows[:1]) if has_newer else ""
        if not rows and (backwards or older_than is not None):
            self.newer = self.get_query_string()  # back to the first page
        self.multi_page = bool(self.older or self.newer)

    def _rows(self, row: Model | None, *, backwards: bool) -> list[Any]:
        found = self.queryset.filter(_beyond(row, self._fields(), backwards=backwards)) if row else self.queryset
        return list((found.reverse() if backwards else found)[: self.list_per_page + 1])

    def _row(self, key: str) -> Any:
        """The row that the page begins after; None where it is gone or never was."""
        if not key:
            return None
        try:
            pk = self.model._meta.pk.to_python(key)
        except ValidationError:
            return None
        if self._fields() == ["pk"]:  # its key is all that is needed, and may outlive it
            return self.model(pk=pk)
        return self.root_queryset.filter(pk=pk).only(*self._fields()).first()

    def _fields(self) -> list[str]:
        return ["pk" if f in ("-id", "-pk") else f.removeprefix("-") for f in self.model_admin.ordering]

    def _beside(self, name: str, rows: Iterable[Model]) -> str:
        return next((self.get_query_string({name: str(row.pk)}) for row in rows), "")


def _beyond(row: Model, fields: list[str], *, backwards: bool) -> Q:
    """After the row in the order of one field, or of a time and then the key."""
    than = "gt" if backwards else "lt"
    *first, last = fields
    beyond = Q(**{f"{last}__{than}": getattr(row, last)})
    for field in reversed(first):
        value = getattr(row, field)
        # the first condition is what an index is walked by
        beyond = Q(**{f"{field}__{than}e": value}) & (Q(**{f"{field}__{than}": value}) | beyond)
    return beyond


class RecentFilter(admin.SimpleListFilter):
    """How far back is looked: never all the way with one of the admin's `bounded` filters, which no index serves."""

    title = "time"
    parameter_name = "within"

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: type[Model], model_admin: Any) -> None:
        self.is_bounded, self.since = model_admin.is_bounded(request), model_admin.recent
        super().__init__(request, params, model, model_admin)

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:  # noqa: ARG002 - Django's
        return WITHIN_WORDS.items()

    def value(self) -> str | None:
        chosen = super().value()
        return chosen if chosen in WITHIN else DEFAULT if self.is_bounded else None

    def choices(self, changelist: Any) -> Iterator[Any]:
        found = super().choices(changelist)
        if self.is_bounded:
            next(found)  # "All"
        yield from found

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:  # noqa: ARG002 - Django's
        chosen = self.value()
        if not chosen:
            return queryset
        return queryset.filter(self.since(timezone.now() - WITHIN[chosen]))


class LongListAdmin(ModelAdmin):  # type: ignore[misc] # unfold is untyped
    """Lists that never count whole tables, and whose pages cost the same however far one goes."""

    paginator = InfinitePaginator
    show_full_result_count = False
    list_per_page = 50
    sortable_by = ()  # by no other column is there an index
    ordering: Any = ("-id",)  # a tuple of names; Django's stubs and ours name other types of it
    bounded: tuple[str, ...] = ()  # parameters of filters that need a RecentFilter
    list_before_template = "preferences/saved_searches.html"

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:  # noqa: ARG002 - Django's
        return KeysetChangeList

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponseBase:
        page, user = self.opts.label_lower, request.user
        if request.method == "POST" and "saved-search" in request.POST and isinstance(user, User):
            return self._keep(request, user, page)
        query = saved_searches.without(request.GET.urlencode(), (OLDER, NEWER))
        saved = (
            saved_searches.offered(user, page) if isinstance(user, User) and self.has_view_permission(request) else ()
        )
        context = {"saved_searches": saved, "saved_query": query, **(extra_context or {})}
        return super().changelist_view(request, context)  # type: ignore[no-any-return] # unfold is untyped

    def _keep(self, request: HttpRequest, user: User, page: str) -> HttpResponse:
        """Save or delete a search, and back to the list as it was."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        query = saved_searches.without(request.GET.urlencode(), (OLDER, NEWER))
        if request.POST["saved-search"] == "delete":
            saved_searches.forget(user, page, request.POST.get("id", ""))
        else:
            try:
                row = saved_searches.save(
                    user, page, request.POST.get("name", ""), query, shared="shared" in request.POST
                )
                messages.success(request, f"{row} is saved.")
            except ValidationError as error:
                messages.error(request, " ".join(error.messages))
        return HttpResponseRedirect(f"{request.path}?{query}" if query else request.path)

    def is_bounded(self, request: HttpRequest) -> bool:
        return any(request.GET.get(name) for name in self.bounded)

    def recent(self, at: datetime) -> Q:
        """Rows from then on, by an index."""
        raise NotImplementedError


class ReadOnlyAdmin(LongListAdmin):
    """Rows that nobody writes by hand. Newest first by the primary key: near enough to look at, and indexed."""

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002 - Django's signatures
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002 - as above
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002 - as above
        return False
