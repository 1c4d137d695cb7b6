"""The admin's list of message templates: each with what serves now, and what is broken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html

from channels import registry
from notifier.catalogue import EventType, event_types
from notifier.models import TemplateVersion
from notifier.querysets.templates import Place
from notifier.states import TemplateState

VIEW = "notifier.view_templateversion"
NOTHING = "-"


def overview(request: HttpRequest, site: AdminSite) -> HttpResponse:
    """Every template, and what serves now."""
    ask(request, VIEW)
    versions = TemplateVersion.objects.defer("source").order_by("number")
    published = {row.place: row for row in versions.filter(state=TemplateState.PUBLISHED)}
    drafts = {row.place: row for row in versions.filter(state=TemplateState.DRAFT)}
    groups = [
        {"title": kind.label, "name": kind.name, "table": _table(kind, published, drafts)}
        for kind in event_types().values()
    ]
    told = {"title": "Templates", "groups": groups, "broken": broken_ones(published.values())}
    return render(request, "notifier/templates.html", {**site.each_context(request), **told})


def _table(
    kind: EventType, published: Mapping[Place, TemplateVersion], drafts: Mapping[Place, TemplateVersion]
) -> dict[str, Any]:
    rows = [_overview_row(place, published.get(place), drafts.get(place)) for place in places(kind)]
    return {"headers": ["Channel", "Locale", "Serves", "Since", "By", "Newest draft"], "rows": rows}


def places(kind: EventType) -> list[Place]:
    channels = [channel for channel in kind.reachable_channels if channel in registry.names()]
    return [Place(kind.name, channel, locale) for channel in channels for locale in settings.LOCALES]


def _overview_row(place: Place, row: TemplateVersion | None, draft: TemplateVersion | None) -> list[Any]:
    link = format_html(
        '<a class="text-primary-600 dark:text-primary-500 font-semibold" href="{}">{}</a>',
        edit_address(place),
        place.channel,
    )
    newer = draft if draft and draft.number > (row.number if row else 0) else None
    return [
        link,
        place.locale,
        serves_label(row),
        clock(row.published_at) if row else NOTHING,
        row.published_by if row else NOTHING,
        f"{newer.label} by {newer.author}" if newer else NOTHING,
    ]


def serves_label(row: TemplateVersion | None) -> str:
    if row is None:
        return label("file", "default")
    if row.broken_at:
        return label(f"{named(row.replaces)}, as {row.label} is broken", "danger")
    return label(row.label, "success")


def named(number: int | None) -> str:
    return f"v{number}" if number else "file"


def broken_ones(rows: Iterable[TemplateVersion]) -> list[dict[str, str]]:
    return [
        {"link": edit_address(row.place), "name": str(row), "why": row.broken_why, "serves": named(row.replaces)}
        for row in rows
        if row.broken_at
    ]


def ask(request: HttpRequest, permission: str) -> None:
    if not request.user.has_perm(permission):
        raise PermissionDenied


def edit_address(place: Place) -> str:
    return f"{reverse('admin:notifier_templateversion_edit')}?template={place}"


def label(text: str, kind: str) -> str:
    return render_to_string("notifier/label.html", {"text": text, "kind": kind})


def clock(moment: datetime | None) -> str:
    return f"{timezone.localtime(moment):%Y-%m-%d %H:%M}" if moment else NOTHING
