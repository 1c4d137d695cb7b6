"""What all pages for customers share: their language, their headers, and what stands there when a link is no good."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import render
from django.utils import translation

from notifier import throttle
from notifier.throttle import Grant


def language_of(locale: str) -> str:
    """The language among settings.LOCALES in which somebody with this locale reads."""
    language = locale.partition("-")[0]
    return language if language in settings.LOCALES else settings.DEFAULT_LOCALE


def framed(answer: HttpResponseBase) -> HttpResponseBase:
    """The address holds a token: no other site gets it as a referrer, and no search engine keeps it."""
    answer["Referrer-Policy"] = "no-referrer"
    answer["X-Robots-Tag"] = "noindex, nofollow"
    return answer


def dead_link(request: HttpRequest) -> HttpResponseBase:
    """404, and 429 to an address that tries too many: who has no good link is told nothing of anybody."""
    grant = throttle.without_proof(request)
    return too_many(request, grant) if grant else _told(request, "dead_link", 404)


def too_many(request: HttpRequest, grant: Grant) -> HttpResponseBase:
    """429: come again later."""
    answer = _told(request, "too_many", 429)
    answer["Retry-After"] = grant.retry_after
    return answer


def _told(request: HttpRequest, page: str, status: int) -> HttpResponseBase:
    """A page of nobody's, in the browser's language."""
    with translation.override(language_of(translation.get_language_from_request(request))):
        return framed(render(request, f"notifier/pages/{page}.html", {"shop": settings.SHOP}, status=status))
