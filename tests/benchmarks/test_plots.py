"""The plots of docs/performance.md."""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import plots
from benchmarks.autoscaler import Site, black_friday, compare
from benchmarks.svg import WIDTH, Axis, Line, Panel, figure, linear, logarithmic

SVG = "{http://www.w3.org/2000/svg}"
REPORT: dict[str, Any] = {
    "host": {"cores": 2},
    "latency_ms": {
        "200": {"p50": 400.0, "p95": 800.0, "p99": 900.0},
        "20": {"p50": 30.0, "p95": 40.0, "p99": 60.0},
    },
    "engine_eps": {"1": 10.0, "500": 900.0, "10": 100.0},
    "baseline_chord_eps": 50.0,
    "burst": {
        "accepted": 100_000,
        "lag_seconds": [0.9, 2.0, 1.1, 0.0],
        "queued_messages": [3, 1, 2, 0],
        "workers_rss_mb": [800.0, 801.5, 801.5, 801.0],
    },
}


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def circles(svg: str) -> list[tuple[float, float]]:
    found = ElementTree.fromstring(svg).iter(f"{SVG}circle")
    return [(float(one.attrib["cx"]), float(one.attrib["cy"])) for one in found]


# --- axes ---
@given(st.floats(0.01, 1e7))
def test_a_linear_axis_holds_everything_in_few_round_steps(most: float) -> None:
    ticks = linear("", most).ticks
    assert ticks[0] == 0
    assert ticks[-2] < most <= ticks[-1] * (1 + 1e-9)
    assert 3 <= len(ticks) <= 7


def test_a_linear_axis_of_nothing() -> None:
    assert len(linear("", 0).ticks) > 1


@given(st.floats(0.01, 1e5), st.floats(1, 100))
def test_a_logarithmic_axis_holds_everything(least: float, times: float) -> None:
    ticks = logarithmic("", least, least * times).ticks
    assert ticks[0] <= least
    assert least * times <= ticks[-1]


def test_equal_factors_are_equal_steps() -> None:
    axis = Axis("", [1, 10, 100], log=True)
    assert [axis.place(value) for value in (1, 10, 100)] == pytest.approx([0, 0.5, 1])


# --- the drawing ---
def test_what_is_more_stands_higher_and_further_right() -> None:
    panel = Panel(linear("", 10), [Line("a", [(0, 0), (5, 10)], "blue", dots=True)])
    (x1, y1), (x2, y2) = circles(figure("", linear("", 5), [panel]))
    assert x1 < x2 < WIDTH
    assert y1 - y2 == panel.height


def test_names_of_lines_that_end_together_do_not_overlap() -> None:
    lines = [Line(name, [(0, 0), (1, 0)], "blue") for name in "abc"]
    root = ElementTree.fromstring(figure("", linear("", 1), [Panel(linear("", 1), lines)]))
    names = [one for one in root.iter(f"{SVG}text") if one.attrib["class"].startswith("name")]
    heights = sorted(float(one.attrib["y"]) for one in names)
    assert [later - earlier for earlier, later in pairwise(heights)] == [16, 16]


def test_words_are_escaped() -> None:
    panel = Panel(linear("a < b & c", 1), [Line("<b>", [(0, 0), (1, 1)], "blue")])
    assert {"a < b & c", "<b>"} <= set(texts(figure("1 < 2", linear("", 1), [panel])))


# --- the plots ---
@pytest.mark.parametrize(
    ("plot", "words"),
    [
        (plots.latency_by_load, ["milliseconds (log)", "events a second (log)", "20", "200", "p99 wanted at most"]),
        (plots.throughput_by_batch, ["events a second", "most events of a batch (log)", "10", "500", "empty chords"]),
        (plots.burst_drain, ["seconds since the first trigger", "messages in all queues of Redis"]),
    ],
)
def test_a_plot_names_what_it_shows_and_the_units(plot: Any, words: list[str]) -> None:
    assert set(words) <= set(texts(plot(REPORT)))


def test_every_measurement_is_a_dot_in_the_order_of_the_load() -> None:
    dots = circles(plots.throughput_by_batch(REPORT))
    assert len(dots) == 3
    assert dots == sorted(dots, key=lambda dot: (dot[0], -dot[1]))
    assert len(circles(plots.latency_by_load(REPORT))) == 6


def test_a_quick_report_has_one_rate_and_one_batch() -> None:
    quick = {**REPORT, "latency_ms": {"20": REPORT["latency_ms"]["20"]}, "engine_eps": {"500": 900.0}}
    assert len(circles(plots.latency_by_load(quick))) == 3
    assert len(circles(plots.throughput_by_batch(quick))) == 1


def test_a_level_stretch_is_two_points() -> None:
    assert plots._minutes([1.0] * 600 + [2.0] * 600) == [(0, 1), (590 / 60, 1), (600 / 60, 2), (1190 / 60, 2)]


def test_the_simulation_is_drawn() -> None:
    svg = plots.autoscaler(compare(Site(500), black_friday()))
    assert {"minutes", "workers", "autoscaler", "fleet for the peak", "arrive", "done"} <= set(texts(svg))


def test_both_colour_schemes_are_served() -> None:
    assert "prefers-color-scheme: dark" in plots.latency_by_load(REPORT)


def test_only_what_was_measured_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "bench.json"
    file.write_text(json.dumps({"host": REPORT["host"], "latency_ms": REPORT["latency_ms"]}))
    monkeypatch.setattr(sys, "argv", ["plots", str(file), "--to", str(tmp_path)])
    plots.main()
    assert [path.name for path in tmp_path.glob("*.svg")] == ["latency-by-load.svg"]
