"""Searches of the admin's lists that staff keep by a name, for themselves or for all."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any
from urllib.parse import parse_qsl, urlencode

from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet

from preferences.models import SavedSearch, User

MOST = 30  # of one owner and list
_ADDRESS = re.compile(r"@|^\s*\+?\d[\d ()/-]{6,}\d\s*$")  # a mail address, or a phone number and nothing else


def offered(user: User, page: str) -> QuerySet[SavedSearch]:
    """Their own of this list, and those that others share, by name."""
    return SavedSearch.objects.filter(Q(owner=user) | Q(shared=True), page=page).order_by("name", "id")


def save(user: User, page: str, name: str, query: str, *, shared: bool) -> SavedSearch:
    """Keep a query string by a name; the same name again replaces it. Raises ValidationError."""
    wanted = [(key, value) for key, value in parse_qsl(query) if value]
    if not wanted:
        raise ValidationError("There is nothing to save: search or filter first.")
    if any(_ADDRESS.search(value) for _, value in wanted):
        raise ValidationError("A search for a person's email or phone is not kept: it would outlive the person.")
    row = SavedSearch(owner=user, page=page, name=name.strip(), query=urlencode(wanted), shared=shared)
    row.clean_fields()
    if SavedSearch.objects.filter(owner=user, page=page).exclude(name=row.name).count() >= MOST:
        raise ValidationError(f"At most {MOST} searches of a list can be kept; delete one first.")
    SavedSearch.objects.update_or_create(
        owner=user, page=page, name=row.name, defaults={"query": row.query, "shared": shared}
    )
    return row


def forget(user: User, page: str, search_id: str) -> bool:
    """Delete one of their own; was there one?"""
    if not search_id.isdecimal():
        return False
    return bool(SavedSearch.objects.filter(owner=user, page=page, id=int(search_id)).delete()[0])


def without(query: str, names: Collection[str]) -> str:
    """A query string without these parameters, such as the place of a page."""
    kept: list[tuple[str, Any]] = [(key, value) for key, value in parse_qsl(query) if key not in names]
    return urlencode(kept)
