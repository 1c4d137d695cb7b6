"""The dashboard as code: `python deploy/grafana/dashboard.py` writes dashboards/notifier.json, which Grafana loads.

What it shows is in panels.py beside it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from panels import RED, ROWS, Panel

FILE = Path(__file__).parent / "dashboards" / "notifier.json"
SOURCE = {"type": "prometheus", "uid": "prometheus"}
WIDTH = 24  # Grafana's columns


def dashboard() -> dict[str, Any]:
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS:
        panels.append(
            _placed({"type": "row", "title": title, "panels": [], "collapsed": False}, panels, 0, y, WIDTH, 1)
        )
        x, y = 0, y + 1
        for panel in row:
            if x + panel.width > WIDTH:
                x, y = 0, y + panel.height
            panels.append(_placed(_body(panel), panels, x, y, panel.width, panel.height))
            x += panel.width
        y += row[-1].height
    return {
        "uid": "notifier",
        "title": "Notifier",
        "tags": ["notifier"],
        "timezone": "browser",
        "schemaVersion": 39,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": []},
        "annotations": {"list": [_alerts()]},
        "panels": panels,
    }


def _placed(body: dict[str, Any], before: list[dict[str, Any]], x: int, y: int, w: int, h: int) -> dict[str, Any]:
    return {"id": len(before) + 1, "gridPos": {"x": x, "y": y, "w": w, "h": h}, **body}


def _body(panel: Panel) -> dict[str, Any]:
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": SOURCE,
        "targets": [
            {"refId": chr(ord("A") + n), "datasource": SOURCE, "expr": query, "legendFormat": legend or "__auto"}
            for n, (legend, query) in enumerate(panel.queries.items())
        ],
        "fieldConfig": {"defaults": _field(panel), "overrides": []},
        "options": _options(panel),
    }


def _field(panel: Panel) -> dict[str, Any]:
    said = {str(value): {"text": text, "index": n} for n, (value, text) in enumerate(panel.says)}
    custom = {"fillOpacity": 10, "showPoints": "never", "stacking": {"mode": "normal" if panel.stacked else "none"}}
    return {
        "unit": panel.unit,
        **({"min": 0} if panel.unit != "percentunit" else {}),
        "thresholds": {"mode": "absolute", "steps": [{"value": value, "color": color} for value, color in panel.steps]},
        "mappings": [{"type": "value", "options": said}] if said else [],
        "color": {"mode": "palette-classic" if panel.kind == "timeseries" else "thresholds"},
        **({"custom": custom} if panel.kind == "timeseries" else {}),
    }


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "stat":
        return {"colorMode": "background", "graphMode": "none", "reduceOptions": {"calcs": ["lastNotNull"]}}
    legend = {"displayMode": "list", "placement": "bottom", "showLegend": True}
    return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}


def _alerts() -> dict[str, Any]:
    """Each alert as a line in all panels."""
    return {
        "name": "Alerts",
        "datasource": SOURCE,
        "enable": True,
        "iconColor": RED,
        "expr": 'ALERTS{alertstate="firing", alertname=~"Notifier.*"}',
        "titleFormat": "{{alertname}}",
        "textFormat": "{{channel}} {{provider}}",
    }


def as_text() -> str:
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(as_text())
