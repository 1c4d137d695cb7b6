"""The numbers as JSON and as a table."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from rich.table import Table

from benchmarks.options import Options
from benchmarks.stage import PEOPLE, TWILIO_RATE, Stage
from tests.processes import ROOT

POSTGRES = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_wal_size")
VALKEY = ("appendonly", "appendfsync", "maxmemory-policy")


def host(stage: Stage) -> dict[str, Any]:
    """What the numbers were measured on."""
    with stage.world.valkey.client() as client:
        facts: dict[str, Any] = client.info("server")
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "HEAD"),
        "changed_files": len(_git("status", "--porcelain", "--untracked-files=no").splitlines()),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "postgres": stage.one("SHOW server_version"),
        "valkey": facts.get("valkey_version") or facts["redis_version"],
        **{name: version(name) for name in ("celery", "django", "psycopg")},
    }


def settings(stage: Stage, options: Options) -> dict[str, Any]:
    """What was set, and what was sent."""
    procfile = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())
    with stage.world.valkey.client() as client:
        valkey: dict[str, Any] = client.config_get(*VALKEY)
    return {
        "processes": {name: line for name, line in procfile.items() if name != "flower"},
        "concurrency_of_each_worker": os.cpu_count(),
        "default_batch": stage.default_batch,
        "postgres": {name: stage.one(f"SHOW {name}") for name in POSTGRES},
        "valkey": valkey,
        "debug": False,
        "twilio_rate": TWILIO_RATE,
        "event_type": "ORDER_SHIPPED: EMAIL, SMS and IN_APP are sent, PUSH is skipped",
        "people": PEOPLE,
        "options": {name: getattr(options, name) for name in options.__slots__},
    }


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def table(report: Mapping[str, Any]) -> Table:
    """What was measured, in the order of the report."""
    facts = report.get("host")
    title = f"{facts['cores']} cores, commit {facts['commit'][:10]}, {facts['date']}" if facts else None
    shown = Table("", "measured", title=title, title_justify="left")
    for name, value in report.items():
        if name not in ("host", "settings"):
            for label, text in _lines(name, value):
                shown.add_row(label, text)
    return shown


def _lines(name: str, value: Any, depth: int = 0) -> Iterator[tuple[str, str]]:
    """A line for a number or a row of numbers, several for what is nested deeper."""
    label = "  " * depth + name.replace("_", " ")
    if isinstance(value, Mapping) and any(isinstance(one, Mapping) for one in value.values()):
        yield label, ""
        for inner, one in value.items():
            yield from _lines(str(inner), one, depth + 1)
    elif isinstance(value, Mapping):
        yield label, "  ".join(f"{inner} {_text(one)}" for inner, one in value.items())
    else:
        yield label, _text(value)


def _text(value: Any) -> str:
    if isinstance(value, list):
        shown = value if len(value) <= 12 else [*value[:6], "…", *value[-5:]]
        return ", ".join(map(_text, shown))
    return f"{value:g}" if isinstance(value, float) else str(value)
