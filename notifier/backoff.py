"""How long to wait before the next try. Pure, but for the dice."""

from __future__ import annotations

import random

from notifier.catalogue import Priority

#: first wait and cap in seconds: urgent messages give up sooner, and fall back sooner
FIRST_WAIT = {Priority.URGENT: 1.0, Priority.NORMAL: 30.0, Priority.BULK: 60.0}
LONGEST_WAIT = {Priority.URGENT: 30.0, Priority.NORMAL: 900.0, Priority.BULK: 3600.0}
JITTER = 0.25  # of the wait, either way, so that what failed together does not come back together


def wait(tries: int, priority: int, *, dice: float | None = None) -> float:
    """Seconds before the next try after `tries` tries (1 or more): doubling, capped, with jitter.

    `dice` in [0, 1) stands in for the random number.
    """
    level = Priority(priority)
    base: float = min(FIRST_WAIT[level] * 2.0 ** min(tries - 1, 30), LONGEST_WAIT[level])
    roll = random.random() if dice is None else dice  # noqa: S311 - jitter needs no secrecy
    return base * (1 - JITTER + 2 * JITTER * roll)
