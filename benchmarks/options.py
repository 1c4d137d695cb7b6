"""What the command line says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

PARTS = ("throughput", "latency", "planning", "intake", "scaling", "costs", "history", "admin", "burst", "memory")

Show = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Options:
    """Which parts run, and how long each measurement takes.

    `rounds`: runs of which the median counts; `api_rounds`: those of latency and intake. `seconds`: of a throughput
    run. `batches`: events a round, beside the default. `rates`: triggers a second.
    """

    parts: tuple[str, ...] = PARTS
    quick: bool = False
    rounds: int = 3
    seconds: float = 12.0
    batches: tuple[int, ...] = (1, 10, 100, 500)
    rates: tuple[int, ...] = (20, 50, 200)
    latency_seconds: float = 15.0
    api_rounds: int = 3
    random_arrivals: bool = False
    burst_events: int = 100_000
    history_deliveries: int = 5_000_000
    memory_events: int = 200_000


QUICK = Options(
    parts=("throughput", "latency", "intake"),
    quick=True,
    seconds=5.0,
    batches=(),
    rates=(20,),
    api_rounds=1,
)
