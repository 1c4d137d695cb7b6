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
from notifier.catalogue import RetryPolicy
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
ASK_AFTER = 10.0  # seconds until a provider is asked what became of a message: its list may lag behind


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a delivery may be tried. `stand_in`: another channel could carry the message instead.

    `trial`: its provider was only being tried again after an outage, and a failure costs no try.
    """

    policy: RetryPolicy
    stand_in: bool
    resend_unknown: bool
    trial: bool = False

    def left(self, waited: timedelta) -> float | None:
        """Seconds until the fallback is due; None where there is none."""
        return (self.policy.fallback_after - waited).total_seconds() if self.stand_in else None


@dataclass(frozen=True, slots=True)
class Verdict:
    """`due_in` is seconds from now, for RETRYING; `counted` whether the try counts against the limit.

    `unknown`: the message may have gone out, and its provider is to be asked before it is sent again.
    """

    status: DeliveryStatus
    counted: bool = True
    due_in: float = 0.0
    cause: str = ""
    detail: str = ""
    unknown: bool = False


def classify(outcome: Outcome) -> AttemptOutcome:
    if isinstance(outcome, Receipt):
        return AttemptOutcome.ACCEPTED
    return next(name for kind, name in OUTCOMES if isinstance(outcome, kind))


def judge(outcomes: Sequence[Outcome], *, tries: int, waited: timedelta, limits: Limits) -> Verdict:
    """The verdict over a delivery's outcomes (push has several). `tries` before this one; `waited` since first due."""
    if any(isinstance(outcome, Receipt) for outcome in outcomes):
        return Verdict(DeliveryStatus.SENT)
    errors = [outcome for outcome in outcomes if isinstance(outcome, ChannelError)]
    worst = next((error for error in errors if not isinstance(error, PermanentError)), errors[0])
    # waiting uses up no try: the fallback or the time to live ends it
    counted = not isinstance(worst, RateLimited) and not (limits.trial and not isinstance(worst, PermanentError))
    failed = Verdict(DeliveryStatus.FAILED, counted, cause=type(worst).__name__, detail=str(worst))
    left = limits.left(waited)
    if isinstance(worst, PermanentError) or (left is not None and left <= 0):
        return failed
    unknown = isinstance(worst, OutcomeUnknown)
    to_ask = unknown and not limits.resend_unknown  # its provider may say yet that it arrived
    if counted and tries + 1 >= limits.policy.max_tries and not to_ask:
        return failed
    due_in = _wait(worst, tries, limits)
    # one last try when the fallback falls due, so that it comes neither early nor late
    due_in = due_in if left is None else min(due_in, left)
    return Verdict(DeliveryStatus.RETRYING, counted, due_in, failed.cause, failed.detail, unknown)


def _wait(error: ChannelError, tries: int, limits: Limits) -> float:
    if isinstance(error, RateLimited):
        return RATE_LIMITED_WAIT if error.retry_after is None else error.retry_after
    due_in = backoff.wait(tries + 1, limits.policy.first_wait, limits.policy.longest_wait)
    if isinstance(error, OutcomeUnknown) and not limits.resend_unknown:
        return min(due_in, ASK_AFTER)
    return max(due_in, error.retry_after or 0.0)
