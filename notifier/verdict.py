"""What a delivery becomes after its attempt, from what the provider said. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from channels.base import Outcome, Receipt
from channels.errors import (
    ChannelError,
    CredentialsRejected,
    InvalidRecipient,
    OutcomeUnknown,
    PermanentError,
    ProviderUnavailable,
    RateLimited,
)
from notifier import backoff
from notifier.states import AttemptOutcome, DeliveryStatus

OUTCOMES: tuple[tuple[type[ChannelError], AttemptOutcome], ...] = (
    (RateLimited, AttemptOutcome.RATE_LIMITED),
    (CredentialsRejected, AttemptOutcome.CREDENTIALS),
    (OutcomeUnknown, AttemptOutcome.UNKNOWN),
    (ProviderUnavailable, AttemptOutcome.UNAVAILABLE),
    (InvalidRecipient, AttemptOutcome.INVALID_RECIPIENT),
    (ChannelError, AttemptOutcome.REJECTED),
)
RATE_LIMITED_WAIT = 5.0  # seconds, where the provider does not say how long


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a delivery may be tried. `fallback_after` is None where nothing could stand in for it."""

    max_tries: int
    fallback_after: timedelta | None
    resend_unknown: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """`due_in` is seconds from now, for RETRYING; `counted` whether the try counts against the limit."""

    status: DeliveryStatus
    counted: bool = True
    due_in: float = 0.0
    cause: str = ""
    detail: str = ""


def classify(outcome: Outcome) -> AttemptOutcome:
    if isinstance(outcome, Receipt):
        return AttemptOutcome.ACCEPTED
    return next(name for kind, name in OUTCOMES if isinstance(outcome, kind))


def judge(outcomes: Sequence[Outcome], *, tries: int, priority: int, waited: timedelta, limits: Limits) -> Verdict:
    """The verdict over a delivery's outcomes (push has several). `tries` before this one; `waited` since first due."""
    if any(isinstance(outcome, Receipt) for outcome in outcomes):
        return Verdict(DeliveryStatus.SENT)
    errors = [outcome for outcome in outcomes if isinstance(outcome, ChannelError)]
    worst = next((error for error in errors if not isinstance(error, PermanentError)), errors[0])
    failed = Verdict(DeliveryStatus.FAILED, cause=type(worst).__name__, detail=str(worst))
    counted = not isinstance(worst, RateLimited)  # waiting uses up no attempt; the time to live ends it
    if isinstance(worst, PermanentError) or (isinstance(worst, OutcomeUnknown) and not limits.resend_unknown):
        return failed
    left = None if limits.fallback_after is None else (limits.fallback_after - waited).total_seconds()
    if (left is not None and left <= 0) or (counted and tries + 1 >= limits.max_tries):
        return failed
    due_in = _wait(worst, tries, priority)
    # one last try when the fallback falls due, so that it comes neither early nor late
    due_in = due_in if left is None else min(due_in, left)
    return Verdict(DeliveryStatus.RETRYING, counted, due_in, failed.cause, failed.detail)


def _wait(error: ChannelError, tries: int, priority: int) -> float:
    if isinstance(error, RateLimited):
        return RATE_LIMITED_WAIT if error.retry_after is None else error.retry_after
    return max(backoff.wait(tries + 1, priority), error.retry_after or 0.0)
