"""Each alert fires when it should and is silent else, by promtool; and no rule names a metric that is not there."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.known import all_known
from tests.deploy.promql import faults

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = PROMETHEUS / "rules" / "notifier.yml"
GROUPS: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"]
EACH = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in EACH if "alert" in rule}
RECORDED = {rule["record"] for rule in EACH if "record" in rule}
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: prometheus)")

Series = Mapping[str, str | None]  # values in promtool's notation; None: the series is not there

HEALTHY: Series = {
    'up{job="notifier", instance="web:8000"}': "1x180",
    'notifier_lag_seconds{priority="urgent"}': "0x180",
    'notifier_lag_seconds{priority="normal"}': "1x180",
    'notifier_lag_seconds{priority="bulk"}': "1x180",
    "notifier_workers": "2x180",
    "notifier_queues_without_worker": "0x180",
    "notifier_beat_age_seconds": "0.5x180",
    'notifier_breaker_state{channel="SMS", provider="twilio"}': "0x180",
}
UP, LAG = 'up{job="notifier", instance="web:8000"}', "notifier_lag_seconds"
NOTHING: Series = dict.fromkeys(HEALTHY)
SENT, FAILED = (f'notifier_deliveries_total{{channel="SMS", status="{status}"}}' for status in ("SENT", "FAILED"))
ATTEMPT = 'notifier_attempts_total{{channel="SMS", provider="twilio", outcome="{}"}}'
ACCEPTED, UNAVAILABLE, CREDENTIALS = (ATTEMPT.format(o) for o in ("ACCEPTED", "UNAVAILABLE", "CREDENTIALS"))
BREAKER = 'notifier_breaker_state{channel="SMS", provider="twilio"}'
OPENED = 'notifier_breaker_changes_total{channel="SMS", provider="twilio", state="OPEN"}'
GROWN, OPEN = 'notifier_dead_letters_total{cause="REJECTED"}', 'notifier_dead_letters_open{cause="REJECTED"}'
SYNTHETIC, HELD = 'notifier_synthetic_ok{event_type="ORDER_SHIPPED"}', 'notifier_paused{kind="CHANNEL", name="SMS"}'
PAUSED = 'notifier_bus_paused{bus="kafka", reason="database"}'


def late(share: float, *, a_minute: float = 100, priority: str = "normal", le: str = "1.0") -> dict[str, str | None]:
    """Messages of which so many took longer than a second."""
    labels = f'channel="SMS", provider="twilio", priority="{priority}"'
    name = "notifier_time_to_provider_seconds"
    return {
        f'{name}_bucket{{{labels}, le="{le}"}}': f"0+{a_minute * (1 - share):.3f}x180",
        f"{name}_count{{{labels}}}": f"0+{a_minute}x180",
    }


@dataclass(frozen=True)
class Story:
    """What the series are, besides the healthy ones, and which alerts fire then."""

    name: str
    series: Series
    at: str
    fire: set[str] = field(default_factory=set)
    step: str = "1m"  # between two values, and two evaluations


STORIES = [
    Story("all is well", late(0.005), "100m"),
    Story("web is away", {**NOTHING, UP: "0x20"}, "10m", {"NotifierDown"}),
    Story("nobody is scraped", NOTHING, "10m", {"NotifierDown"}),
    Story("web was away for a scrape", {UP: "1x3 0 1x20"}, "5m"),
    Story("PostgreSQL is away", {name: None for name in HEALTHY if LAG in name}, "10m", {"NotifierDatabaseAway"}),
    Story("for a scrape", {name: "0x3 _ 0x20" for name in HEALTHY if LAG in name}, "4m"),
    Story(
        "Redis is away",
        {"notifier_workers": None, "notifier_queues_without_worker": None, "notifier_beat_age_seconds": None},
        "10m",
        {"NotifierRedisAway"},
    ),
    Story("Redis was flushed", {"notifier_workers": "2x3 0 2x20", "notifier_beat_age_seconds": "0.5x3 _ 0.5x20"}, "6m"),
    Story("Redis fails", {'notifier_errors_total{server="redis"}': "0+10x60"}, "20m", {"NotifierServerErrors"}),
    Story("Redis failed once", {'notifier_errors_total{server="redis"}': "0x5 30x60"}, "20m"),
    Story("no worker", {"notifier_workers": "0x20"}, "5m", {"NotifierNoWorkers"}),
    Story("a queue without", {"notifier_queues_without_worker": "1x20"}, "5m", {"NotifierQueueWithoutWorker"}),
    Story("for a minute", {"notifier_queues_without_worker": "0 1 0x20"}, "2m"),
    Story("Beat ended", {"notifier_beat_age_seconds": "0+60x20"}, "10m", {"NotifierBeatSilent"}),
    Story("Beat never began", {"notifier_beat_age_seconds": None}, "10m", {"NotifierBeatSilent"}),
    Story("Beat is slow", {"notifier_beat_age_seconds": "20x20"}, "10m"),
    Story("urgent waits", {f'{LAG}{{priority="urgent"}}': "30x20"}, "5m", {"NotifierUrgentWaits"}),
    Story("not for long", {f'{LAG}{{priority="urgent"}}': "5x20"}, "5m"),
    Story("a backlog", {f'{LAG}{{priority="bulk"}}': "900x20"}, "10m", {"NotifierBacklogOld"}),
    Story("a small one", {f'{LAG}{{priority="normal"}}': "250x20"}, "10m"),
    Story("breaker open", {BREAKER: "2 1 2 2 1 2 2 1 2 2"}, "5m", {"NotifierBreakerOpen"}),
    Story("for a minute only", {BREAKER: "0 0 2 1 0x20"}, "3m"),
    Story("breaker opens and closes", {OPENED: "0+1x100"}, "80m", {"NotifierBreakerFlaps"}),
    Story("now and then", {OPENED: "0x30 3x100"}, "80m"),
    Story("a tenth fails", {SENT: "0+90x60", FAILED: "0+10x60"}, "10m", {"NotifierFailureSpike"}),
    Story("a hundredth", {SENT: "0+99x60", FAILED: "0+1x60"}, "10m"),
    Story("the only one", {SENT: "0x60", FAILED: "0x3 1x60"}, "6m"),
    Story("errors", {ACCEPTED: "0+70x60", UNAVAILABLE: "0+30x60"}, "15m", {"NotifierProviderErrors"}),
    Story("few errors", {ACCEPTED: "0+95x60", UNAVAILABLE: "0+5x60"}, "15m"),
    Story(
        "unknown there", {ACCEPTED: "0+70x60", CREDENTIALS: "0x5 1x60"}, "8m", {"NotifierCredentialsRejected"}
    ),
    Story("known there", {ACCEPTED: "0+70x60", CREDENTIALS: "0x60"}, "8m"),
    Story("repairs", {'notifier_repairs_total{kind="send"}': "0+5x60"}, "25m", {"NotifierSweeperRepairs"}),
    Story("a worker was killed", {'notifier_repairs_total{kind="send"}': "0x5 250x60"}, "25m"),
    Story("dead letters", {GROWN: "0+1x100"}, "80m", {"NotifierDeadLettersGrow"}),
    Story("some", {GROWN: "0x30 15x100"}, "80m"),
    Story("dead letters for a day", {OPEN: "3x180"}, "25h", {"NotifierDeadLettersLie"}, step="15m"),
    Story("seen to", {OPEN: "3x50 0x180"}, "25h", step="15m"),
    Story("nothing arrives", {SYNTHETIC: "0x20"}, "10m", {"NotifierSyntheticFails"}),
    Story("one run failed", {SYNTHETIC: "1x3 0x5 1x20"}, "8m"),
    Story("a forgotten pause", {HELD: "1x40"}, "5h", {"NotifierPausedLong"}, step="15m"),
    Story("a pause", {HELD: "1x4 0x40"}, "5h", step="15m"),
    Story("a fifth is late", late(0.2), "90m", {"NotifierBudgetBurnsFast", "NotifierBudgetBurns"}),
    Story("and le is written short", late(0.2, le="1"), "90m", {"NotifierBudgetBurnsFast", "NotifierBudgetBurns"}),
    Story("a little is", late(0.04), "90m", {"NotifierBudgetBurns"}),
    Story("at night, one of two", late(0.5, a_minute=0.05), "90m"),
    Story("bulk is", late(0.5, priority="bulk"), "90m"),
    Story("it was late an hour ago", {
        **late(0.2),
        'notifier_time_to_provider_seconds_bucket{channel="SMS", provider="twilio", priority="normal", le="1.0"}':
            "0+80x60 4900+100x100",
    }, "130m", {"NotifierBudgetBurns"}),
    Story("no consumer", {'up{job="notifier-consumer"}': "0x20"}, "5m", {"NotifierConsumerDown"}),
    Story("one of two", {f'up{{job="notifier-consumer", instance="{n}"}}': f"{n}x20" for n in (0, 1)}, "5m"),
    Story("paused", {PAUSED: "1x20"}, "10m", {"NotifierBusPaused"}),
    Story("for a moment", {PAUSED: "0 1 1 0x20"}, "5m"),
    Story("behind", {'notifier_bus_oldest_seconds{bus="kafka"}': "100x20"}, "10m", {"NotifierBusBehind"}),
    Story("not far", {'notifier_bus_oldest_seconds{bus="kafka"}': "10x20"}, "10m"),
    Story(
        "rubbish", {'notifier_bus_refused_total{bus="kafka", cause="UNDECODABLE"}': "0+5x60"}, "20m",
        {"NotifierBusRefuses"},
    ),
    Story("some rubbish", {'notifier_bus_refused_total{bus="kafka", cause="UNDECODABLE"}': "0+1x60"}, "20m"),
]  # fmt: skip


def promtool(*arguments: str) -> None:
    done = subprocess.run([str(PROMTOOL), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def as_promtool_reads(story: Story, *, scraped_by: tuple[str, ...] = ("",)) -> dict[str, Any]:
    series = [
        {"series": told(name, by), "values": values}
        for name, values in {**HEALTHY, **story.series}.items()
        for by in scraped_by
        if values is not None
    ]
    firing = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(story.fire)]
    query = 'count by (alertname) (ALERTS{alertstate="firing"})'
    return {
        "name": story.name,
        "interval": story.step,
        "input_series": series,
        "promql_expr_test": [{"expr": query, "eval_time": story.at, "exp_samples": firing}],
    }


def told(series: str, by: str) -> str:
    """The series with the name of who was scraped."""
    if not by or "instance" in series:
        return series
    name, _, labels = series.rstrip("}").partition("{")
    return f'{name}{{{labels}, pod="{by}"}}' if labels else f'{name}{{pod="{by}"}}'


def play(stories: Sequence[Story], scraped_by: tuple[str, ...], folder: Path) -> None:
    for step in sorted({story.step for story in stories}):
        tests = [as_promtool_reads(story, scraped_by=scraped_by) for story in stories if story.step == step]
        found = folder / f"{step}.yml"
        found.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": step, "tests": tests}))
        promtool("test", "rules", str(found))


@needs_promtool
def test_each_alert_fires_when_it_should(tmp_path: Path) -> None:
    play(STORIES, ("",), tmp_path)


@needs_promtool
def test_nothing_is_counted_twice_where_two_web_processes_are_scraped(tmp_path: Path) -> None:
    counted = {"some", "the only one", "now and then", "at night, one of two", "web is away"}
    play([story for story in STORIES if story.name in counted], ("web-1", "web-2"), tmp_path)


@needs_promtool
@pytest.mark.parametrize(
    ("lag", "factor"),
    [
        ("0x20", 0.0),  # no lag: the load decides
        ("4x20", 0.0),
        ("60x20", 2.0),  # what works off a minute's lag within a minute, besides what comes
        ("0+30x20", 12.0),  # a lag of 300 s, and the workers do half of what comes: (1 + 300/60) / 0.5
    ],
)
def test_the_autoscalers_factor(tmp_path: Path, lag: str, factor: float) -> None:
    story = as_promtool_reads(Story("", {f'{LAG}{{priority="normal"}}': lag, f'{LAG}{{priority="bulk"}}': "0x20"}, ""))
    asked = {"expr": "notifier:backlog:factor", "eval_time": "10m"}
    story["promql_expr_test"] = [{**asked, "exp_samples": [{"labels": "notifier:backlog:factor", "value": factor}]}]
    (tmp_path / "lag.yml").write_text(
        yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [story]})
    )
    promtool("test", "rules", str(tmp_path / "lag.yml"))


def test_each_alert_has_a_story_in_which_it_fires() -> None:
    assert set().union(*(story.fire for story in STORIES)) == set(ALERTS)


@needs_promtool
def test_promtool_finds_no_fault() -> None:
    promtool("check", "config", str(PROMETHEUS / "prometheus.yml"))
    promtool("check", "rules", str(RULES))


@pytest.mark.parametrize("rule", EACH, ids=lambda rule: rule.get("alert") or rule["record"])
def test_rules_name_only_what_is_there(rule: dict[str, Any]) -> None:
    assert faults(rule["expr"], all_known(), RECORDED) == []


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("rate(notifier_delivered_total[5m])", "no metric notifier_delivered_total"),
        ("notifier:late:ratio9m > 1", "no metric notifier:late:ratio9m"),
        ('notifier_lag_seconds{lane="urgent"}', "notifier_lag_seconds has no label lane"),
        ('notifier_breaker_changes_total{state="open"}', 'no state="open"'),
    ],
)
def test_what_is_not_there_is_found(query: str, fault: str) -> None:
    assert faults(query, all_known(), RECORDED) == [fault]


def test_the_runbook_has_each_alert_and_no_other() -> None:
    """Under a heading of the alert's name, to which the alert links."""
    headings = re.findall(r"^### (Notifier\w+)$", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE)
    assert sorted(headings) == sorted(ALERTS)
    for name, rule in ALERTS.items():
        assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{name.lower()}"
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in {"page", "ticket"}
