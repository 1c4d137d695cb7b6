"""What script/bench writes and shows."""

from __future__ import annotations

import io
from typing import Any

import jsonschema_rs
import pytest
from rich.console import Console

from benchmarks.drain import Run
from benchmarks.options import PARTS
from benchmarks.report import table
from benchmarks.schema import QUICK, WHOLE, schema
from benchmarks.throughput import BEST, CHORD, NAIVE, report

ALWAYS: dict[str, Any] = {
    "host": {"cores": 2, "commit": "0123456789abcdef", "date": "2026"},
    "settings": {},
    "seconds": 9,
}


def runs(*eps: float) -> list[Run]:
    return [Run(1_000, 1_000 / one, {"workers": 2.0}) for one in eps]


def measured() -> dict[str, Any]:
    found = {
        CHORD: runs(10, 20, 5),
        BEST: runs(20, 40, 10),
        NAIVE: runs(2, 2, 2),
        "engine, batch 100": runs(200, 600, 50),
        "engine, batch 1": runs(9, 9, 9),
    }
    return report(found, 100, [100, 1])


def test_the_ratio_is_of_runs_side_by_side() -> None:
    found = measured()
    assert found["engine_ratio"] == 20
    assert found["engine_ratio_best"] == 10
    assert found["engine_cpu_ratio"] == 1
    assert found["baseline_chord_eps"] == 10
    assert found["engine_eps"] == {"1": 9, "100": 200}
    assert found["cpu_ms_per_event"] == {"workers": 2.0}


def test_the_report_fits_its_schema() -> None:
    jsonschema_rs.validate(schema(["throughput"]), ALWAYS | measured())


@pytest.mark.parametrize("missing", sorted(WHOLE["throughput"]))
def test_a_report_that_lacks_a_number_does_not(missing: str) -> None:
    found = {name: value for name, value in (ALWAYS | measured()).items() if name != missing}
    with pytest.raises(jsonschema_rs.ValidationError, match=missing):
        jsonschema_rs.validate(schema(["throughput"]), found)


def test_a_failed_part_does_not_fit() -> None:
    with pytest.raises(jsonschema_rs.ValidationError):
        jsonschema_rs.validate(schema(["throughput"]), ALWAYS | measured() | {"failed": {"latency": "why"}})


def test_every_part_has_its_keys() -> None:
    assert set(WHOLE) == set(PARTS)
    for part in QUICK:
        jsonschema_rs.meta.validate(schema([part], quick=True))
    jsonschema_rs.meta.validate(schema(PARTS))


def test_the_table_shows_every_number() -> None:
    out = io.StringIO()
    Console(file=out, width=120).print(table(ALWAYS | measured() | {"lag": [float(n) for n in range(50)]}))
    shown = out.getvalue()
    for text in ("baseline chord eps", "engine ratio", "1 9  100 200", "0, 1, 2, 3, 4, 5, …, 45, 46, 47, 48, 49"):
        assert text in shown


def test_a_report_of_nothing_can_be_shown() -> None:
    assert table({"failed": {"throughput": "why"}}).row_count == 1
