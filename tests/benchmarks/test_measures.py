"""The benchmark's arithmetic."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import processes
from benchmarks.drain import Run
from benchmarks.latency import moments
from benchmarks.measures import median_of, percentile, ratio, spread

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1)


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.95, 95), (0.99, 99), (1.0, 100), (0.0, 1)])
def test_a_percentile_is_the_nearest_rank(share: float, expected: int) -> None:
    assert percentile(range(100, 0, -1), share) == expected


@given(VALUES, st.floats(0, 1))
def test_so_large_a_share_is_not_above_the_percentile(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values)


def test_nothing_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_a_spread_names_its_percentiles() -> None:
    assert spread([float(n) for n in range(1, 101)]) == {"p50": 50.0, "p95": 95.0, "p99": 99.0}


def test_medians_are_taken_by_name() -> None:
    assert median_of([{"a": 1, "b": 9}, {"a": 5, "b": 7}, {"a": 3, "b": 8}]) == {"a": 3, "b": 8}


def test_a_ratio_is_the_median_of_the_pairs() -> None:
    """One pair that was disturbed does not move it, nor does a drift that both sides share."""
    assert ratio([100.0, 50.0, 10.0], [10.0, 5.0, 9.0]) == 10.0


def test_a_run_is_told_per_event() -> None:
    run = Run(200, 4.0, {"workers": 1.0, "beat": 0.0})
    assert run.eps == 50
    assert run.cpu_ms_per_event == {"workers": 5.0, "beat": 0.0}


def test_even_arrivals_keep_the_rate() -> None:
    assert list(moments(4, 1.0, None)) == [0.0, 0.25, 0.5, 0.75]


def test_random_arrivals_keep_it_on_average_and_can_be_repeated() -> None:
    found = list(moments(50, 100.0, 1))
    assert 4_500 < len(found) < 5_500
    assert found == sorted(found) == list(moments(50, 100.0, 1))


# --- /proc ---
def test_cpu_counts_a_process_and_its_ended_children() -> None:
    ticks = processes.TICKS
    stat = f"17 (a (strange) name) S 1 17 17 0 -1 4194560 1 2 3 4 {ticks} {2 * ticks} {4 * ticks} {8 * ticks} 20 0"
    assert processes.cpu_seconds(stat) == 15.0


def test_memory_is_what_is_resident() -> None:
    assert processes.resident_mb("VmPeak:\t  999 kB\nVmRSS:\t    2048 kB\n") == 2.0
    assert processes.resident_mb("State:\tZ (zombie)\n") == 0.0


def test_this_process_is_seen() -> None:
    assert processes.tree(os.getpid())[0] == os.getpid()
    assert processes.cpu_of([os.getpid()]) > 0
    assert processes.resident_of(os.getpid())[0] > 1


def test_a_process_that_is_gone_costs_nothing() -> None:
    gone = int(Path("/proc/sys/kernel/pid_max").read_text()) + 1
    assert processes.cpu_of([gone]) == 0
    assert processes.resident_of(gone) == []
