"""GET /metrics: what the whole system knows, read from Redis and the database at each scrape.

So one scrape of any web process is enough, however many processes and machines there are. Whatever is away leaves its
metrics out; a scrape never fails. No personal data, and no label that grows (measures.py).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import redis
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import Error
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from channels import registry
from channels.breaker import State
from channels.models import BreakerChange
from notifier import health, liveness, measures, tally
from notifier.alerts import open_alerts
from notifier.catalogue import Priority
from notifier.liveness import Signs
from notifier.measures import TALLIED, Kind, Labels, Measure
from notifier.models import DeadLetter, NotificationEvent, Pause
from notifier.synthetic import results

log = logging.getLogger(__name__)

STATES = {State.CLOSED: 0, State.HALF_OPEN: 1, State.OPEN: 2}
MOST_EVENTS = 100_000  # of a priority's backlog that are counted
MOST_LETTERS = 10_000  # open dead letters that are counted
PATIENCE = 0.3  # seconds for a connection to Redis, and again for an answer

_T = TypeVar("_T")


class Breakers(Collector):
    """The providers' breakers: their states by Redis, their changes by the database."""

    def collect(self) -> Iterator[Metric]:
        yield _gauge(measures.BREAKER_STATE, self._states())
        if (changes := _of_database(self._changes)) is not None:
            yield _counter(measures.BREAKER_CHANGES, changes)

    def _states(self) -> dict[Labels, float]:
        """A provider that Redis cannot tell of is left out."""
        try:
            gates = registry.gates()
        except ImproperlyConfigured as error:
            log.warning("no breaker states: %s", error)
            return {}
        found = {(gate.channel, gate.provider): gate.status() for gate in gates}
        return {labels: STATES[status.state] for labels, status in found.items() if status}

    def _changes(self) -> dict[Labels, float]:
        counted = BreakerChange.objects.order_by().values_list("channel", "provider", "state").annotate(Count("id"))
        return {(channel, provider, state): number for channel, provider, state, number in counted}


class Waiting(Collector):
    """What waits in the database."""

    def collect(self) -> Iterator[Metric]:
        for measure, question in (
            (measures.LAG, self._lag),
            (measures.BACKLOG, self._backlog),
            (measures.DEAD_LETTERS_OPEN, self._letters),
            (measures.PAUSED, self._paused),
            (measures.ALERTS_OPEN, self._alerts),
        ):
            if (values := _of_database(question)) is not None:
                yield _gauge(measure, values)

    def _lag(self) -> dict[Labels, float]:
        return {_priority(priority): lag for priority, lag in NotificationEvent.objects.lag(list(Priority)).items()}

    def _backlog(self) -> dict[Labels, float]:
        return {_priority(each): NotificationEvent.objects.backlog([each], MOST_EVENTS) for each in Priority}

    def _paused(self) -> dict[Labels, float]:
        found: dict[Labels, float] = dict.fromkeys(measures.PAUSED.known(), 0)
        return found | dict.fromkeys(Pause.objects.values_list("kind", "name"), 1)

    def _alerts(self) -> dict[Labels, float]:
        found: dict[Labels, float] = dict.fromkeys(measures.ALERTS_OPEN.known(), 0)
        for kind, number in open_alerts().order_by().values_list("kind").annotate(Count("id")):
            if (kind,) in found:
                found[kind,] = number
        return found

    def _letters(self) -> dict[Labels, float]:
        found: dict[Labels, float] = dict.fromkeys(measures.DEAD_LETTERS_OPEN.known(), 0)
        for cause, number in DeadLetter.objects.open_by_cause(MOST_LETTERS).items():
            found[measures.cause_named(cause),] += number
        return found


class Shared(Collector):
    """What all processes tell in Redis: their tallies, their signs of life, and the queues."""

    def collect(self) -> Iterator[Metric]:
        try:
            with liveness.client_with(PATIENCE) as client:
                counts, signs, queues = tally.totals(client), liveness.signs(client), _queues(client)
                synthetic = results(client)
        except redis.RedisError as error:
            log.warning("no metrics of Redis: %s", type(error).__name__)
            return
        for measure in TALLIED:
            values = {key[1:]: number for key, number in counts.items() if key[0] == measure.name}
            yield _histogram(measure, values) if measure.kind is Kind.HISTOGRAM else _counter(measure, values)
        yield _gauge(measures.QUEUES, queues)
        yield from self._signs(signs)
        yield _gauge(measures.SYNTHETIC_OK, {(name,): found.ok for name, found in synthetic.items()})
        times: dict[Labels, float] = {
            (name,): found.seconds for name, found in synthetic.items() if found.seconds is not None
        }
        yield _gauge(measures.SYNTHETIC_SECONDS, times)

    def _signs(self, signs: Signs) -> Iterator[Metric]:
        if signs.beat is not None:
            yield _gauge(measures.BEAT_AGE, {(): signs.beat})
        yield _gauge(measures.WORKERS, {(): len(signs.workers)})
        yield _gauge(measures.UNSERVED, {(): len(health.queues_without_worker(signs.workers))})


def _queues(client: redis.Redis) -> dict[Labels, float]:
    names = [queue.name for queue in settings.CELERY_TASK_QUEUES]
    with client.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.llen(name)
        return {(name,): length for name, length in zip(names, pipe.execute(), strict=True)}


def _of_database(question: Callable[[], _T]) -> _T | None:
    try:
        return question()
    except Error as error:
        log.warning("no metrics of the database: %s", type(error).__name__)
        return None


def _priority(priority: int) -> Labels:
    return (Priority(priority).name.lower(),)


def _gauge(measure: Measure, values: Mapping[Labels, float]) -> Metric:
    metric = GaugeMetricFamily(measure.name, measure.meaning, labels=measure.labels)
    for labels, value in values.items():
        metric.add_metric(labels, value)
    return metric


def _counter(measure: Measure, values: Mapping[Labels, float]) -> Metric:
    metric = CounterMetricFamily(measure.name, measure.meaning, labels=measure.labels)
    for labels, value in {**dict.fromkeys(measure.known(), 0), **values}.items():
        metric.add_metric(labels, value)
    return metric


def _histogram(measure: Measure, values: Mapping[Labels, int]) -> Metric:
    """`values`: by labels and bound, or "sum"; of each bucket what fell into it alone."""
    metric = HistogramMetricFamily(measure.name, measure.meaning, labels=measure.labels)
    for labels in {**dict.fromkeys(measure.known()), **{key[:-1]: None for key in values}}:
        counted, buckets = 0, []
        for bound in tally.bounds(measure):
            counted += values.get((*labels, bound), 0)
            buckets.append((bound, counted))
        metric.add_metric(labels, buckets, values.get((*labels, tally.SUM), 0) / tally.MICROSECONDS)
    return metric


METRICS = CollectorRegistry(auto_describe=False)
METRICS.register(Breakers())
METRICS.register(Waiting())
METRICS.register(Shared())


@require_safe
def metrics(_request: HttpRequest) -> HttpResponse:
    """Prometheus's text format, for whoever asks: keep the address inside (docs/configuration.md)."""
    return HttpResponse(generate_latest(METRICS), content_type=CONTENT_TYPE_LATEST)
