# unfold's decorators are untyped
# mypy: disable-error-code="untyped-decorator"
"""The ledger for people: what happened to an order's messages, and the dead letters to send again.

What the engine writes is read-only here. Lists never count whole tables: they page by "is there more".
"""

from __future__ import annotations

import json
from collections.abc import Iterable
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
from notifier.explain_page import explain_page
from notifier.front_page import TEMPLATE, live_page
from notifier.models import ApiKey, Attempt, DeadLetter, Delivery, NotificationEvent, TemplateVersion
from notifier.querysets.dead_letters import Filter
from notifier.replay import EXPLAINED, replay
from notifier.states import DeliveryStatus, EventStatus
from notifier.template_list import overview
from notifier.template_page import edit, preview_as_json
from notifier.timeline import timeline, whole_events
from preferences.admin import WithHistory
from preferences.list_admin import ReadOnlyAdmin
from preferences.models import Change, User

admin.site.index_template = TEMPLATE
NOTHING = "-"
COLOURS = {
    **dict.fromkeys(["SENT", "DELIVERED", "ACCEPTED", "REPLAYED"], "success"),
    **dict.fromkeys(["FAILED", "BOUNCED", "REJECTED", "INVALID_RECIPIENT", "CREDENTIALS", "OPEN"], "danger"),
    **dict.fromkeys(["PARTIAL", "RETRYING", "UNAVAILABLE", "UNKNOWN", "RATE_LIMITED", "HELD", "FELL_BACK"], "warning"),
    **dict.fromkeys(["QUEUED", "DISPATCHED", "SENDING"], "info"),
}


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

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:  # noqa: ARG002
        return [(name, kind.label) for name, kind in event_types().items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:  # noqa: ARG002
        return queryset.filter(event_type=self.value()) if self.value() else queryset


@admin.register(NotificationEvent)
class EventAdmin(ReadOnlyAdmin):
    list_display = ("order", "event_type", "state", "channels", "recipient_link", "source", "recorded")
    list_filter = ("status", EventTypeFilter, "priority")
    list_select_related = ("user",)
    search_fields = ("order_id",)  # get_search_results says what is found
    search_help_text = "Order id, event id, user id, email or phone; a status or an event type"
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
        return [
            path("explain/", view, name="notifier_notificationevent_explain"),
            path("live/", self.admin_site.admin_view(live_page), name="notifier_notificationevent_live"),
            *super().get_urls(),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[NotificationEvent]:
        return super().get_queryset(request).prefetch_related("deliveries")  # type: ignore[no-any-return]

    def get_search_results(
        self,
        request: HttpRequest,  # noqa: ARG002
        queryset: QuerySet[NotificationEvent],
        search_term: str,
    ) -> tuple[QuerySet[NotificationEvent], bool]:
        """Exact values alone, since those are indexed."""
        return (queryset.filter(_matching(search_term.strip())) if search_term.strip() else queryset), False

    @display(description="Order", ordering="order_id")
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
        told = {"deliveries": _deliveries(event), "decisions": _decisions(event)} if event else {}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **told})  # type: ignore[no-any-return]


@admin.register(DeadLetter)
class DeadLetterAdmin(WithHistory, ReadOnlyAdmin):
    history_kind = Change.Kind.DEAD_LETTER
    list_display = ("created_at", "cause", "event_type", "channel", "state", "event_link", "last_error")
    list_filter = ("status", EventTypeFilter)
    list_select_related = ("delivery__event",)
    ordering = ("-created_at",)
    search_fields = ("=cause", "=channel", "=event_type")
    search_help_text = "Cause, channel or event type"
    actions = ("replay", "replay_forced", "discard")
    fields = (
        ("cause", "state"), ("event_type", "channel"), "source", "event_link", "last_error", "payload_text",
        ("created_at", "closed_at"),
    )  # fmt: skip

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
    ordering = ("-created_at",)
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
    ordering = ("-created_at",)
    search_fields = ("user_id",)
    search_help_text = "User id"

    def get_search_results(
        self,
        request: HttpRequest,  # noqa: ARG002
        queryset: QuerySet[InboxMessage],
        search_term: str,
    ) -> tuple[QuerySet[InboxMessage], bool]:
        user_id = _uuid(search_term.strip())
        if not search_term.strip():
            return queryset, False
        return (queryset.filter(user_id=user_id) if user_id else queryset.none()), False


def _matching(term: str) -> Q:
    word = term.upper()
    if known := _uuid(term):
        return Q(id=known) | Q(user_id=known)
    if word in EventStatus.values:
        return Q(status=word)
    if word in event_types():
        return Q(event_type=word)
    people = User.objects.filter(email=term) if "@" in term else User.objects.filter(phone=term.replace(" ", ""))
    return Q(order_id=term) | Q(user_id__in=list(people.values_list("id", flat=True)[:100]))


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


def _deliveries(event: NotificationEvent) -> list[dict[str, Any]]:
    headers = ["Attempt", "Outcome", "Provider", "HTTP", "Code", "Detail", "Started", "Took"]
    return [
        {
            "channel": delivery.channel,
            "label": _label(delivery.status, delivery.status),
            "summary": _summary(delivery),
            "attempts": {"headers": headers, "rows": [_attempt(attempt) for attempt in delivery.attempts.all()]},
        }
        for delivery in event.deliveries.all()
    ]


def _summary(delivery: Delivery) -> str:
    """Why the delivery is as it is, in one line."""
    waits = delivery.status in {DeliveryStatus.QUEUED, DeliveryStatus.RETRYING}
    parts = [
        delivery.skip_reason or delivery.hold_reason,
        f"stands in for {delivery.fallback_of}" if delivery.fallback_of else "",
        delivery.detail,
        f"due {_time(delivery.due_at)}" if waits else "",
        f"accepted by {delivery.provider} {_time(delivery.sent_at)}" if delivery.sent_at else "",
        delivery.provider_message_id and f"as {delivery.provider_message_id}",
    ]
    return ", ".join(filter(None, parts))


def _attempt(attempt: Attempt) -> list[str]:
    took = attempt.finished_at - attempt.started_at if attempt.finished_at else None
    notes = [attempt.address_id, attempt.detail, "maybe a duplicate" if attempt.maybe_duplicate else ""]
    return [
        str(attempt.number),
        _label(attempt.outcome, attempt.outcome),
        attempt.provider or NOTHING,
        str(attempt.http_status or NOTHING),
        attempt.code or NOTHING,
        ", ".join(filter(None, notes)) or NOTHING,
        _time(attempt.started_at),
        f"{took.total_seconds() * 1000:.0f} ms" if took else NOTHING,
    ]


def _decisions(event: NotificationEvent) -> dict[str, Any]:
    rows = [
        [
            _time(told.at),
            told.channel or NOTHING,
            _label(told.decision, told.decision),
            told.reason or NOTHING,
            told.detail or NOTHING,
        ]
        for told in timeline(event)
    ]
    return {"headers": ["When", "Channel", "Decision", "Reason", "Detail"], "rows": rows}
