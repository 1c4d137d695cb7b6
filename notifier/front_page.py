"""The admin's front page: what is wrong, and how much goes on. Renews itself every few seconds."""

from __future__ import annotations

import math
from typing import Any
from urllib.parse import urlencode

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from channels.breaker import State
from notifier.charts import Chart, chart
from notifier.figures import LATELY, MOST_LETTERS, QUANTILES, Figures, Provider, Share, Speed, Waiting, figures
from notifier.problems import EVENTS, LETTERS, PROVIDERS, SWITCHES, duration, problems

PERMISSION = "notifier.view_notificationevent"
TEMPLATE = "notifier/front_page.html"
EVERY = 5  # seconds until it is renewed
#: Where there is more: the list, and the permission to see it.
PAGES = {
    PROVIDERS: ("admin:notifier_channels_breakerchange_changelist", "notifier_channels.view_breakerchange"),
    EVENTS: ("admin:notifier_notificationevent_changelist", PERMISSION),
    LETTERS: ("admin:notifier_deadletter_changelist", "notifier.view_deadletter"),
    SWITCHES: ("admin:notifier_pause_changelist", "notifier.view_pause"),
}
STATES = {State.CLOSED: ("closed", "good"), State.HALF_OPEN: ("half open", "warns"), State.OPEN: ("open", "bad")}


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Unfold's callback. Who may not see events gets the plain list of what there is."""
    if not request.user.has_perm(PERMISSION):
        return context
    return {**context, "live": live(request, figures()), "every": EVERY}


@never_cache
@require_safe
def live_page(request: HttpRequest) -> HttpResponse:
    """The part that is renewed, alone."""
    if not request.user.has_perm(PERMISSION):
        raise PermissionDenied
    return render(request, "notifier/live.html", {"live": live(request, figures())})


def live(request: HttpRequest, found: Figures) -> dict[str, Any]:
    """What the template shows."""
    known = found.signs is not None
    return {
        "at": f"{timezone.localtime(found.at):%H:%M:%S}",
        "zone": timezone.get_current_timezone_name(),
        "problems": [(each, _page(request, each.page)) for each in problems(found)],
        "known": known,
        "lately": LATELY,
        "charts": _charts(found) if known else [],
        "shares": [
            ("Channels", "sent", [_share(share) for share in found.by_channel]),
            ("Providers", "accepted", [_share(share) for share in found.by_provider]),
        ],
        "quantiles": [f"p{share * 100:.0f}" for share in QUANTILES],
        "speeds": [_speed(speed) for speed in found.speeds],
        "waiting": [_waiting(waiting) for waiting in found.waiting],
        "providers": [_provider(provider) for provider in found.providers],
        "providers_page": _page(request, PROVIDERS),
        "letters": [(cause, f"{number:,}", _letters(request, cause)) for cause, number in found.letters],
        "letters_more": sum(number for _, number in found.letters) >= MOST_LETTERS,
        **_heartbeat(found),
    }


def _charts(found: Figures) -> list[Chart]:
    return [
        chart("Events a minute", "events", [(m.at, [("good", "events", m.events)]) for m in found.minutes]),
        chart(
            "Deliveries a minute",
            "deliveries",
            [(m.at, [("good", "sent", m.sent), ("bad", "failed", m.failed)]) for m in found.minutes],
        ),
    ]


def _share(share: Share) -> dict[str, Any]:
    """Never 100 % where one is missing."""
    shown = f"{math.floor(share.percent * 10) / 10:g} %"
    numbers = f"{share.good:,} of {share.all:,}"
    return {"name": share.name, "any": bool(share.all), "width": f"{share.percent:.2f}", "shown": shown, "of": numbers}


def _speed(speed: Speed) -> tuple[str, str, list[str]]:
    return speed.name, f"{speed.number:,}", [_at_most(seconds) for seconds in speed.at_most]


def _at_most(seconds: float) -> str:
    if seconds == math.inf:
        return "> 1 h"
    return f"≤ {seconds:g} s" if seconds < 60 else f"≤ {seconds / 60:g} min"


def _waiting(waiting: Waiting) -> tuple[str, str, str]:
    number = f"over {waiting.number:,}" if waiting.more else f"{waiting.number:,}"
    return waiting.priority, number, duration(waiting.oldest) if waiting.oldest else "-"


def _provider(provider: Provider) -> dict[str, str]:
    text, kind = STATES[provider.state] if provider.state else ("not known", "warns")
    today = provider.since and timezone.localdate(provider.since) == timezone.localdate()
    since = f"{timezone.localtime(provider.since):{'%H:%M' if today else '%Y-%m-%d'}}" if provider.since else ""
    return {"name": f"{provider.channel} by {provider.name}", "state": text, "kind": kind, "since": since}


def _heartbeat(found: Figures) -> dict[str, Any]:
    if found.signs is None:
        return {"workers": "not known", "beat": "not known", "unserved": "", "synthetic": ""}
    beat = "never" if found.signs.beat is None else f"{duration(found.signs.beat)} ago"
    synthetic = f"{found.followed - len(found.missed)} of {found.followed} in time" if found.followed else ""
    told = {"beat": beat, "unserved": ", ".join(found.unserved), "synthetic": synthetic}
    return {"workers": len(found.signs.workers), **told}


def _page(request: HttpRequest, page: str) -> str:
    """Its address, where there is one that this person may see."""
    name, permission = PAGES.get(page, ("", ""))
    return reverse(name) if name and request.user.has_perm(permission) else ""


def _letters(request: HttpRequest, cause: str) -> str:
    """The open ones of this cause."""
    page = _page(request, LETTERS)
    return f"{page}?{urlencode({'status__exact': 'OPEN', 'q': cause})}" if page else ""
