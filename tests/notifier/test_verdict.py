"""What a delivery becomes, as a table."""

from __future__ import annotations

from datetime import timedelta

import pytest

from channels.base import Outcome, Receipt
from channels.errors import (
    CredentialsRejected,
    InvalidRecipient,
    MessageRejected,
    OutcomeUnknown,
    ProviderUnavailable,
    RateLimited,
)
from notifier import backoff
from notifier.catalogue import Priority
from notifier.states import AttemptOutcome, DeliveryStatus
from notifier.verdict import Limits, Verdict, classify, judge

LIMITS = Limits(max_tries=3, fallback_after=timedelta(seconds=60), resend_unknown=True)
ENDLESS = Limits(max_tries=3, fallback_after=None, resend_unknown=False)


def verdict(
    *outcomes: Outcome, tries: int = 0, waited: float = 0, limits: Limits = LIMITS, priority: int = Priority.NORMAL
) -> Verdict:
    return judge(outcomes, tries=tries, priority=priority, waited=timedelta(seconds=waited), limits=limits)


@pytest.mark.parametrize(
    ("outcome", "name", "status", "counted"),
    [
        (Receipt("x"), "ACCEPTED", "SENT", True),
        (ProviderUnavailable("x"), "UNAVAILABLE", "RETRYING", True),
        (CredentialsRejected("x"), "CREDENTIALS", "RETRYING", True),
        (RateLimited("x"), "RATE_LIMITED", "RETRYING", False),
        (OutcomeUnknown("x"), "UNKNOWN", "RETRYING", True),
        (InvalidRecipient("x"), "INVALID_RECIPIENT", "FAILED", True),
        (MessageRejected("x"), "REJECTED", "FAILED", True),
    ],
)
def test_each_outcome_has_its_verdict(outcome: Outcome, name: str, status: str, counted: bool) -> None:
    found = verdict(outcome)
    assert (classify(outcome), found.status, found.counted) == (AttemptOutcome(name), DeliveryStatus(status), counted)


def test_one_accepted_device_is_enough() -> None:
    assert verdict(InvalidRecipient("old phone"), Receipt("fcm")).status == "SENT"


def test_a_device_that_may_come_back_keeps_the_delivery_open() -> None:
    assert verdict(InvalidRecipient("old phone"), ProviderUnavailable("away")).status == "RETRYING"


def test_the_last_try_fails_with_its_cause() -> None:
    found = verdict(ProviderUnavailable("no connection", provider="twilio"), tries=2)
    assert (found.status, found.cause, found.detail) == ("FAILED", "ProviderUnavailable", "twilio, no connection")


def test_a_rate_limit_never_runs_out_of_tries_and_obeys_retry_after() -> None:
    assert verdict(RateLimited("x", retry_after=17), tries=99).due_in == 17


def test_the_retry_falls_on_the_moment_of_the_fallback_and_no_later() -> None:
    assert verdict(ProviderUnavailable("x"), waited=58).due_in == pytest.approx(2)
    assert verdict(ProviderUnavailable("x"), waited=60).status == "FAILED"


def test_without_a_stand_in_only_tries_end_it() -> None:
    assert verdict(ProviderUnavailable("x"), waited=9999, limits=ENDLESS).status == "RETRYING"
    assert verdict(OutcomeUnknown("x"), limits=ENDLESS).status == "FAILED"  # never resent blindly


def test_backoff_doubles_jitters_and_stops_at_its_cap() -> None:
    waits = [backoff.wait(n, Priority.NORMAL, dice=0.5) for n in range(1, 9)]
    assert waits == [30, 60, 120, 240, 480, 900, 900, 900]
    assert backoff.wait(1, Priority.URGENT, dice=0) == 0.75
    assert backoff.wait(500, Priority.BULK, dice=0.5) == 3600
    assert all(22.5 <= backoff.wait(1, Priority.NORMAL) <= 37.5 for _ in range(100))
