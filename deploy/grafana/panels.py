"""What the dashboard shows, top down as one asks at night: us or a provider? In time? What waits, what fails, why?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

TIME = "notifier_time_to_provider_seconds"
ACCEPTED = 'sum by (channel, provider) (notifier:attempts:rate5m{outcome="ACCEPTED"})'
TRIED = "sum by (channel, provider) (notifier:attempts:rate5m)"
GREEN, YELLOW, RED = "green", "yellow", "red"


@dataclass(frozen=True)
class Panel:
    """`queries`: PromQL by legend. `steps`: a value from which on a colour holds, the first from the beginning."""

    title: str
    queries: dict[str, str]
    text: str
    kind: str = "timeseries"
    unit: str = "short"
    width: int = 8
    height: int = 8
    steps: tuple[tuple[float | None, str], ...] = ((None, GREEN),)
    says: tuple[tuple[float, str], ...] = ()
    stacked: bool = False


def stat(title: str, query: str, text: str, **more: Any) -> Panel:
    return Panel(title, {"": query}, text, kind="stat", width=4, height=4, **more)


def highest(labels: str, expression: str) -> str:
    """Each web process answers for the whole system: the highest of equal series, never their sum."""
    return f"max by ({labels}) ({expression})"


def rate(name: str, labels: str) -> str:
    return highest(labels, f"rate({name}[$__rate_interval])")


def quantile(share: float, name: str, shown: str, summed: str = "") -> str:
    """Of a histogram, by the labels that are shown, over those that are summed up."""
    kept = ", ".join(label for label in (shown, "le") if label)
    each = rate(f"{name}_bucket", ", ".join(label for label in (summed, kept) if label))
    return f"histogram_quantile({share}, {by(kept, each) if summed else each})"


def by(shown: str, expression: str) -> str:
    """A sum over the labels that are not shown."""
    return f"sum by ({shown}) ({expression})"


ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    (
        "Is it us, or a provider?",
        (
            stat(
                "Notifier",
                'max(up{job="notifier"}) or vector(0)',
                "Whether a web process answers. Us.",
                steps=((None, RED), (1, GREEN)),
                says=((0, "away"), (1, "up")),
            ),
            stat(
                "PostgreSQL",
                "(max(notifier_lag_seconds) >= bool 0) or vector(0)",
                "As seen by the web process. Us.",
                steps=((None, RED), (1, GREEN)),
                says=((0, "away"), (1, "up")),
            ),
            stat(
                "Redis",
                "(max(notifier_workers) >= bool 0) or vector(0)",
                "As seen by the web process. Us.",
                steps=((None, RED), (1, GREEN)),
                says=((0, "away"), (1, "up")),
            ),
            stat(
                "Workers",
                "max(notifier_workers)",
                "That have given a sign of life. Us.",
                steps=((None, RED), (1, GREEN)),
            ),
            stat(
                "Beat's last tick",
                "max(notifier_beat_age_seconds)",
                "Us: over 15 s it is silent.",
                unit="s",
                steps=((None, GREEN), (15, YELLOW), (30, RED)),
            ),
            stat(
                "Breakers not closed",
                "count(max by (channel, provider) (notifier_breaker_state) > 0) or vector(0)",
                "Providers that are left alone. A provider, or the way to it.",
                steps=((None, GREEN), (1, RED)),
            ),
        ),
    ),
    (
        "In time?",
        (
            stat(
                "In a second, last hour",
                "1 - notifier:late:ratio1h",
                "Urgent and normal messages; wanted: 99 %.",
                unit="percentunit",
                steps=((None, RED), (0.99, GREEN)),
            ),
            stat(
                "In a second, three days",
                "1 - notifier:late:ratio3d",
                "Urgent and normal messages; wanted: 99 %.",
                unit="percentunit",
                steps=((None, RED), (0.99, GREEN)),
            ),
            stat(
                "Budget used, last day",
                "notifier:late:ratio1d / 0.01",
                "1: as much as is allowed for a day.",
                unit="percentunit",
                steps=((None, GREEN), (1, YELLOW), (3, RED)),
            ),
            stat(
                "Oldest urgent event",
                'max(notifier_lag_seconds{priority="urgent"})',
                "How long it has been due.",
                unit="s",
                steps=((None, GREEN), (2, YELLOW), (10, RED)),
            ),
            stat(
                "Alerts",
                'count(ALERTS{alertstate="firing", alertname=~"Notifier.*"}) or vector(0)',
                "That fire now: docs/runbook.md.",
                steps=((None, GREEN), (1, RED)),
            ),
            stat(
                "Open dead letters",
                "sum(max by (cause) (notifier_dead_letters_open))",
                "Of all causes.",
                steps=((None, GREEN), (1, YELLOW)),
            ),
        ),
    ),
    (
        "What comes and what waits",
        (
            Panel(
                "Events recorded",
                {"{{event_type}}": rate("notifier_events_recorded_total", "event_type")},
                "A second, by type.",
                unit="reqps",
                stacked=True,
            ),
            Panel(
                "Waiting events",
                {"{{priority}}": highest("priority", "notifier_backlog_events")},
                "Due in PostgreSQL, by priority. They are safe, and go when what holds them is gone.",
                stacked=True,
            ),
            Panel(
                "Oldest waiting event",
                {"{{priority}}": highest("priority", "notifier_lag_seconds")},
                "How long it has been due. An autoscaler goes by it.",
                unit="s",
            ),
        ),
    ),
    (
        "What becomes of it",
        (
            Panel(
                "Deliveries",
                {"{{channel}} {{status}}": rate("notifier_deliveries_total", "channel, status")},
                "A second, by channel and end.",
                unit="reqps",
                width=12,
            ),
            Panel(
                "Failed deliveries",
                {"{{channel}}": "notifier:failed:ratio5m"},
                "As a share of all that were sent or failed. Over 5 % wakes somebody.",
                unit="percentunit",
                steps=((None, GREEN), (0.05, RED)),
                width=12,
            ),
            Panel(
                "Attempts that were accepted",
                {
                    "{{channel}} {{provider}}": f"{ACCEPTED} / {TRIED}",
                },
                "By provider. One low: that provider. All low: us.",
                unit="percentunit",
                width=12,
            ),
            Panel(
                "Attempts that failed, by outcome",
                {"{{provider}} {{outcome}}": 'notifier:attempts:rate5m{outcome!="ACCEPTED"}'},
                "RATE_LIMITED: our rate is too high. CREDENTIALS: our key. UNAVAILABLE, UNKNOWN: the provider. "
                "INVALID_RECIPIENT, REJECTED: what we sent.",
                unit="reqps",
                width=12,
            ),
        ),
    ),
    (
        "Latency",
        (
            Panel(
                "Time to the provider",
                {
                    "{{priority}} p50": quantile(0.5, TIME, "priority", "channel, provider"),
                    "{{priority}} p99": quantile(0.99, TIME, "priority", "channel, provider"),
                },
                "From due to accepted, by priority. Between the edges of buckets it is a guess.",
                unit="s",
            ),
            Panel(
                "Time to the provider, p99 by provider",
                {"{{channel}} {{provider}}": quantile(0.99, TIME, "channel, provider", "priority")},
                "One high: that provider. All high: us.",
                unit="s",
            ),
            Panel(
                "Time to settle",
                {
                    "p50": quantile(0.5, "notifier_settle_lag_seconds", ""),
                    "p99": quantile(0.99, "notifier_settle_lag_seconds", ""),
                },
                "From a round's end to the verdict on its events.",
                unit="s",
            ),
        ),
    ),
    (
        "Providers",
        (
            Panel(
                "Breakers",
                {"{{channel}} {{provider}}": highest("channel, provider", "notifier_breaker_state")},
                "0 closed, 1 half open, 2 open.",
                says=((0, "closed"), (1, "half open"), (2, "open")),
                kind="state-timeline",
                steps=((None, GREEN), (1, YELLOW), (2, RED)),
            ),
            Panel(
                "Waits for a limit",
                {"{{channel}} {{provider}}": rate("notifier_limiter_waits_total", "channel, provider")},
                "Messages a second that were put off as the provider's rate was reached.",
                unit="reqps",
            ),
            Panel(
                "Retries and fallbacks",
                {
                    "{{channel}} retried": rate("notifier_retries_total", "channel"),
                    "{{channel}} instead of {{instead_of}}": rate("notifier_fallbacks_total", "channel, instead_of"),
                },
                "A second. Fallbacks cost more than what they stand in for.",
                unit="reqps",
            ),
        ),
    ),
    (
        "What is left",
        (
            Panel(
                "Open dead letters",
                {"{{cause}}": highest("cause", "notifier_dead_letters_open")},
                "By cause: docs/errors.md. Admin, Dead letters.",
                stacked=True,
            ),
            Panel(
                "Skipped",
                {"{{channel}} {{reason}}": rate("notifier_skips_total", "channel, reason")},
                "A second, by reason. Sent on purpose to nobody.",
                unit="reqps",
            ),
            Panel(
                "Held",
                {"{{reason}}": rate("notifier_holds_total", "reason")},
                "A second. QUIET_HOURS: as people wish. CAP: a caller in a circle?",
                unit="reqps",
            ),
        ),
    ),
    (
        "The engine",
        (
            Panel(
                "Waiting messages by queue",
                {"{{queue}}": highest("queue", "notifier_queue_messages")},
                "In Redis. More than a few: its workers are busy or gone.",
            ),
            Panel(
                "Repairs",
                {"{{kind}}": rate("notifier_repairs_total", "kind")},
                "A second, by the sweeper. A bump: a worker was killed. A plateau: docs/runbook.md.",
                unit="reqps",
            ),
            Panel(
                "Errors of servers",
                {"{{server}}": rate("notifier_errors_total", "server")},
                "Calls a second to PostgreSQL and Redis that failed.",
                unit="reqps",
            ),
            Panel(
                "Queues without worker",
                {"queues": "max(notifier_queues_without_worker)"},
                "Should be 0.",
                steps=((None, GREEN), (1, RED)),
            ),
            Panel(
                "Events settled",
                {"{{status}}": by("status", rate("notifier_events_settled_total", "event_type, status"))},
                "A second, by verdict.",
                unit="reqps",
                width=16,
            ),
        ),
    ),
    (
        "Buses (none: nothing is consumed)",
        (
            Panel("Messages behind", {"{{bus}}": by("bus", "notifier_bus_lag_messages")}, "That wait on the bus."),
            Panel(
                "Oldest message in hand",
                {"{{bus}}": "max by (bus) (notifier_bus_oldest_seconds)"},
                "Since it was published; 0: all is stored.",
                unit="s",
            ),
            Panel(
                "Messages",
                {"{{bus}} {{outcome}}": by("bus, outcome", "rate(notifier_bus_events_total[$__rate_interval])")},
                "A second, by what became of them.",
                unit="reqps",
            ),
        ),
    ),
)
