# unfold's decorators are untyped
# mypy: disable-error-code="untyped-decorator"
"""Alerts in the admin: what is open first, and who has taken it on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.decorators import action, display

from notifier import alerts
from notifier.models import Alert
from preferences.list_admin import ReadOnlyAdmin

PERMISSION = "notifier.acknowledge_alert"
COLOURS = {"open": "danger", "acknowledged": "warning", "over": "success"}


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:  # noqa: ARG002 - Django's signature
        return [("open", "Open")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:  # noqa: ARG002 - as above
        return queryset.filter(healed_at=None, acknowledged_at=None) if self.value() else queryset


@admin.register(Alert)
class AlertAdmin(ReadOnlyAdmin):
    list_display = ("opened", "state", "text", "kind", "taken_by", "ended")
    list_filter = (StateFilter,)
    ordering = ("-opened_at", "-id")
    actions = ("acknowledge",)
    fields = ("text", ("state", "kind"), ("opened", "ended"), "taken_by", "level", "metadata")

    @display(description="Opened")
    def opened(self, alert: Alert) -> str:
        return f"{timezone.localtime(alert.opened_at):%Y-%m-%d %H:%M:%S}"

    @display(description="Healed")
    def ended(self, alert: Alert) -> str:
        return f"{timezone.localtime(alert.healed_at):%Y-%m-%d %H:%M:%S}" if alert.healed_at else "-"

    @display(description="State")
    def state(self, alert: Alert) -> SafeString:
        word = "over" if alert.healed_at else "acknowledged" if alert.acknowledged_at else "open"
        return render_to_string("notifier/label.html", {"text": word, "kind": COLOURS[word]})

    @display(description="Taken on by")
    def taken_by(self, alert: Alert) -> str:
        if not alert.acknowledged_at:
            return "-"
        return f"{alert.acknowledged_by} {timezone.localtime(alert.acknowledged_at):%Y-%m-%d %H:%M}"

    def has_acknowledge_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm(PERMISSION))

    @action(description="Acknowledge: I see to it", permissions=["acknowledge"])
    def acknowledge(self, request: HttpRequest, chosen: QuerySet[Alert]) -> None:
        number = alerts.acknowledge(chosen.values_list("id", flat=True), request.user.get_username())
        self.message_user(request, f"{number} acknowledged. Nobody else is told of it.", messages.SUCCESS)
