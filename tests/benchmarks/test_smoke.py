"""script/bench measures something of everything, small. How fast it is, is never a test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema_rs
import pytest

from benchmarks.options import PARTS
from benchmarks.schema import schema
from tests.processes import ROOT

SMALL = (
    "--rounds", "1", "--seconds", "1", "--batches", "10", "--rates", "5", "--latency-seconds", "4",
    "--burst-events", "1000", "--history-deliveries", "20000", "--memory-events", "200",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.processes
def test_every_part_writes_its_numbers(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    command = [sys.executable, str(ROOT / "script" / "bench.py"), *SMALL, "--json", str(path)]
    done = subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}, check=False)
    found = json.loads(path.read_text())
    assert done.returncode == 0, found.get("failed")
    jsonschema_rs.validate(schema(PARTS), found)
    assert found["burst"]["lost"] == found["burst"]["doubled"] == 0
