"""GET /metrics: what the whole system knows, read from Redis and the database at each scrape.

Whatever is away leaves its metrics out; a scrape never fails. No personal data, and no label that grows: channels and
providers are those of settings.CHANNELS.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from django.core.exceptions import ImproperlyConfigured
from django.db import Error
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from channels import registry
from channels.breaker import State
from channels.models import BreakerChange
from notifier.catalogue import Priority
from notifier.models import NotificationEvent

log = logging.getLogger(__name__)

STATES = {State.CLOSED: 0, State.HALF_OPEN: 1, State.OPEN: 2}


class Breakers(Collector):
    """The providers' breakers: their states by Redis, their changes by the database."""

    def collect(self) -> Iterator[Metric]:
        yield self._states()
        yield self._changes()

    def _states(self) -> Metric:
        """A provider that Redis cannot tell of is left out."""
        metric = GaugeMetricFamily(
            "notifier_breaker_state",
            "The breaker before a provider: 0 closed, 1 half open, 2 open",
            labels=["channel", "provider"],
        )
        try:
            gates = registry.gates()
        except ImproperlyConfigured as error:
            log.warning("no breaker states: %s", error)
            return metric
        for gate in gates:
            if status := gate.status():
                metric.add_metric([gate.channel, gate.provider], STATES[status.state])
        return metric

    def _changes(self) -> Metric:
        metric = CounterMetricFamily(
            "notifier_breaker_changes",
            "How often a breaker came into a state",
            labels=["channel", "provider", "state"],
        )
        try:
            counted = list(
                BreakerChange.objects.order_by().values_list("channel", "provider", "state").annotate(Count("id"))
            )
        except Error as error:
            log.warning("no breaker changes: %s", type(error).__name__)
            return metric
        counts = {**dict.fromkeys(_known(), 0), **{(c, p, state): count for c, p, state, count in counted}}
        for labels, count in counts.items():
            metric.add_metric(labels, count)
        return metric


class Backlog(Collector):
    """What waits in the database."""

    def collect(self) -> Iterator[Metric]:
        metric = GaugeMetricFamily(
            "notifier_lag_seconds", "How long the oldest event that is due has waited", labels=["priority"]
        )
        try:
            for priority, seconds in NotificationEvent.objects.lag(list(Priority)).items():
                metric.add_metric([Priority(priority).name.lower()], seconds)
        except Error as error:
            log.warning("no lag: %s", type(error).__name__)
        yield metric


def _known() -> list[tuple[str, str, str]]:
    """Every change that there may be: a counter that begins with its first event hides that event from increase()."""
    try:
        return [(gate.channel, gate.provider, state.value) for gate in registry.gates() for state in State]
    except ImproperlyConfigured:
        return []


METRICS = CollectorRegistry(auto_describe=False)
METRICS.register(Breakers())
METRICS.register(Backlog())


@require_safe
def metrics(_request: HttpRequest) -> HttpResponse:
    """Prometheus's text format, for whoever asks: keep the address inside (docs/configuration.md)."""
    return HttpResponse(generate_latest(METRICS), content_type=CONTENT_TYPE_LATEST)
