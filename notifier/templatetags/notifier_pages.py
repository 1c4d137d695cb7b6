"""For the templates of the pages."""

from __future__ import annotations

from collections.abc import Mapping

from django import template

register = template.Library()


@register.filter
def of(found: Mapping[str, str], name: str) -> str:
    """What a mapping holds for a name."""
    return found[name]
