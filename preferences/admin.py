"""The people for people: who they are, where they are reached, what they chose."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as BaseGroupAdmin
from django.contrib.auth.admin import UserAdmin as BaseUserAdmin
from django.contrib.auth.models import Group
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin, TabularInline
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.paginator import InfinitePaginator

from preferences.models import Device, Preference, SuppressedAddress, User

admin.site.unregister(Group)


class LongListAdmin(ModelAdmin):  # type: ignore[misc] # unfold is untyped
    """Lists that never count whole tables: they page by "is there more"."""

    paginator = InfinitePaginator
    show_full_result_count = False
    list_per_page = 50


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
class UserAdmin(BaseUserAdmin, LongListAdmin):  # type: ignore[type-arg] # subscripts need a patched Django
    form = UserForm
    add_form = NewUserForm
    change_password_form = AdminPasswordChangeForm
    ordering = ("-created_at",)
    list_display = ("id", "username", "email", "phone", "locale", "time_zone", "is_staff", "is_active")
    list_display_links = ("id", "username")
    list_filter = ("is_staff", "is_active", "groups")
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
    list_filter = ("enabled",)
    ordering = ("-id",)
    autocomplete_fields = ("user",)
    search_fields = ("=user__email", "=user__id")


@admin.register(SuppressedAddress)
class SuppressedAddressAdmin(LongListAdmin):
    list_display = ("kind", "address", "reason", "created_at")
    list_filter = ("kind", "reason")
    ordering = ("-id",)
    search_fields = ("^address",)
    search_help_text = "The address, or its beginning"


def _matching(term: str) -> Q:
    try:
        return Q(id=UUID(term))
    except ValueError:
        return Q(email=term) | Q(phone=term.replace(" ", "")) | Q(username=term)
