"""The history as people read it: tables for the admin, and lines of CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from typing import Any

from django.db.models import QuerySet
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from preferences.models import Change

NOTHING = "-"
SHOWN = 20  # rows on the page of what they are about
PAGE = 1000  # rows a query of an export
COLUMNS = (
    "at", "actor kind", "actor", "action", "kind", "object id", "person id", "before", "after", "ip", "origin",
)  # fmt: skip
# the row says them itself, and a name says more than a number
_NOT_TOLD = frozenset({"id", "user_id", "created_at", "group_id", "permission_id"})
_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n")  # what a spreadsheet may run (OWASP, "CSV Injection")


def table(changes: QuerySet[Change]) -> dict[str, Any]:
    """The newest of these, in the shape of unfold's table; `more` says whether there are others."""
    rows = list(changes.order_by("-id")[: SHOWN + 1])
    return {
        "headers": ["When", "Who", "What", "Changed", "From where"],
        "rows": [[when(c), who(c), what(c), changed(c), where(c)] for c in rows[:SHOWN]],
        "more": len(rows) > SHOWN,
    }


def when(change: Change) -> str:
    return f"{timezone.localtime(change.at):%Y-%m-%d %H:%M:%S}"


def who(change: Change) -> str:
    return f"{change.get_actor_kind_display()} {change.actor}".strip()


def what(change: Change) -> str:
    return f"{change.get_kind_display()} {change.get_action_display()}"


def changed(change: Change) -> SafeString:
    """Field by field: before → after."""
    return _list(_lines(change))


def where(change: Change) -> SafeString:
    told = dict(change.origin or {})
    first = [told.pop("ip")] if "ip" in told else []
    return _list([*first, *(f"{name} {text}" for name, text in sorted(told.items()))])


def _list(lines: Iterable[str]) -> SafeString:
    items = format_html_join("", "<li>{}</li>", ([line] for line in lines))
    return format_html('<ul class="cell-lines">{}</ul>', items) if items else format_html("{}", NOTHING)


def about(change: Change) -> SafeString:
    """A link to the history of the person, or the page of the key, letter or template."""
    pages = {
        Change.Kind.API_KEY: "admin:notifier_apikey_change",
        Change.Kind.DEAD_LETTER: "admin:notifier_deadletter_change",
        Change.Kind.TEMPLATE: "admin:notifier_templateversion_change",
    }
    if page := pages.get(change.kind):  # type: ignore[call-overload] # a kind is text
        address, name = reverse(page, args=[change.object_id]) if change.object_id else "", change.object_id
    else:
        name = str(change.person_id or "")
        address = f"{reverse('admin:preferences_change_changelist')}?q={name}" if name else ""
    if not address:
        return format_html("{}", NOTHING)
    style = "overflow-wrap: anywhere"
    return format_html(
        '<a class="text-primary-600 dark:text-primary-500" style="{}" href="{}">{}</a>', style, address, name
    )


def _lines(change: Change) -> Iterator[str]:
    before, after = change.before or {}, change.after or {}
    for field in sorted(before.keys() | after.keys()):
        old, new = _text(before.get(field)), _text(after.get(field))
        if change.action == Change.Action.UPDATE:
            yield f"{field}: {old} → {new}"
        elif field not in _NOT_TOLD and (old, new) != (NOTHING, NOTHING):
            yield f"{field}: {old} → {new}" if old != NOTHING else f"{field}: {new}"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or NOTHING
    return NOTHING if value in (None, "") else str(value)


def export(changes: QuerySet[Change]) -> Iterator[str]:
    """CSV of these, newest first, with a line of names; a short query for each part."""
    yield csv_lines([COLUMNS])
    rows = list(changes.order_by("-id")[:PAGE])
    while rows:
        yield csv_lines(map(_cells, rows))
        rows = list(changes.filter(id__lt=rows[-1].id).order_by("-id")[:PAGE])


def _cells(change: Change) -> Iterator[str]:
    yield change.at.isoformat()
    for name in ("actor_kind", "actor", "action", "kind", "object_id", "person_id"):
        yield str(getattr(change, name) or "")
    for document in (change.before, change.after):
        yield "" if document is None else json.dumps(document, ensure_ascii=False)
    origin = dict(change.origin or {})
    yield origin.pop("ip", "")
    yield json.dumps(origin, ensure_ascii=False) if origin else ""


def csv_lines(rows: Iterable[Iterable[str]]) -> str:
    """Lines of CSV in which no cell is a formula to a spreadsheet."""
    out = io.StringIO()
    csv.writer(out).writerows([f"'{cell}" if cell.startswith(_FORMULAS) else cell for cell in row] for row in rows)
    return out.getvalue()
