"""What a delivery becomes, as a table."""

from __future__ import annotations

from dataclasses import replace
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
from notifier.catalogue import RETRIES, Priority, RetryPolicy
from notifier.states import AttemptOutcome, DeliveryStatus
from notifier.verdict import Limits, Verdict, classify, judge

POLICY = RetryPolicy(max_tries=3, first_wait=30, longest_wait=900, fallback_after=timedelta(seconds=60))
LIMITS = Limits(POLICY, stand_in=True, resend_unknown=True)
ENDLESS = Limits(POLICY, stand_in=False, resend_unknown=False)


def verdict(*outcomes: Outcome, tries: int = 0, waited: float = 0, limits: Limits = LIMITS) -> Verdict:
    return judge(outcomes, tries=tries, waited=timedelta(seconds=waited), limits=limits)


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


def test_an_unknown_outcome_is_asked_about_soon_where_it_must_not_go_out_twice() -> None:
    found = verdict(OutcomeUnknown("x"), limits=ENDLESS)
    assert (found.status, found.unknown, found.due_in) == ("RETRYING", True, 10)
    assert verdict(OutcomeUnknown("x"), tries=2, limits=ENDLESS).status == "RETRYING"  # even after the last try
    assert verdict(OutcomeUnknown("x"), tries=2).status == "FAILED"
    assert verdict(OutcomeUnknown("x")).due_in > 10


def test_a_trial_costs_no_try_unless_the_message_itself_is_refused() -> None:
    trial = replace(LIMITS, trial=True)
    found = verdict(ProviderUnavailable("x"), tries=99, limits=trial)
    assert (found.status, found.counted) == ("RETRYING", False)
    assert verdict(MessageRejected("x"), limits=trial).counted


def test_a_long_wait_for_leave_is_asked_about_less_often() -> None:
    assert backoff.poll(7, waited=0) == 7  # the provider knows best
    assert 0.75 <= backoff.poll(0, waited=0) <= 1.25
    assert 15 <= backoff.poll(0, waited=9999) <= 25


def test_urgent_types_give_up_and_fall_back_sooner() -> None:
    policies = [RETRIES[priority] for priority in Priority]
    spans = [
        sum(backoff.wait(n, p.first_wait, p.longest_wait, dice=0.5) for n in range(1, p.max_tries)) for p in policies
    ]
    assert spans == sorted(spans)
    assert [p.fallback_after.total_seconds() for p in policies] == [3, 300, 1800]


def test_backoff_doubles_jitters_and_stops_at_its_cap() -> None:
    waits = [backoff.wait(n, 30, 900, dice=0.5) for n in range(1, 9)]
    assert waits == [30, 60, 120, 240, 480, 900, 900, 900]
    assert backoff.wait(1, 1, 30, dice=0) == 0.75
    assert backoff.wait(500, 60, 3600, dice=0.5) == 3600
    assert all(22.5 <= backoff.wait(1, 30, 900) <= 37.5 for _ in range(100))
