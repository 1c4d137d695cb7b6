"""The model of workers that come and go."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import autoscaler
from benchmarks.autoscaler import (
    BASE,
    HOLD,
    PEAK,
    SPIKE,
    Arrivals,
    Fleet,
    Lane,
    Rules,
    Second,
    Site,
    black_friday,
    compare,
    simulate,
    summary,
)

COMING = st.lists(st.builds(Arrivals, st.integers(0, 50), st.integers(0, 2_000)), min_size=1, max_size=400)
SITES = st.builds(Site, st.floats(1, 900), st.floats(100, 3_000), st.integers(0, 60))
RULES = st.builds(Rules, st.integers(1, 5), st.integers(5, 40), st.integers(1, 30), down_after=st.integers(0, 120))


def even(urgent: int, normal: int, seconds: int) -> list[Arrivals]:
    return [Arrivals(urgent, normal)] * seconds


# --- what holds whatever comes ---
@given(COMING, SITES, RULES)
def test_every_event_is_done_or_waits(coming: list[Arrivals], site: Site, rules: Rules) -> None:
    arrived = done = 0
    for come, one in zip(coming, simulate(coming, site, rules.minimum, rules), strict=True):
        assert one.arrived == come.urgent + come.normal
        arrived, done = arrived + one.arrived, done + one.done
        assert one.backlog == arrived - done >= 0
        assert (max(one.lag_seconds, one.urgent_lag_seconds) > 0) == (one.backlog > 0)


@given(COMING, SITES, RULES)
def test_workers_keep_within_the_bounds(coming: list[Arrivals], site: Site, rules: Rules) -> None:
    for one in simulate(coming, site, rules.minimum, rules):
        assert rules.minimum <= one.serving
        assert rules.minimum <= one.workers <= rules.maximum
        assert one.done <= min(one.serving * site.eps_per_core, site.postgres_eps)


@given(COMING, SITES)
def test_urgent_events_go_first(coming: list[Arrivals], site: Site) -> None:
    """None waits while a normal one of the same second is done: they wait as if they came alone."""
    alone = [Arrivals(one.urgent, 0) for one in coming]
    for mixed, only in zip(simulate(coming, site, 1), simulate(alone, site, 1), strict=True):
        assert mixed.urgent_lag_seconds == only.urgent_lag_seconds


@given(COMING, SITES, st.floats(1, 3), st.integers(1, 10))
def test_faster_workers_leave_no_bigger_backlog(coming: list[Arrivals], site: Site, times: float, workers: int) -> None:
    faster = Site(site.eps_per_core * times, site.postgres_eps, site.boot)
    for slow, fast in zip(simulate(coming, site, workers), simulate(coming, faster, workers), strict=True):
        assert fast.backlog <= slow.backlog
        assert fast.lag_seconds <= slow.lag_seconds


@given(COMING)
def test_nothing_waits_where_there_is_room(coming: list[Arrivals]) -> None:
    most = max(one.urgent + one.normal for one in coming)
    seconds = simulate(coming, Site(max(1.0, most), most), 1, Rules(1, 9))
    assert summary(seconds)["peak_backlog"] == summary(seconds)["longest_lag_seconds"] == 0


# --- the parts ---
def test_the_lag_is_the_age_of_the_oldest() -> None:
    lane = Lane()
    lane.add(0, 10)
    lane.add(1, 10)
    assert (lane.work_off(5), lane.lag(1), lane.backlog) == (5, 2, 15)
    assert (lane.work_off(7), lane.lag(1), lane.backlog) == (7, 1, 8)
    assert (lane.work_off(99), lane.lag(1), lane.backlog) == (8, 0, 0)


def test_a_worker_serves_when_it_has_started_and_costs_from_its_order() -> None:
    fleet = Fleet(2, boot=45)
    fleet.order(10, 5)
    fleet.pass_time(54)
    assert (fleet.serving, fleet.ordered) == (2, 5)
    fleet.pass_time(55)
    assert (fleet.serving, fleet.ordered) == (5, 5)


def test_workers_that_start_are_given_up_first() -> None:
    fleet = Fleet(4, boot=45)
    fleet.order(0, 6)
    fleet.order(5, 8)
    fleet.order(10, 5)
    assert (fleet.serving, fleet.ordered) == (4, 5)
    fleet.order(15, 3)
    assert (fleet.serving, fleet.ordered) == (3, 3)


def test_more_are_ordered_at_a_look_only_and_at_most_twice_as_many() -> None:
    seconds = simulate(even(0, 5_000, 60), Site(10, boot=0), 10, Rules(10, 500, every=15))
    assert [seconds[at].workers for at in (13, 14, 28, 29, 43, 44)] == [10, 20, 20, 40, 40, 80]


def test_few_grow_by_a_step() -> None:
    assert simulate(even(0, 5_000, 15), Site(10), 1, Rules(1, 500, every=15))[-1].workers == 5


def test_workers_go_only_when_fewer_were_enough_for_a_while() -> None:
    seconds = simulate(even(0, 10, 120), Site(10), 8, Rules(1, 8, every=10, down_after=60))
    fewer = [at for at, one in enumerate(seconds) if one.workers < 8]
    assert fewer == list(range(9, 120))  # from the first look on: no look ever wanted more


def test_a_rise_is_held_against_a_fall_that_follows() -> None:
    coming = [*even(0, 500, 60), *even(0, 10, 120)]
    seconds = simulate(coming, Site(100, boot=0), 1, Rules(1, 9, every=10, down_after=60))
    peak = max(one.workers for one in seconds)
    enough = max(at for at, one in enumerate(seconds) if one.backlog) + 10
    assert {one.workers for one in seconds[enough : enough + 40]} == {peak}
    assert seconds[-1].workers == 1


def test_the_lag_alone_tells_what_comes() -> None:
    """Twice as much comes as is done, so twice the workers and what the lag asks for beyond are ordered."""
    rules = Rules(10, 500, every=15, catch_up=60, doubling=10)
    (*_, last) = simulate(even(0, 200, 15), Site(10), 10, rules)
    assert last.lag_seconds == 8
    assert last.workers == pytest.approx(10 * (1 + 8 / 60) / (1 - 8 / 15), abs=1)


def test_postgres_is_a_ceiling() -> None:
    seconds = simulate(even(0, 1_000, 10), Site(1_000, postgres_eps=300), 10)
    assert {one.done for one in seconds} == {300}


# --- Black Friday ---
def test_the_day_has_a_ramp_a_peak_and_a_spike() -> None:
    rates = [one.urgent + one.normal for one in black_friday()]
    assert rates[0] == rates[-1] == BASE
    assert rates.count(PEAK) == 1 + HOLD + SPIKE  # the ramp ends there, too
    assert max(rates) == PEAK
    spike = max(at for at, rate in enumerate(rates) if rate == PEAK) - SPIKE + 1
    assert rates[spike - 1] == BASE


def test_the_autoscaler_is_cheaper_than_the_peak_and_faster_than_its_own_cost() -> None:
    runs = {name: run["summary"] for name, run in compare(Site(500), black_friday())["runs"].items()}
    scaled, warm, peak, same = runs.values()
    assert len({run["events"] for run in runs.values()}) == 1
    assert {run["longest_urgent_lag_seconds"] for run in runs.values()} == {0}
    assert peak["longest_lag_seconds"] == 0 < scaled["longest_lag_seconds"] < same["longest_lag_seconds"]
    assert scaled["worker_hours"] < warm["worker_hours"] < peak["worker_hours"]
    assert warm["longest_lag_seconds"] < scaled["longest_lag_seconds"]


def test_two_runs_are_the_same() -> None:
    assert compare(Site(500), black_friday()) == compare(Site(500), black_friday())


def test_the_command_line_writes_every_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "autoscaler.json"
    monkeypatch.setattr(sys, "argv", ["autoscaler", "--eps-per-core", "500", "--json", str(file)])
    autoscaler.main()
    run = json.loads(file.read_text())["runs"]["autoscaler"]
    assert {len(run[name]) for name in Second.__slots__} == {len(black_friday())}
    assert "longest urgent lag seconds" in capsys.readouterr().out
