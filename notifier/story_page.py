"""The admin's timeline: one field, and what became of an order, an event or a person's messages, in one column.

What can be told by an id stands in the address, so that it can be passed on; an email or a phone number is in the body
alone: servers log addresses.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone

from notifier.answer import WHY_SKIPPED
from notifier.catalogue import event_types
from notifier.content import VIEW_CONTENT, content_of
from notifier.models import Attempt, Delivery
from notifier.querysets.events import Sought
from notifier.states import DeliveryStatus
from notifier.story import Story, page_of, sought, stories
from notifier.timeline import Decision

PERMISSION = "notifier.view_notificationevent"
LONGEST = 254  # characters of what is looked for
COLOURS = {
    **dict.fromkeys(["SENT", "DELIVERED", "ACCEPTED", "REPLAYED"], "success"),
    **dict.fromkeys(["FAILED", "BOUNCED", "REJECTED", "INVALID_RECIPIENT", "CREDENTIALS", "OPEN"], "danger"),
    **dict.fromkeys(["PARTIAL", "RETRYING", "UNAVAILABLE", "UNKNOWN", "RATE_LIMITED", "HELD", "FELL_BACK"], "warning"),
    **dict.fromkeys(["QUEUED", "DISPATCHED", "SENDING"], "info"),
    "BREAKER_OPEN": "danger",
}
#: the decisions in words; the others are shown as they are called
WORDS = {
    "RECORDED": "recorded", "PLANNED": "planned", "FELL_BACK": "stands in", "HELD": "held", "WAITING": "waits",
    "RETRYING": "tried again later", "SENT": "accepted", "DELIVERED": "reached them", "BOUNCED": "came back",
    "FAILED": "given up", "SKIPPED": "not sent", "SETTLED": "settled", "REPLAYED": "sent again",
    "DISCARDED": "discarded", "BREAKER_OPEN": "left alone",
}  # fmt: skip


def story_page(request: HttpRequest, site: AdminSite) -> HttpResponse:
    """The field; with what was found once something was looked for."""
    if not request.user.has_perm(PERMISSION):
        raise PermissionDenied
    given = request.POST if request.method == "POST" else request.GET
    term, before = given.get("q", "").strip()[:LONGEST], given.get("before", "")
    meant = sought(term) if term and "\0" not in term else Sought()
    if request.method == "POST" and term and not (meant.email or meant.phone) and not before:
        return redirect(request.path + "?" + urlencode({"q": term}))
    events, older = page_of(meant, older_than=before if _is_id(before) else "")
    context = {
        **site.each_context(request),
        "title": "Timeline",
        "term": term,
        "before": before,
        "older": older,
        "private": bool(meant.email or meant.phone),
        "stories": told(stories(events), may_read=request.user.has_perm(VIEW_CONTENT)),
    }
    return render(request, "notifier/story.html", context)


def told(found: Sequence[Story], *, may_read: bool) -> list[dict[str, Any]]:
    """Stories as notifier/story_column.html has them; with the content for those who may read it."""
    return [_told(story, may_read=may_read) for story in found]


def _told(story: Story, *, may_read: bool) -> dict[str, Any]:
    event, kind = story.event, event_types().get(story.event.event_type)
    deliveries = list(event.deliveries.all())
    return {
        "event": event,
        "title": kind.label if kind else event.event_type,
        "label": _label(event.status, event.status),
        "link": reverse("admin:notifier_notificationevent_change", args=[event.id]),
        "recorded": _time(event.recorded_at),
        "answer": story.answer,
        "steps": [_step(decision, event.recorded_at) for decision in story.decisions],
        "contents": [_content(story, delivery) for delivery in deliveries if _says(delivery)] if may_read else [],
    }


def _step(decision: Decision, recorded_at: datetime) -> dict[str, Any]:
    word = decision.reason if decision.attempt else decision.decision
    return {
        "at": _time(decision.at),
        "after": _after((decision.at - recorded_at).total_seconds()),
        "channel": decision.channel,
        "label": _label("attempt" if decision.attempt else WORDS.get(decision.decision, decision.decision), word),
        "colour": COLOURS.get(word, "default"),
        "reason": f"for {decision.reason}" if decision.decision == "FELL_BACK" else decision.reason,
        "detail": _detail(decision),
        "attempt": _attempt(decision.attempt) if decision.attempt else None,
        "letter": decision.letter and reverse("admin:notifier_deadletter_change", args=[decision.letter.id]),
        "open": decision.letter is not None and not decision.letter.closed_at,
    }


def _detail(decision: Decision) -> str:
    if decision.attempt:
        return decision.attempt.detail
    why = WHY_SKIPPED.get(decision.reason, "") if decision.decision == DeliveryStatus.SKIPPED else ""
    return "; ".join(filter(None, (why, decision.detail)))


def _attempt(attempt: Attempt) -> list[tuple[str, str]]:
    """What is known of it, by name."""
    took = f"{attempt.duration_ms:,} ms" if attempt.duration_ms is not None else "no end is known"
    facts = [
        ("number", str(attempt.number)),
        ("provider", attempt.provider),
        ("HTTP", str(attempt.http_status or "")),
        ("code", attempt.code),
        ("took", took),
        ("template", attempt.template),
        ("device", attempt.address_id),
        ("its id there", attempt.provider_message_id),
        ("mind", "maybe a duplicate" if attempt.maybe_duplicate else ""),
    ]
    return [(name, text) for name, text in facts if text]


def _says(delivery: Delivery) -> bool:
    return delivery.status != DeliveryStatus.SKIPPED


def _content(story: Story, delivery: Delivery) -> dict[str, Any]:
    return {"channel": delivery.channel, "content": content_of(story.event, delivery, story.recipient)}


def _label(text: str, status: str) -> str:
    return render_to_string("notifier/label.html", {"text": text, "kind": COLOURS.get(status, "default")})


def _time(moment: datetime) -> str:
    return f"{timezone.localtime(moment):%Y-%m-%d %H:%M:%S.%f}"[:-3]


def _after(seconds: float) -> str:
    """How long after the event was recorded."""
    if abs(seconds) < 60:
        return f"{seconds:+.1f} s"
    minutes = seconds / 60
    return f"{minutes:+.0f} min" if abs(minutes) < 120 else f"{minutes / 60:+.0f} h"


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
