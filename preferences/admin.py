# unfold's decorators are untyped
# mypy: disable-error-code="untyped-decorator"
"""The people for people: who they are, where they are reached, what they chose."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from asgiref.sync import sync_to_async
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as BaseGroupAdmin
from django.contrib.auth.admin import UserAdmin as BaseUserAdmin
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.core.handlers.asgi import ASGIRequest
from django.db.models import Q, QuerySet
from django.db.models.fields.json import KT
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin, TabularInline
from unfold.contrib.filters.admin import RangeDateTimeFilter
from unfold.decorators import display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.utils import parse_datetime_str

from preferences import history, people
from preferences.list_admin import LongListAdmin, ReadOnlyAdmin, RecentFilter
from preferences.models import Change, Device, Preference, SuppressedAddress, User

admin.site.unregister(Group)


class WithHistory(ModelAdmin):  # type: ignore[misc]
    """A page that shows who changed what it is about; the button "History" leads to the whole of it."""

    change_form_after_template = "preferences/history.html"
    history_kind = ""  # of the row itself; empty: all that concerns the person

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = dict(extra_context or {})
        if request.user.has_perm("preferences.view_change"):
            own = Q(kind=self.history_kind, object_id=object_id)
            found = own if self.history_kind else Q(person_id=_uuid(object_id))
            context["changes"] = history.table(Change.objects.filter(found)) | {"all": _whole_history(object_id)}
        return super().change_view(request, object_id, form_url, context)  # type: ignore[no-any-return]

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponseBase:
        if request.user.has_perm("preferences.view_change"):
            return redirect(_whole_history(object_id))
        return super().history_view(request, object_id, extra_context)  # type: ignore[no-any-return]


class StaffFilter(admin.SimpleListFilter):
    """Staff are found by their usernames, which are indexed, and which customers have none of."""

    title = "staff"
    parameter_name = "staff"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:  # noqa: ARG002 - Django's
        return [("yes", "Staff"), ("no", "Customers")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:  # noqa: ARG002 - Django's
        if self.value() == "yes":
            return queryset.filter(is_staff=True, username__isnull=False)
        return queryset.filter(is_staff=False) if self.value() == "no" else queryset


class DeviceInline(TabularInline):  # type: ignore[misc]
    model = Device
    fields = ("platform", "token", "created_at")
    readonly_fields = ("created_at",)
    extra = 0
    tab = True


class PreferenceInline(TabularInline):  # type: ignore[misc]
    model = Preference
    fields = ("event_type", "channel", "enabled")
    extra = 0
    tab = True


class UserForm(UserChangeForm):  # type: ignore[misc]
    class Meta(UserChangeForm.Meta):  # type: ignore[misc]
        model = User
        field_classes: ClassVar[dict[str, type[Any]]] = {}  # Django's own field for usernames stumbles over "none"


class NewUserForm(UserCreationForm):  # type: ignore[misc]
    """Most people are customers, who have no password."""

    class Meta(UserCreationForm.Meta):  # type: ignore[misc]
        model = User
        field_classes: ClassVar[dict[str, type[Any]]] = {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["usable_password"].initial = "false"


@admin.register(User)
class UserAdmin(WithHistory, BaseUserAdmin, LongListAdmin):  # type: ignore[type-arg, misc] # subscripts need a patched Django
    form = UserForm
    add_form = NewUserForm
    change_password_form = AdminPasswordChangeForm
    ordering = ("-id",)  # type: ignore[misc] # Django's stub has a ClassVar
    list_display = ("id", "username", "email", "phone", "locale", "time_zone", "is_staff", "is_active")
    list_display_links = ("id", "username")
    list_filter = (StaffFilter, "is_active", "groups")
    search_fields = ("email",)  # get_search_results says what is found
    search_help_text = "User id, email, phone or username"
    readonly_fields = ("id", "last_login", "created_at")
    inlines = (DeviceInline, PreferenceInline)
    fieldsets = (
        (None, {"fields": ("id", ("email", "phone"), ("locale", "time_zone"), "is_active")}),
        ("Quiet hours", {"fields": (("quiet_from", "quiet_until"),)}),
        (
            "Staff",
            {
                "classes": ("collapse",),
                "fields": ("username", "password", ("is_staff", "is_superuser"), "groups", "user_permissions"),
            },
        ),
        ("Times", {"fields": (("created_at", "last_login"),)}),
    )
    add_fieldsets = (
        (None, {"fields": (("email", "phone"), ("locale", "time_zone"))}),
        ("Staff", {"fields": ("username", "usable_password", "password1", "password2", "is_staff", "groups")}),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        """Who may not change groups gives nobody rights; a superuser is made by superusers alone."""
        fixed = tuple(super().get_readonly_fields(request, obj))
        if not request.user.has_perm("auth.change_group"):
            return (*fixed, "username", "is_staff", "is_superuser", "groups", "user_permissions")
        return fixed if request.user.is_superuser else (*fixed, "is_superuser")

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_change_permission(request, obj) and _may_touch(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_delete_permission(request, obj) and _may_touch(request, obj)

    def get_search_results(
        self,
        request: HttpRequest,  # noqa: ARG002 - Django's signature
        queryset: QuerySet[User],
        search_term: str,
    ) -> tuple[QuerySet[User], bool]:
        """Exact values alone, since those are indexed."""
        return (queryset.filter(_matching(search_term.strip())) if search_term.strip() else queryset), False


@admin.register(Group)
class GroupAdmin(BaseGroupAdmin, ModelAdmin):  # type: ignore[misc]
    pass


@admin.register(Preference)
class PreferenceAdmin(LongListAdmin):
    list_display = ("user", "event_type", "channel", "enabled", "updated_at")
    list_select_related = ("user",)
    autocomplete_fields = ("user",)
    search_fields = ("user__email",)  # get_search_results says what is found
    search_help_text = "User id, email, phone or username"

    def get_search_results(
        self,
        request: HttpRequest,  # noqa: ARG002 - Django's signature
        queryset: QuerySet[Preference],
        search_term: str,
    ) -> tuple[QuerySet[Preference], bool]:
        """Exact values alone, since those are indexed."""
        term = search_term.strip()
        if not term:
            return queryset, False
        known = _uuid(term)
        named = User.objects.filter(username=term).values_list("id", flat=True)
        found = [known] if known else [*people.having([term], phone=term.replace(" ", ""), limit=100), *named]
        return queryset.filter(user__in=found), False


@admin.register(SuppressedAddress)
class SuppressedAddressAdmin(LongListAdmin):
    list_display = ("kind", "address", "reason", "created_at")
    list_filter = ("kind", "reason")
    search_fields = ("address",)  # get_search_results says what is found
    search_help_text = "The address, or its beginning"

    def get_search_results(
        self,
        request: HttpRequest,  # noqa: ARG002 - Django's signature
        queryset: QuerySet[SuppressedAddress],
        search_term: str,
    ) -> tuple[QuerySet[SuppressedAddress], bool]:
        """Walks suppressed_address_begins."""
        term = search_term.strip().lower()
        term = term if "@" in term or not term.startswith("+") else term.replace(" ", "")
        return (queryset.filter(address__startswith=term) if term else queryset), False


class TimeFilter(RangeDateTimeFilter):  # type: ignore[misc]
    """From one time to another, in the server's time zone: unfold's own compares without one."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:  # noqa: ARG002
        for end, lookup in (("from", "gte"), ("to", "lte")):
            day, time = (self.used_parameters.get(f"{self.parameter_name}_{end}_{part}") or "" for part in (0, 1))
            default = "00:00:00" if end == "from" else "23:59:59"
            if at := parse_datetime_str(f"{day} {time or default}") if day else None:
                queryset = queryset.filter(**{f"{self.parameter_name}__{lookup}": timezone.make_aware(at)})
        return queryset


@admin.register(Change)
class ChangeAdmin(ReadOnlyAdmin):
    """The history. Read-only, newest first; what the filters show goes into a file."""

    list_display = ("when", "who", "what", "about", "changed", "where")
    list_display_links = None
    list_filter = (RecentFilter, "kind", "action", "actor_kind", ("at", TimeFilter))
    bounded = ("kind__exact", "action__exact", "actor_kind__exact")
    list_filter_submit = True
    list_before_template = "preferences/export.html"
    search_fields = ("actor",)  # get_search_results says what is found
    search_help_text = "Id of a person, key or dead letter; email or phone; username, key's prefix or command"

    def is_bounded(self, request: HttpRequest) -> bool:
        """A time that was asked for bounds it as well, and so does a search, which goes by an index."""
        return super().is_bounded(request) and not (request.GET.get("at_from_0") or request.GET.get("q"))

    def recent(self, at: datetime) -> Q:
        return Q(at__gte=at)

    def get_urls(self) -> list[URLPattern]:
        export = path("export/", self.admin_site.admin_view(self.export), name="preferences_change_export")
        return [export, *super().get_urls()]

    def get_search_results(
        self,
        request: HttpRequest,  # noqa: ARG002
        queryset: QuerySet[Change],
        search_term: str,
    ) -> tuple[QuerySet[Change], bool]:
        """Exact values alone, since those are indexed."""
        term = search_term.strip()
        return (queryset.filter(_changes_matching(term)) if term else queryset), False

    def export(self, request: HttpRequest) -> HttpResponseBase:
        """What the list shows by its filters and its search, all pages of it."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        lines = history.export(self.get_changelist_instance(request).get_queryset(request))
        # each server is given what it can send piece by piece; the other kind it would gather first
        answer = StreamingHttpResponse(
            _in_thread(lines) if isinstance(request, ASGIRequest) else lines, content_type="text/csv; charset=utf-8"
        )
        answer["Content-Disposition"] = f'attachment; filename="history-{timezone.now():%Y-%m-%d-%H%M%S}.csv"'
        return answer

    @display(description="When", ordering="id")
    def when(self, change: Change) -> str:
        return history.when(change)

    @display(description="Who")
    def who(self, change: Change) -> str:
        return history.who(change)

    @display(description="What")
    def what(self, change: Change) -> str:
        return history.what(change)

    @display(description="Of")
    def about(self, change: Change) -> SafeString:
        return history.about(change)

    @display(description="Before → after")
    def changed(self, change: Change) -> SafeString:
        return history.changed(change)

    @display(description="From where")
    def where(self, change: Change) -> SafeString:
        return history.where(change)


async def _in_thread(lines: Iterator[str]) -> AsyncIterator[str]:
    """The same, each piece made in the request's thread, where its database connection is."""
    while (piece := await sync_to_async(_next)(lines)) is not None:
        yield piece


def _next(lines: Iterator[str]) -> str | None:
    return next(lines, None)


def _may_touch(request: HttpRequest, user: User | None) -> bool:
    """Whoever changes the account of a member of staff could act as them: it takes rights that are no smaller."""
    if user is None or request.user.is_superuser:
        return True
    return not user.is_superuser and (not user.is_staff or request.user.has_perm("auth.change_group"))


def _changes_matching(term: str) -> Q:
    if known := _uuid(term):
        return Q(person_id=known) | Q(object_id=str(known))
    named = User.objects.filter(email=term) if "@" in term else User.objects.filter(phone=term.replace(" ", ""))
    suppressed = Q(kind=Change.Kind.SUPPRESSED_ADDRESS, id__in=_suppressions(term.lower().replace(" ", "")))
    concerned = Q(person_id__in=list(named.values_list("id", flat=True)[:100]))
    return Q(actor=term) | Q(object_id=term) | concerned | suppressed


def _suppressions(address: str) -> list[int]:
    """Walks change_suppressed."""
    named = Change.objects.filter(kind=Change.Kind.SUPPRESSED_ADDRESS).annotate(
        address=Coalesce(KT("after__address"), KT("before__address"))
    )
    return list(named.filter(address=address).values_list("id", flat=True)[:1000])


def _matching(term: str) -> Q:
    known = _uuid(term)
    return Q(id=known) if known else Q(email=term) | Q(phone=term.replace(" ", "")) | Q(username=term)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _whole_history(object_id: str) -> str:
    return f"{reverse('admin:preferences_change_changelist')}?q={object_id}"
