"""Numbers from numbers."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

QUANTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest of the values that `share` (0 to 1) of them do not exceed. Raises ValueError without values."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values")
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def spread(values: Sequence[float]) -> dict[str, float]:
    """p50, p95 and p99, rounded to a tenth."""
    return {name: round(percentile(values, share), 1) for name, share in QUANTILES.items()}


def median_of(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of each name over the runs; all runs have the same names."""
    return {name: round(statistics.median(run[name] for run in runs), 3) for name in runs[0]}


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """Median of the quotients of runs that were made side by side."""
    return round(statistics.median(a / b for a, b in zip(above, below, strict=True)), 3)
