"""The metrics that there are, with their labels: what a rule or a panel may name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prometheus_client.metrics_core import Metric

from channels.breaker import State
from notifier.catalogue import Priority
from notifier.events_in.metrics import PAUSES, BusMetrics
from notifier.measures import MEASURES, Kind, Measure
from notifier.states import AttemptOutcome, DeliveryStatus, EventStatus, HoldReason, SkipReason


def _series(measure: Measure) -> dict[str, Sequence[str]]:
    """The names under which a scrape shows it, with their labels."""
    if measure.kind is not Kind.HISTOGRAM:
        return {measure.name: measure.labels}
    parts = {"bucket": (*measure.labels, "le"), "count": measure.labels, "sum": measure.labels}
    return {f"{measure.name}_{part}": labels for part, labels in parts.items()}


#: of GET /metrics, by name, with labels
KNOWN: Mapping[str, Sequence[str]] = {name: labels for measure in MEASURES for name, labels in _series(measure).items()}

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
