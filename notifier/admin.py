# unfold's decorators are untyped
# mypy: disable-error-code="untyped-decorator"
"""The ledger for people: what happened to an order's messages, and the dead letters to send again.

What the engine writes is read-only here. Lists never count whole tables: they page by "is there more".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import action, display

from channels.models import InboxMessage
from notifier import alerts_admin, borders, switches, switches_admin, tasks  # noqa: F401 - two register their pages
from notifier.catalogue import event_types
from notifier.content import VIEW_CONTENT
from notifier.explain_page import explain_page
from notifier.front_page import TEMPLATE, live_page
from notifier.models import ApiKey, DeadLetter, NotificationEvent, TemplateVersion
from notifier.querysets.dead_letters import Filter
from notifier.replay import EXPLAINED, replay
from notifier.retention import first_id
from notifier.states import DeadLetterStatus, EventStatus
from notifier.story import sought, stories
from notifier.story_page import COLOURS, story_page, told
from notifier.template_list import overview
from notifier.template_page import edit, preview_as_json
from notifier.timeline import whole_events
from preferences.admin import WithHistory
from preferences.list_admin import ReadOnlyAdmin, RecentFilter
from preferences.models import Change, User

admin.site.index_template = TEMPLATE
NOTHING = "-"
MOST_FOUND = 500  # events of an order or a person: the timeline shows all of them


def environment(request: HttpRequest) -> list[str] | None:
    """What stands at the top of every page: what is paused, and where this is not production."""
    told = ["Staging: nobody else is written to"] if borders.staging() else []
    if request.user.is_authenticated and (paused := switches.refresh(age=0).paused):
        told.append(f"Paused: {', '.join(paused)}")
    return ["; ".join(told), "warning"] if told else None


class EventTypeFilter(admin.SimpleListFilter):
    """The types of the catalogue: asking the table which there are would read all of it."""

    title = "event type"
    parameter_name = "event_type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:  # noqa: ARG002 - Django's signature
        return [(name, kind.label) for name, kind in event_types().items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:  # noqa: ARG002 - as above
        return queryset.filter(event_type=self.value()) if self.value() else queryset


class OpenFilter(admin.SimpleListFilter):
    """What waits for somebody, unless another status is asked for: always one, as the index begins with it."""

    title = "status"
    parameter_name = "status"

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any) -> None:
        self.lists = request.method == "GET"  # what was chosen for an action may have been closed meanwhile
        super().__init__(request, params, model, model_admin)

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:  # noqa: ARG002 - Django's signature
        return [(status, status.label) for status in DeadLetterStatus]

    def value(self) -> str | None:
        chosen = super().value()
        return chosen if chosen in DeadLetterStatus.values else DeadLetterStatus.OPEN if self.lists else None

    def choices(self, changelist: Any) -> Iterator[Any]:
        found = super().choices(changelist)
        next(found)  # "All"
        yield from found

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:  # noqa: ARG002 - as above
        return queryset.filter(status=self.value()) if self.value() else queryset


@admin.register(NotificationEvent)
class EventAdmin(ReadOnlyAdmin):
    list_display = ("order", "event_type", "state", "channels", "recipient_link", "source", "recorded")
    list_filter = (RecentFilter, "status", EventTypeFilter, "priority")
    bounded = ("status__exact", "event_type", "priority__exact")
    list_select_related = ("user",)
    search_fields = ("order_id",)  # get_search_results says what is found
    search_help_text = "Order, event or user id, email, phone; status or event type of the last day"
    change_form_after_template = "notifier/event.html"
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("event_type", "state"),
                    ("order", "recipient_link"),
                    ("source", "idempotency_key"),
                    "came_from",
                    ("recorded", "settled"),
                    "expires",
                )
            },
        ),
        (
            "Details",
            {"classes": ("collapse",), "fields": ("metadata", "recipient", ("round", "due_at", "lease_until"))},
        ),
    )

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(lambda request: explain_page(request, self.admin_site))
        timeline = self.admin_site.admin_view(lambda request: story_page(request, self.admin_site))
        return [
            path("explain/", view, name="notifier_notificationevent_explain"),
            path("live/", self.admin_site.admin_view(live_page), name="notifier_notificationevent_live"),
            path("timeline/", timeline, name="notifier_notificationevent_timeline"),
            *super().get_urls(),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[NotificationEvent]:
        return super().get_queryset(request).prefetch_related("deliveries")  # type: ignore[no-any-return]

    def is_bounded(self, request: HttpRequest) -> bool:
        return super().is_bounded(request) or _is_word(request.GET.get("q", ""))

    def recent(self, at: datetime) -> Q:
        return Q(id__gte=first_id(at))

    def get_search_results(
        self,
        request: HttpRequest,  # noqa: ARG002 - as above
        queryset: QuerySet[NotificationEvent],
        search_term: str,
    ) -> tuple[QuerySet[NotificationEvent], bool]:
        """Exact values alone, since those are indexed."""
        return _found(queryset, search_term.strip()), False

    @display(description="Order")
    def order(self, event: NotificationEvent) -> str:
        return event.order_id or NOTHING

    @display(description="Status", label=COLOURS)
    def state(self, event: NotificationEvent) -> str:
        return event.status

    @display(description="Channels")
    def channels(self, event: NotificationEvent) -> SafeString:
        deliveries = sorted(event.deliveries.all(), key=lambda delivery: delivery.channel)
        labels = [_label(delivery.channel, delivery.status) for delivery in deliveries]
        return format_html('<div class="flex gap-1">{}</div>', format_html_join("", "{}", ((each,) for each in labels)))

    @display(description="Recipient")
    def recipient_link(self, event: NotificationEvent) -> str:
        if event.user_id is None:
            return "a guest"
        if event.user is None:
            return f"{event.user_id} (erased)"
        address = reverse("admin:preferences_user_change", args=[event.user_id])
        return format_html(
            '<a class="text-primary-600 dark:text-primary-500" style="overflow-wrap: anywhere" href="{}">{}</a>',
            address,
            _name(event.user),
        )

    @display(description="Came from")
    def came_from(self, event: NotificationEvent) -> str:
        return ", ".join(f"{name} {text}" for name, text in (event.origin or {}).items()) or NOTHING

    @display(description="Recorded")
    def recorded(self, event: NotificationEvent) -> str:
        return _time(event.recorded_at)

    @display(description="Settled")
    def settled(self, event: NotificationEvent) -> str:
        return _time(event.settled_at)

    @display(description="Expires")
    def expires(self, event: NotificationEvent) -> str:
        return _time(event.expires_at)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        event = whole_events().filter(id=object_id).first() if _uuid(object_id) else None
        found = stories([event]) if event else []
        context = {"stories": told(found, may_read=request.user.has_perm(VIEW_CONTENT))}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **context})  # type: ignore[no-any-return] # unfold is untyped


@admin.register(DeadLetter)
class DeadLetterAdmin(WithHistory, ReadOnlyAdmin):
    history_kind = Change.Kind.DEAD_LETTER
    list_display = ("created_at", "cause", "event_type", "channel", "state", "event_link", "last_error")
    list_filter = (OpenFilter, RecentFilter, EventTypeFilter)
    bounded = ("event_type", "q")
    list_select_related = ("delivery__event",)
    ordering = ("-created_at", "-id")
    search_fields = ("cause",)  # get_search_results says what is found
    search_help_text = "Cause, channel or event type, of the last day"
    actions = ("replay", "replay_forced", "discard")
    fields = (
        ("cause", "state"), ("event_type", "channel"), "source", "event_link", "last_error", "payload_text",
        ("created_at", "closed_at"),
    )  # fmt: skip

    def recent(self, at: datetime) -> Q:
        return Q(created_at__gte=at)

    def get_search_results(
        self,
        request: HttpRequest,  # noqa: ARG002 - as above
        queryset: QuerySet[DeadLetter],
        search_term: str,
    ) -> tuple[QuerySet[DeadLetter], bool]:
        term = search_term.strip()
        if not term or "\0" in term:
            return (queryset.none() if term else queryset), False
        return queryset.filter(Q(cause=term) | Q(channel=term.upper()) | Q(event_type=term.upper())), False

    @display(description="Status", label=COLOURS)
    def state(self, letter: DeadLetter) -> str:
        return letter.status

    @display(description="Event")
    def event_link(self, letter: DeadLetter) -> str:
        if letter.delivery is None:
            return NOTHING
        address = reverse("admin:notifier_notificationevent_change", args=[letter.delivery.event_id])
        return format_html(
            '<a class="text-primary-600 dark:text-primary-500" href="{}">{}</a>', address, letter.delivery.event
        )

    @display(description="Payload")
    def payload_text(self, letter: DeadLetter) -> str:
        """Of a refused trigger what came, of a delivery its event's metadata. Personal data: never in a list."""
        if letter.delivery is None:
            text = bytes(letter.payload or b"").decode(errors="replace") or NOTHING
        else:
            text = json.dumps(letter.delivery.event.metadata, indent=2, ensure_ascii=False)
        return format_html('<pre class="whitespace-pre-wrap break-words">{}</pre>', text)

    def has_replay_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("notifier.replay_deadletter"))

    def has_discard_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("notifier.discard_deadletter"))

    @action(description="Send again", permissions=["replay"])
    def replay(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> None:
        """Make the chosen due again; what nobody needs any more stays."""
        self._replay(request, queryset, force=False)

    @action(description="Send again, forced", permissions=["replay"])
    def replay_forced(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> None:
        """Also what is too late, overtaken, or reached its recipient another way."""
        self._replay(request, queryset, force=True)

    @action(description="Discard", permissions=["discard"])
    def discard(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> None:
        """Nobody will send the chosen again; what is not open any more stays as it is."""
        discarded = DeadLetter.objects.discard(list(queryset.values_list("id", flat=True)))
        self.message_user(request, f"{discarded} discarded.", messages.SUCCESS if discarded else messages.WARNING)

    def _replay(self, request: HttpRequest, queryset: QuerySet[DeadLetter], *, force: bool) -> None:
        report = replay(Filter(ids=list(queryset.values_list("id", flat=True))), force=force)
        if report.replayed:
            tasks.ring()
        told = [f"{report.replayed} of {report.looked_at} will be sent again."]
        told += [f"{number} {reason}: {EXPLAINED[reason]}." for reason, number in report.left_out.most_common()]
        self.message_user(request, " ".join(told), messages.SUCCESS if report.replayed else messages.WARNING)


@admin.register(ApiKey)
class ApiKeyAdmin(WithHistory, ReadOnlyAdmin):
    """Keys are made by `manage.py create_api_key`, which shows them once."""

    history_kind = Change.Kind.API_KEY
    list_display = ("name", "source", "prefix", "scopes", "created_at", "last_used_at", "expires_at", "revoked_at")
    fields = (
        ("name", "prefix"),
        "source",
        "scopes",
        "event_types",
        "networks",
        ("created_at", "last_used_at"),
        ("expires_at", "revoked_at"),
        "lifetime",
    )
    actions = ("revoke",)

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("notifier.change_apikey"))

    @action(description="Revoke", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        """From now on the chosen keys open nothing."""
        revoked = queryset.filter(revoked_at=None).update(revoked_at=timezone.now())
        self.message_user(request, f"{revoked} revoked.", messages.SUCCESS)


@admin.register(TemplateVersion)
class TemplateVersionAdmin(WithHistory, ReadOnlyAdmin):
    """The list is of templates, not of versions; a version's own page is where the history leads to."""

    history_kind = Change.Kind.TEMPLATE
    ordering = ("-number",)
    fields = (
        ("event_type", "channel", "locale"),
        ("number", "state"),
        ("author", "created_at", "note"),
        ("published_by", "published_at", "replaces"),
        ("broken_at", "broken_why"),
        "text",
    )

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("edit/", view(lambda request: edit(request, self.admin_site)), name="notifier_templateversion_edit"),
            path("preview/", view(preview_as_json), name="notifier_templateversion_preview"),
            *super().get_urls(),
        ]

    @display(description="Text")
    def text(self, version: TemplateVersion) -> str:
        return format_html('<pre class="whitespace-pre-wrap break-words">{}</pre>', version.source)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:  # noqa: ARG002 - Django's signature
        return overview(request, self.admin_site)


@admin.register(InboxMessage)
class InboxMessageAdmin(ReadOnlyAdmin):
    list_display = ("title", "event_type", "user_id", "created_at", "read_at")
    search_fields = ("user_id",)
    search_help_text = "User id"

    def get_search_results(
        self,
        request: HttpRequest,  # noqa: ARG002 - as above
        queryset: QuerySet[InboxMessage],
        search_term: str,
    ) -> tuple[QuerySet[InboxMessage], bool]:
        user_id = _uuid(search_term.strip())
        if not search_term.strip():
            return queryset, False
        return (queryset.filter(user_id=user_id) if user_id else queryset.none()), False


def _is_word(term: str) -> bool:
    """A status or an event type: too many have it for any index."""
    word = term.strip().upper()
    return word in EventStatus.values or word in event_types()


def _found(queryset: QuerySet[NotificationEvent], term: str) -> QuerySet[NotificationEvent]:
    if not term or "\0" in term:
        return queryset.none() if term else queryset
    if _is_word(term):
        return queryset.filter(Q(status=term.upper()) | Q(event_type=term.upper()))
    return queryset.filter(id__in=NotificationEvent.objects.newest(sought(term), MOST_FOUND))


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _name(user: User) -> str:
    return user.username or user.email or user.phone or str(user.id)


def _label(text: str, status: str) -> SafeString:
    return render_to_string("notifier/label.html", {"text": text, "kind": COLOURS.get(status, "default")})


def _time(moment: datetime | None) -> str:
    return f"{timezone.localtime(moment):%Y-%m-%d %H:%M:%S.%f}"[:-3] if moment else NOTHING
