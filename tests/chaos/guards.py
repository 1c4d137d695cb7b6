"""For each guard that tests/chaos/sabotage.py can switch off: the acts that aim at it, so that its absence shows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Guard:
    """Acts, and the seconds between two of them."""

    kinds: tuple[str, ...]
    pause: tuple[float, float]
    meaning: str


GUARDS = {
    "sweeper": Guard(("kill-group", "kill-main", "valkey-wipe"), (4.0, 8.0), "what a crash left behind is never found"),
    "lease": Guard(("fault-slow",), (2.0, 4.0), "a send is freed while its process is still at it"),
    "fence": Guard(("stop-failed",), (36.0, 40.0), "a late writer writes over what happened meanwhile"),
    "claim": Guard(("fault-latency", "duplicate"), (2.0, 4.0), "rows are sent without being marked first"),
}
