"""How long to wait before the next try. Pure, but for the dice."""

from __future__ import annotations

import random

JITTER = 0.25  # of the wait, either way, so that what failed together does not come back together
LONGEST_POLL = 20.0  # seconds between two looks at whether a provider has room: as long as a breaker stays open


def wait(tries: int, first: float, longest: float, *, dice: float | None = None) -> float:
    """Seconds before the next try after `tries` tries (1 or more): doubling from `first`, capped, with jitter.

    `dice` in [0, 1) stands in for the random number.
    """
    return jittered(min(first * 2.0 ** min(tries - 1, 30), longest), dice=dice)


def poll(asked: float, waited: float) -> float:
    """Seconds before asking again for leave to send: as long as the provider `asked`, and the longer the longer it
    was `waited` already, so that a long queue does not ask all the time."""
    return max(asked, jittered(min(max(1.0, waited / 2), LONGEST_POLL)))


def jittered(seconds: float, *, dice: float | None = None) -> float:
    roll = random.random() if dice is None else dice  # noqa: S311 - jitter needs no secrecy
    return seconds * (1 - JITTER + 2 * JITTER * roll)
