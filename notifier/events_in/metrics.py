"""What a consumer tells Prometheus: how far behind it is, what it stores, and what it refuses. No label that grows."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from notifier.events_in.bus import Refused

SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)
SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20)
PAUSES = ("database", "backlog")


class BusMetrics:
    """Those of one consumer process."""

    def __init__(self, bus: str) -> None:
        self._bus = bus
        self.registry = CollectorRegistry(auto_describe=True)
        events = Counter(
            "notifier_bus_events", "Messages that are stored, by what became of them", ["bus", "outcome"],
            registry=self.registry,
        )  # fmt: skip
        self.recorded, self.repeated, self.refused = (
            events.labels(bus, outcome) for outcome in ("recorded", "repeated", "refused")
        )
        self._causes = Counter(
            "notifier_bus_refused", "Messages that became dead letters", ["bus", "cause"], registry=self.registry
        )
        self.uncopied = self._counter("notifier_bus_uncopied", "Refused messages that the bus's own dead letters miss")
        self.given_back = self._counter("notifier_bus_given_back", "Batches that could not be stored, and come again")
        self.lag = self._gauge("notifier_bus_lag_messages", "Messages that wait for this process; NaN: not known")
        self._oldest = self._gauge("notifier_bus_oldest_seconds", "Age of the oldest message in hand; 0: all is stored")
        self._oldest.set_function(self._age)
        self._paused = Gauge(
            "notifier_bus_paused", "1 while it takes nothing", ["bus", "reason"], registry=self.registry
        )
        for reason in PAUSES:
            self._paused.labels(bus, reason)
        self.batch = self._histogram("notifier_bus_batch_events", "Messages in a batch", SIZES)
        self.store = self._histogram(
            "notifier_bus_store_seconds", "Time until a batch was committed in PostgreSQL", SECONDS
        )
        self.commit = self._histogram(
            "notifier_bus_commit_seconds", "Time until the bus took a batch's commit", SECONDS
        )
        self._published: float | None = None

    def holding(self, published_at: float | None) -> None:
        """When the oldest message in hand was published; None: there is none."""
        self._published = published_at

    def refuse(self, refused: Refused) -> None:
        self._causes.labels(self._bus, refused.cause).inc()

    def pause(self, reason: str) -> None:
        """By a reason of PAUSES; "" for none."""
        for each in PAUSES:
            self._paused.labels(self._bus, each).set(each == reason)

    def _age(self) -> float:
        return max(0.0, time.time() - self._published) if self._published else 0.0

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(name, text, ["bus"], registry=self.registry).labels(self._bus)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, ["bus"], registry=self.registry).labels(self._bus)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, text, ["bus"], buckets=buckets, registry=self.registry).labels(self._bus)
