"""The oracle finds what it is there to find: each rule broken once, on made-up rows."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chaos.oracle import Findings, Ledger, Taken, judge

EVENT = {"id": "e1", "idempotency_key": "k1", "event_type": "GUEST", "status": "SENT", "round": 1}
TIMES = {"recorded_at": 100.0, "settled_at": 101.0}
DELIVERY = {"id": "d1", "event_id": "e1", "channel": "SMS", "status": "SENT", "skip_reason": ""}
KILLED = [(95.0, 105.0)]
CRASH = {"outcome": "UNKNOWN", "maybe_duplicate": True, "detail": "the process that sent it ended before it could say"}


def attempt(number: int, **more: Any) -> dict[str, Any]:
    found = {"delivery_id": "d1", "number": number, "address_id": "", "started_at": 100.0, "detail": ""}
    return {**found, "outcome": "ACCEPTED", "maybe_duplicate": False, **more}


def sms(number: int, delivery: str = "d1") -> Taken:
    return Taken("twilio", delivery, "+12025550100", 100.0 + number, number)


def findings(
    *log: Taken,
    attempts: list[dict[str, Any]] | None = None,
    excuses: list[tuple[float, float]] = KILLED,
    letters: frozenset[str] = frozenset(),
    event: dict[str, Any] | None = None,
    **delivery: Any,
) -> Findings:
    ledger = Ledger(
        events=[{**EVENT, **TIMES, **(event or {})}],
        deliveries=[{**DELIVERY, **delivery}],
        attempts=[attempt(1)] if attempts is None else attempts,
        open_letters=letters,
        inbox=frozenset(),
        devices={},
    )
    return judge({"k1": "e1"}, ledger, log, excuses)


def test_sent_once_is_fine() -> None:
    assert findings(sms(1)).ok


def test_sent_without_an_acceptance_is_lost() -> None:
    assert findings().lost


def test_an_accepted_trigger_without_an_event_is_lost() -> None:
    found = judge({"k2": "e2"}, Ledger([], [], [], frozenset(), frozenset(), {}), [], [])
    assert found.lost


def test_a_channel_that_was_never_planned_is_lost() -> None:
    assert "EMAIL" in findings(sms(1), event={"event_type": "ORDER_SHIPPED"}).lost[0]


@pytest.mark.parametrize("status", ["QUEUED", "SENDING", "RETRYING"])
def test_an_open_delivery_is_not_final(status: str) -> None:
    assert findings(sms(1), status=status).not_final


def test_an_open_event_is_not_final() -> None:
    assert findings(sms(1), event={"status": "DISPATCHED", "settled_at": None}).not_final


def test_a_failure_needs_its_open_letter() -> None:
    refused = [attempt(1, outcome="REJECTED")]
    assert findings(attempts=refused, status="FAILED").lost
    assert findings(attempts=refused, status="FAILED", letters=frozenset({"d1"})).ok


def test_a_skip_needs_its_reason() -> None:
    assert findings(attempts=[], status="SKIPPED").odd
    assert findings(attempts=[], status="SKIPPED", skip_reason="EXPIRED").ok


def test_what_was_taken_must_not_count_as_failed() -> None:
    assert findings(sms(1), attempts=[], status="FAILED", letters=frozenset({"d1"})).odd
    assert findings(sms(1), status="FAILED", letters=frozenset({"d1"})).odd
    marked = [attempt(1, **CRASH)]
    assert findings(sms(1), attempts=marked, status="FAILED", letters=frozenset({"d1"})).ok


def test_a_double_is_explained_by_its_mark() -> None:
    found = findings(sms(1), sms(2), attempts=[attempt(1, **CRASH), attempt(2)])
    assert found.ok
    assert len(found.explained) == 1


def test_a_double_without_a_mark_is_not() -> None:
    assert findings(sms(1), sms(2), attempts=[attempt(1), attempt(2)]).unexplained


def test_one_mark_explains_one_double() -> None:
    tries = [attempt(1, **CRASH), attempt(2), attempt(3)]
    assert findings(sms(1), sms(2), sms(3), attempts=tries).unexplained
    assert findings(sms(2), sms(3), attempts=tries).unexplained


def test_a_double_within_one_attempt_is_never_explained() -> None:
    assert findings(sms(1), sms(1), attempts=[attempt(1, **CRASH)]).unexplained


def test_the_sweepers_mark_needs_something_that_happened_to_processes() -> None:
    """Else a lease that is not kept would excuse itself."""
    tries = [attempt(1, **CRASH), attempt(2)]
    assert findings(sms(1), sms(2), attempts=tries, excuses=[(200.0, 210.0)]).unexplained
    corrected = [attempt(1, maybe_duplicate=True), attempt(2)]
    assert findings(sms(1), sms(2), attempts=corrected, excuses=[]).unexplained


def test_a_providers_silence_needs_nothing_else() -> None:
    silent = [attempt(1, outcome="UNKNOWN", maybe_duplicate=True, detail="timed out"), attempt(2)]
    assert findings(sms(1), sms(2), attempts=silent, excuses=[]).ok


def test_a_message_of_no_delivery_is_odd() -> None:
    assert findings(sms(1), sms(1, delivery="d9")).odd
