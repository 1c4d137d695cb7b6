"""The dashboard that Grafana loads is the one that the code makes, and each of its queries can be answered."""

from __future__ import annotations

import json
import runpy
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.known import all_known
from tests.deploy.promql import faults
from tests.deploy.test_rules import RECORDED, needs_promtool, promtool

GRAFANA = Path(__file__).resolve().parents[2] / "deploy" / "grafana"
SHOWN: dict[str, Any] = json.loads((GRAFANA / "dashboards" / "notifier.json").read_text())
PANELS: list[dict[str, Any]] = SHOWN["panels"]
QUERIES = [
    (panel["title"], target["expr"].replace("$__rate_interval", "5m"))
    for panel in PANELS
    for target in panel.get("targets", [])
]


def test_what_grafana_loads_is_what_the_code_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else: python deploy/grafana/dashboard.py"""
    monkeypatch.syspath_prepend(GRAFANA)
    made = runpy.run_path(str(GRAFANA / "dashboard.py"))
    assert made["as_text"]() == (GRAFANA / "dashboards" / "notifier.json").read_text()


@pytest.mark.parametrize(("title", "query"), QUERIES)
def test_panels_name_only_what_is_there(title: str, query: str) -> None:
    assert faults(query, all_known(), RECORDED) == []


@needs_promtool
def test_prometheus_understands_every_query(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{n}", "expr": query} for n, (_, query) in enumerate(QUERIES)]
    (tmp_path / "panels.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    promtool("check", "rules", str(tmp_path / "panels.yml"))


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    ids = [panel["id"] for panel in PANELS]
    assert len(set(ids)) == len(ids) > 30
    places = [panel["gridPos"] for panel in PANELS]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        apart = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert apart or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]


def test_every_panel_says_what_it_shows() -> None:
    assert all(panel["description"] for panel in PANELS if panel["type"] != "row")


def test_grafana_finds_the_dashboard_and_prometheus() -> None:
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    assert {panel["datasource"]["uid"] for panel in PANELS if "datasource" in panel} == {source["uid"]}
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/notifier.yml").read_text())["providers"]
    compose = yaml.safe_load((GRAFANA.parents[1] / "docker-compose.yml").read_text())["services"]["grafana"]
    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in compose["volumes"]
