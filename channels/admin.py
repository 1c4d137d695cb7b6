# unfold's decorators are untyped
# mypy: disable-error-code="untyped-decorator"
"""The providers for people: how each is now, and when its breaker opened and closed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.paginator import InfinitePaginator

from channels import registry
from channels.breaker import WINDOW
from channels.gate import Gate, GateStatus
from channels.models import BreakerChange

NOTHING = "-"
COLOURS = {"CLOSED": "success", "HALF_OPEN": "warning", "OPEN": "danger"}


@admin.register(BreakerChange)
class BreakerChangeAdmin(ModelAdmin):  # type: ignore[misc] # unfold is untyped
    """Read-only, newest first; never counts the whole table."""

    list_display = ("at", "channel", "provider", "label", "reason")
    list_display_links = None
    list_before_template = "channels/providers.html"
    list_filter = ("state",)
    list_per_page = 50
    ordering = ("-at",)
    paginator = InfinitePaginator
    show_full_result_count = False

    @display(description="State", label=COLOURS)
    def label(self, change: BreakerChange) -> str:
        return change.state

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002 - Django's signatures
        return False

    def has_change_permission(self, request: HttpRequest, obj: BreakerChange | None = None) -> bool:  # noqa: ARG002
        return False

    def has_delete_permission(self, request: HttpRequest, obj: BreakerChange | None = None) -> bool:  # noqa: ARG002
        return False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(request, {**(extra_context or {}), "providers": _providers()})  # type: ignore[no-any-return]


def _providers() -> dict[str, Any]:
    headers = ["Channel", "Provider", "State", "Since", "Because", f"Last {WINDOW} s", "Waits", "Rate limit"]
    return {"headers": headers, "rows": [_row(gate) for gate in registry.gates()]}


def _row(gate: Gate) -> list[str]:
    status = gate.status()
    rate = f"{gate.rate} a second" if gate.rate else "none"
    if status is None:
        return [gate.channel, gate.provider, "unknown: Redis is away", *[NOTHING] * 4, rate]
    since = timezone.now() - timedelta(seconds=status.age) if status.age is not None else None
    return [
        gate.channel,
        gate.provider,
        _label(status.state),
        f"{timezone.localtime(since):%Y-%m-%d %H:%M:%S}" if since else NOTHING,
        status.reason or NOTHING,
        _calls(status),
        f"{status.wait:.0f} s" if status.wait else NOTHING,
        rate,
    ]


def _label(state: str) -> SafeString:
    return render_to_string("channels/state.html", {"text": state, "kind": COLOURS[state]})


def _calls(status: GateStatus) -> str:
    if not status.calls:
        return "no calls"
    limited = f", {status.limited} rate limited" if status.limited else ""
    return f"{status.failed} of {status.calls} failed{limited}"
