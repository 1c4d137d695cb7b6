"""The metrics that there are, with their labels: what a rule or a panel may name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prometheus_client.metrics_core import Metric

from channels.breaker import State
from notifier.catalogue import Priority
from notifier.events_in.metrics import PAUSES, BusMetrics
from notifier.states import AttemptOutcome, DeliveryStatus, EventStatus, HoldReason, SkipReason

#: of GET /metrics, by name, with labels
KNOWN: Mapping[str, Sequence[str]] = {
    "notifier_events_recorded_total": ["event_type"],
    "notifier_events_settled_total": ["event_type", "status"],
    "notifier_deliveries_total": ["channel", "status"],
    "notifier_skips_total": ["channel", "reason"],
    "notifier_holds_total": ["reason"],
    "notifier_attempts_total": ["channel", "provider", "outcome"],
    "notifier_retries_total": ["channel"],
    "notifier_fallbacks_total": ["channel", "instead_of"],
    "notifier_time_to_provider_seconds_bucket": ["channel", "provider", "priority", "le"],
    "notifier_time_to_provider_seconds_count": ["channel", "provider", "priority"],
    "notifier_time_to_provider_seconds_sum": ["channel", "provider", "priority"],
    "notifier_backlog_events": ["priority"],
    "notifier_lag_seconds": ["priority"],
    "notifier_queue_messages": ["queue"],
    "notifier_breaker_state": ["channel", "provider"],
    "notifier_breaker_changes_total": ["channel", "provider", "state"],
    "notifier_limiter_waits_total": ["channel", "provider"],
    "notifier_dead_letters_open": ["cause"],
    "notifier_dead_letters_total": ["cause"],
    "notifier_settle_lag_seconds_bucket": ["le"],
    "notifier_settle_lag_seconds_count": [],
    "notifier_settle_lag_seconds_sum": [],
    "notifier_repairs_total": ["kind"],
    "notifier_beat_age_seconds": [],
    "notifier_workers": [],
    "notifier_queues_without_worker": [],
    "notifier_errors_total": ["server"],
}

#: what a label may say, where the list is closed
VALUES: Mapping[str, frozenset[str]] = {
    "outcome": frozenset(AttemptOutcome.values) | {"recorded", "repeated", "refused"},
    "status": frozenset(DeliveryStatus.values) | frozenset(EventStatus.values),
    "state": frozenset(State),
    "priority": frozenset(priority.name.lower() for priority in Priority),
    "reason": frozenset(SkipReason.values) | frozenset(HoldReason.values) | frozenset(PAUSES),
    "le": frozenset({"1", "1.0"}),
    "job": frozenset({"notifier", "notifier-consumer"}),
}


def of_consumers() -> dict[str, Sequence[str]]:
    """Those of a bus consumer, as its code declares them."""
    metrics = BusMetrics("kafka")
    metrics.holding(None)
    found: dict[str, Sequence[str]] = {"notifier_bus_refused_total": ["bus", "cause"]}
    families: list[Metric] = list(metrics.registry.collect())
    for sample in (sample for family in families for sample in family.samples):
        found[sample.name] = list(sample.labels)
    return found


def all_known() -> dict[str, Sequence[str]]:
    return {"up": ["job"], **KNOWN, **of_consumers()}
