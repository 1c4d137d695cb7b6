"""The sentence about an event has words for all that can be decided."""

from __future__ import annotations

from notifier.answer import WHAT_CAME, WHY_HELD, WHY_SKIPPED
from notifier.states import AttemptOutcome, HoldReason, SkipReason


def test_every_reason_and_outcome_has_its_words() -> None:
    assert set(WHY_SKIPPED) == set(SkipReason) - {SkipReason.NONE}
    assert set(WHY_HELD) == set(HoldReason) - {HoldReason.NONE}
    assert set(WHAT_CAME) == set(AttemptOutcome)
