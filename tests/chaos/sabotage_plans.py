"""For each guard that can be switched off (tests/chaos/sabotage.py): what must then be found, and by which faults."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SabotagePlan:
    """Acts that aim at the guard, and the seconds between two of them."""

    kinds: tuple[str, ...]
    pause: tuple[float, float]


PLANS = {
    "sweeper": SabotagePlan(("kill-group", "kill-main", "valkey-wipe"), (4.0, 8.0)),
    "lease": SabotagePlan(("fault-latency", "stop-child"), (3.0, 6.0)),
    "fence": SabotagePlan(("stop-sending", "stop-child"), (5.0, 8.0)),
    "claim": SabotagePlan(("fault-latency", "duplicate"), (2.0, 5.0)),
}
