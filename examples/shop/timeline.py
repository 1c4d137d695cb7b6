"""What Notifier did for an order, read through its API and put into words for the order's page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from django.conf import settings
from django.utils import timezone

from notifier_client import HttpNotifier, NotifierError, Refused

CHANNELS = {"EMAIL": "Email", "SMS": "Text", "PUSH": "Push", "IN_APP": "Inbox"}
STATUSES = {  # how it looks, and the word for it
    "SENT": ("good", "sent"),
    "DELIVERED": ("good", "delivered"),
    "SKIPPED": ("calm", "left out"),
    "QUEUED": ("warn", "waiting"),
    "SENDING": ("warn", "sending"),
    "DISPATCHED": ("warn", "under way"),
    "RETRYING": ("warn", "trying again"),
    "PARTIAL": ("warn", "partly sent"),
    "FAILED": ("bad", "failed"),
    "BOUNCED": ("bad", "came back"),
}
SKIPPED = {
    "OPTED_OUT": "the customer does not want these",
    "NO_ADDRESS": "there is no address for it",
    "SUPPRESSED": "the address takes no messages",
    "SUPERSEDED": "overtaken by later news",
    "EXPIRED": "too late to be of use",
    "CHANNEL_DISABLED": "the channel is off",
    "COUNTRY": "no texts to that country",
    "STAGING": "not in staging",
    "ERASED": "the customer was forgotten",
}
HELD = {"QUIET_HOURS": "not at night", "CAP": "enough for one day"}
UNDER_WAY = timedelta(minutes=1)  # for so long the page looks again by itself


@dataclass(frozen=True, slots=True)
class Message:
    """One delivery, in words."""

    channel: str
    words: str
    status: str
    tone: str
    attempts: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Told:
    """One event of the order, in words."""

    id: str
    label: str
    status: str
    tone: str
    at: datetime
    settled: bool
    messages: Sequence[Message]
    decisions: Sequence[Mapping[str, Any]]

    @property
    def is_under_way(self) -> bool:
        return not self.settled and timezone.now() - self.at < UNDER_WAY


@dataclass(frozen=True, slots=True)
class Timeline:
    """The order's events, newest first; or why they cannot be shown now."""

    events: Sequence[Told] = field(default_factory=list)
    problem: str = ""


def of_order(number: str) -> Timeline:
    """Never raises: an order's page must show the order, whether Notifier answers or not."""
    try:
        return Timeline([_told(event) for event in _notifier().events_of_order(number)])
    except NotifierError as error:
        return Timeline(problem=str(error))


def of_event(event_id: str) -> Told | None:
    """One event with all its attempts and decisions; None where Notifier has none. Raises NotifierError."""
    try:
        return _told(_notifier().event(event_id))
    except Refused:
        return None


@cache
def _notifier() -> HttpNotifier:
    """For reading: a page waits two seconds at most, and does not try again."""
    return HttpNotifier(settings.NOTIFIER_URL, settings.NOTIFIER_API_KEY, tries=1, timeout=2, connect_timeout=1)


def _told(event: Mapping[str, Any]) -> Told:
    tone, status = _status(event["status"])
    at = datetime.fromisoformat(event["recordedAt"])
    return Told(
        id=event["eventId"],
        label=event["eventType"].replace("_", " ").capitalize(),
        status=status,
        tone=tone,
        at=at,
        settled=bool(event["settledAt"]),
        messages=[_message(delivery, at) for delivery in event["deliveries"]],
        decisions=[_decision(decision) for decision in event["decisions"]],
    )


def _status(status: str) -> tuple[str, str]:
    return STATUSES.get(status, ("calm", status.lower()))


def _message(delivery: Mapping[str, Any], recorded_at: datetime) -> Message:
    tone, status = _status(delivery["status"])
    channel = CHANNELS.get(delivery["channel"], delivery["channel"])
    attempts = [
        {**attempt, "startedAt": datetime.fromisoformat(attempt["startedAt"])} for attempt in delivery["attempts"]
    ]
    return Message(channel, _words(delivery, recorded_at), status, tone, attempts)


def _words(delivery: Mapping[str, Any], recorded_at: datetime) -> str:
    """How it went, or why it did not."""
    reason: str = delivery["skipReason"]
    if reason:
        return SKIPPED.get(reason, reason.replace("_", " ").lower())
    parts = []
    if delivery["holdReason"] and delivery["status"] == "QUEUED":
        until = datetime.fromisoformat(delivery["dueAt"])
        parts.append(f"{HELD.get(delivery['holdReason'], delivery['holdReason'])}, until {until:%d %b, %H:%M} UTC")
    if instead := delivery["fallbackOf"]:
        parts.append(f"in place of {CHANNELS.get(instead, instead)}")
    if delivery["sentAt"]:
        milliseconds = (datetime.fromisoformat(delivery["sentAt"]) - recorded_at) / timedelta(milliseconds=1)
        parts.append(f"{delivery['provider']}, {milliseconds:,.0f} ms")
    if (tries := len({attempt["number"] for attempt in delivery["attempts"]})) > 1:
        parts.append(f"{tries} tries")
    if not delivery["sentAt"] and delivery["attempts"]:
        parts.append(delivery["attempts"][-1]["outcome"].replace("_", " ").lower())
    return ", ".join(parts)


def _decision(decision: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        "at": datetime.fromisoformat(decision["at"]),
        "channel": CHANNELS.get(decision["channel"], decision["channel"]),
        "what": decision["decision"].replace("_", " ").lower(),
        "why": " ".join(part for part in (decision["reason"].replace("_", " ").lower(), decision["detail"]) if part),
    }
