"""Did the message reach them, and if not, why? One plain sentence about an event, from its rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from django.utils import timezone

from channels import registry
from notifier.fingerprint import fingerprint
from notifier.models import Attempt, Delivery, NotificationEvent
from notifier.outages import Outage
from notifier.states import LOST, AttemptOutcome, DeliveryStatus, EventStatus, HoldReason, SkipReason
from preferences.addresses import masked
from preferences.resolve import EMAIL, PHONE, Recipient

WHY_SKIPPED: Mapping[str, str] = {
    SkipReason.OPTED_OUT: "its recipient turned it off",
    SkipReason.NO_ADDRESS: "no address for it is known",
    SkipReason.SUPPRESSED: "the address is suppressed: it does not exist, or its owner said stop",
    SkipReason.SUPERSEDED: "a later step of the order overtook it",
    SkipReason.EXPIRED: "it was too late",
    SkipReason.CHANNEL_DISABLED: "the channel is not configured",
    SkipReason.COUNTRY: "the number is outside SMS_REGIONS",
    SkipReason.STAGING: "this is staging, and STAGING_RECIPIENTS does not name its recipient",
    SkipReason.ROLLOUT: "the channel is being brought in, and not for its recipient yet",
    SkipReason.ERASED: "its recipient was forgotten",
}
WHY_HELD: Mapping[str, str] = {
    HoldReason.QUIET_HOURS: "its recipient's quiet hours",
    HoldReason.CAP: "as many as a day allows had gone to its recipient",
    HoldReason.PAUSED: "operators have paused it",
}
#: what a provider did, in words that go on from "was not delivered:"
WHAT_CAME: Mapping[str, str] = {
    AttemptOutcome.ACCEPTED: "{provider} accepted it{code} at {time} and said later that it did not arrive",
    AttemptOutcome.UNAVAILABLE: "{provider} could not take it{code} at {time}",
    AttemptOutcome.RATE_LIMITED: "{provider} asked us to wait{code} at {time}",
    AttemptOutcome.CREDENTIALS: "{provider} refused our credentials{code} at {time}: look at our settings",
    AttemptOutcome.UNKNOWN: "{provider} gave no clear answer{code} at {time}, so it may have gone out",
    AttemptOutcome.INVALID_RECIPIENT: "{provider} refused the address{code} at {time}",
    AttemptOutcome.REJECTED: "{provider} refused the message{code} at {time}",
}


def answer(event: NotificationEvent, recipient: Recipient | None, outages: Sequence[Outage]) -> str:
    """For people, in the server's time zone. Addresses are masked; uses the prefetched rows."""
    deliveries = sorted(event.deliveries.all(), key=lambda d: (d.status not in LOST, d.first_due_at, d.channel))
    told = list(_clauses(event, deliveries, recipient))
    left_alone = dict.fromkeys(_breaker(outage) for outage in outages if _held_up(outage, deliveries))
    sentence = "; ".join([*told, *left_alone])
    return f"{sentence[:1].upper()}{sentence[1:]}."


def _clauses(event: NotificationEvent, deliveries: Sequence[Delivery], recipient: Recipient | None) -> Iterator[str]:
    if not deliveries:
        waits = event.status in (EventStatus.QUEUED, EventStatus.DISPATCHED)
        yield "it is recorded, and nothing is planned yet" if waits else "there was nothing to send"
    for delivery in deliveries:
        yield _clause(delivery, _whom(delivery, recipient))


def _clause(delivery: Delivery, whom: str) -> str:
    attempts = list(delivery.attempts.all())
    last = attempts[-1] if attempts else None
    name = f"{delivery.channel}{whom}"
    instead = f", in place of {delivery.fallback_of}" if delivery.fallback_of else ""
    match delivery.status:
        case DeliveryStatus.DELIVERED:
            return f"{name} reached them at {clock(delivery.finished_at)}{instead}"
        case DeliveryStatus.SENT:
            by = f"by {delivery.provider} " if delivery.provider else ""
            return f"{name} was accepted {by}at {clock(delivery.sent_at or delivery.finished_at)}{instead}"
        case DeliveryStatus.FAILED | DeliveryStatus.BOUNCED:
            return f"{name} was not delivered{instead}: {_why_lost(delivery, last)}"
        case DeliveryStatus.SKIPPED:
            why = WHY_SKIPPED.get(delivery.skip_reason, delivery.detail or "there was no reason to send it")
            return f"{name} was not sent{instead}: {why}"
        case DeliveryStatus.RETRYING:
            why = _came(last) if last else delivery.detail
            return f"{name} is tried again at {clock(delivery.due_at)}{instead}" + (f": {why}" if why else "")
        case DeliveryStatus.SENDING:
            return f"{name} is being sent{instead}"
    if delivery.hold_reason:
        return f"{name} is held until {clock(delivery.due_at)}{instead}: {WHY_HELD[delivery.hold_reason]}"
    return f"{name} waits{instead}" + (f": {delivery.detail}" if delivery.detail else "")


def _why_lost(delivery: Delivery, last: Attempt | None) -> str:
    if last is None:
        return f"{delivery.detail or 'it was never tried'}, given up at {clock(delivery.finished_at)}"
    return _came(last)


def _came(attempt: Attempt) -> str:
    code = attempt.code or (f"HTTP {attempt.http_status}" if attempt.http_status else "")
    return WHAT_CAME[attempt.outcome].format(
        provider=attempt.provider or "the provider",
        code=f" ({code})" if code else "",
        time=clock(attempt.finished_at or attempt.started_at),
    )


def _whom(delivery: Delivery, recipient: Recipient | None) -> str:
    """The address, in part, where the last attempt went to the one that is known today."""
    kind = registry.address_kinds().get(delivery.channel, "")
    known = recipient.addresses.get(kind, ()) if recipient and kind in (EMAIL, PHONE) else ()
    hashes = {attempt.address_hash for attempt in delivery.attempts.all() if attempt.address_hash}
    for address in known:
        if not hashes or fingerprint(address.value) in hashes:
            return f" to {masked(address.value)}"
    return " to an address that is theirs no more" if known and hashes else ""


def _held_up(outage: Outage, deliveries: Sequence[Delivery]) -> bool:
    open_ones = (DeliveryStatus.RETRYING, DeliveryStatus.QUEUED, *LOST)
    return any(d.channel == outage.channel and d.status in open_ones for d in deliveries)


def _breaker(outage: Outage) -> str:
    until = f"until {clock(outage.until)}" if outage.until else "with no end known"
    whose = f"{outage.provider}'s breaker was open from {clock(outage.since)}"
    return f"{whose} {until} ({outage.reason}), so its calls failed for others too"


def clock(moment: datetime | None) -> str:
    """14:02:11 of today, else with its day."""
    if moment is None:
        return "an unknown time"
    local = timezone.localtime(moment)
    day = "" if local.date() == timezone.localdate() else f"{local:%Y-%m-%d} "
    return f"{day}{local:%H:%M:%S}"
