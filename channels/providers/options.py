"""Checks the options of providers. A wrong one is an ImproperlyConfigured that names provider and option."""

from __future__ import annotations

from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured


def wrong(provider: str, option: str, problem: str) -> ImproperlyConfigured:
    """The error to raise. It never shows the value, which may be a secret."""
    return ImproperlyConfigured(f"{provider}: option {option!r} {problem}.")


def text(provider: str, option: str, value: object) -> str:
    """A string that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise wrong(provider, option, "is empty")
    return value


def url(provider: str, option: str, value: object) -> str:
    """An http(s) address without a query, returned without the slash at its end."""
    parsed = urlsplit(text(provider, option, value))
    if parsed.scheme not in {"http", "https"} or not parsed.hostname or parsed.query or parsed.fragment:
        raise wrong(provider, option, "is not an address like https://host")
    return parsed.geturl().rstrip("/")


def whole(provider: str, option: str, value: object, most: int) -> int:
    """A whole number from 1 to `most`."""
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise wrong(provider, option, f"is not a whole number from 1 to {most}")
    return value


def seconds(provider: str, option: str, value: object) -> float:
    """A positive number of seconds."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not value > 0:
        raise wrong(provider, option, "is not a positive number of seconds")
    return float(value)
