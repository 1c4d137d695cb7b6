"""Ask the providers what became of messages that may have gone out, before any of them is sent again."""

from __future__ import annotations

from collections.abc import Sequence

from channels.base import Channel, Finding, Inquiry, Receipt
from channels.errors import ChannelError
from notifier.claim import Claimed
from notifier.models import Attempt, Delivery, new_id
from notifier.querysets.deliveries import AttemptRow
from notifier.states import AttemptOutcome, DeliveryStatus
from notifier.verdict import ASK_AFTER, Verdict

UNKNOWN = "OutcomeUnknown"


def reconcile(channel: Channel, claimed: Sequence[Claimed]) -> None:
    """Give those whose earlier attempt is cleared up their verdict; the others stay to be sent.

    Taken: the earlier attempt is corrected. Surely not taken: it goes out again. No answer: it is asked again later.
    Where the provider cannot be asked, the channel's policy decides (`resend_unknown`).
    """
    unclear = [item for item in claimed if item.row.unknown_since and item.messages]
    if not unclear:
        return
    findings = channel.ask([Inquiry(item.messages[0], item.row.unknown_since or item.row.now) for item in unclear])
    taken = _known_elsewhere(channel.name, unclear) if any(findings) else set()
    for item, finding in zip(unclear, findings, strict=True):
        item.verdict = _verdict(item, finding, taken)


def _verdict(item: Claimed, finding: Finding, taken: set[str]) -> Verdict | None:
    """`taken` names the messages that are known to be another delivery's; this one's is added. None: send it."""
    if finding is None:
        detail = "it may have gone out, and its provider cannot be asked"
        again = item.limits.resend_unknown or item.row.forced
        return None if again else Verdict(DeliveryStatus.FAILED, False, 0, UNKNOWN, detail)
    if isinstance(finding, ChannelError):
        return _later(item, finding)
    receipt = next((r for r in finding if r.provider_message_id not in taken), None)
    if receipt:
        taken.add(receipt.provider_message_id)
        item.receipt, item.attempts = receipt, _corrected(item, receipt)
        return Verdict(DeliveryStatus.SENT, counted=False)
    if item.row.tries < item.limits.policy.max_tries:
        return None
    return Verdict(DeliveryStatus.FAILED, False, 0, UNKNOWN, "it did not go out, and no tries are left")


def _later(item: Claimed, error: ChannelError) -> Verdict:
    """The provider did not answer: asking costs no try, the fallback or the time to live ends it."""
    waited = item.waited
    left = item.limits.left(waited)
    if left is not None and left <= 0:
        return Verdict(DeliveryStatus.FAILED, False, 0, UNKNOWN, f"it may have gone out; asking: {error}")
    due_in = min(max(ASK_AFTER, waited.total_seconds() / 2), item.limits.policy.longest_wait)
    due_in = max(due_in, error.retry_after or 0.0)
    due_in = due_in if left is None else min(due_in, left)
    return Verdict(DeliveryStatus.RETRYING, False, due_in, UNKNOWN, f"asking: {error}", unknown=True)


def _known_elsewhere(channel: str, items: Sequence[Claimed]) -> set[str]:
    """Messages that other deliveries of the same orders are known to have sent: one text may be sent twice rightly."""
    orders = {item.row.order_id for item in items}
    return Delivery.objects.message_ids(channel, sorted(orders), excluding=[item.row.id for item in items])


def _corrected(item: Claimed, receipt: Receipt) -> list[AttemptRow]:
    """The last attempt whose outcome was unknown, as it is known now."""
    unknown = Attempt.objects.filter(delivery_id=item.row.id, outcome=AttemptOutcome.UNKNOWN).order_by("-number")[:1]
    return [
        AttemptRow(
            id=new_id(),
            delivery_id=item.row.id,
            number=attempt.number,
            address_id=attempt.address_id,
            provider=receipt.provider,
            started_at=attempt.started_at,
            outcome=AttemptOutcome.ACCEPTED.value,
            http_status=receipt.status,
            detail="found by asking the provider",
            provider_message_id=receipt.provider_message_id,
            maybe_duplicate=True,
        )
        for attempt in unknown
    ]
