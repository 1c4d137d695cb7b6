"""Every metric of GET /metrics, declared once: its name, its labels, and which values these may have.

The names are a contract with rules and dashboards. No label grows: each value comes from the code, the catalogue or
settings.CHANNELS, and whatever else turns up is OTHER.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from channels import errors, registry
from channels.breaker import State
from notifier.catalogue import Audience, Priority, event_types
from notifier.states import SETTLED, AttemptOutcome, DeliveryStatus, HoldReason, SkipReason

OTHER = "OTHER"
NO_PROVIDER = "none"  # of an attempt that asked no provider, such as of a message that cannot be rendered

Labels = tuple[str, ...]


class Kind(enum.StrEnum):
    COUNTER = "counter"
    HISTOGRAM = "histogram"
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True)
class Measure:
    """`known`: the values of the labels that are there from the start, with 0: a counter that begins with its first
    event hides that event from increase(). `buckets` are upper bounds, in seconds.
    """

    name: str
    meaning: str
    kind: Kind = Kind.COUNTER
    labels: Labels = ()
    known: Callable[[], Iterable[Labels]] = lambda: ((),)
    buckets: tuple[float, ...] = ()


#: Causes of dead letters: what a provider or a process did to a delivery, and why a trigger was refused.
CAUSES = (
    *(
        kind.__name__
        for kind in (
            errors.ProviderUnavailable,
            errors.RateLimited,
            errors.CredentialsRejected,
            errors.OutcomeUnknown,
            errors.InvalidRecipient,
            errors.MessageRejected,
        )
    ),
    "CRASHED",
    "PLANNING",
    "INVALID_TRIGGER",
    "UNKNOWN_USER",
    "IDEMPOTENCY_CONFLICT",
    "FORBIDDEN",
    "UNDECODABLE",
    "TOO_LARGE",
    "TOO_DEEP",
    "TOO_MANY_KEYS",
    "TEXT_TOO_LONG",
    OTHER,
)
_CAUSES = frozenset(CAUSES)
FINISHED = (DeliveryStatus.SENT, DeliveryStatus.FAILED, DeliveryStatus.SKIPPED)
PRIORITIES = tuple(priority.name.lower() for priority in Priority)
SEND, ROUND = "send", "round"
DATABASE, REDIS = "database", "redis"


def cause_named(cause: str) -> str:
    return cause if cause in _CAUSES else OTHER


def type_named(event_type: str) -> str:
    return event_type if event_type in event_types() else OTHER


def provider_named(channel: str, provider: str) -> str:
    """A provider as `providers` knows it."""
    if not provider:
        return NO_PROVIDER
    return provider if provider in providers(channel) else OTHER


def providers(channel: str) -> tuple[str, ...]:
    """The names of a channel's providers: two accounts of one have one name."""
    try:
        return tuple(dict.fromkeys(provider.name for provider in registry.get(channel).providers))
    except (KeyError, ImproperlyConfigured):
        return ()


def _gates() -> list[Labels]:
    try:
        return [(gate.channel, gate.provider) for gate in registry.gates()]
    except ImproperlyConfigured:
        return []


def _by_provider() -> list[Labels]:
    return [(channel, provider) for channel in registry.names() for provider in providers(channel)]


def _by_stand_in() -> list[Labels]:
    """(channel, instead of which), as the chains of the catalogue have it, where the stand-in is configured."""
    pairs = {
        (stand_in, failed)
        for event_type in event_types().values()
        for failed, chain in event_type.fallback.items()
        for stand_in in chain
    }
    return sorted(pair for pair in pairs if pair[0] in registry.names())


def _each(*values: Iterable[object]) -> list[Labels]:
    return [tuple(map(str, labels)) for labels in product(*values)]


EVENTS_RECORDED = Measure(
    "notifier_events_recorded_total",
    "Events that were recorded; the same trigger again is none",
    labels=("event_type",),
    known=lambda: _each(event_types()),
)
EVENTS_SETTLED = Measure(
    "notifier_events_settled_total",
    "Events that came to their end, by how; one that is replayed comes to another",
    labels=("event_type", "status"),
    known=lambda: _each(event_types(), sorted(SETTLED)),
)
DELIVERIES = Measure(
    "notifier_deliveries_total",
    "Deliveries that came to their end, by how",
    labels=("channel", "status"),
    known=lambda: _each(registry.names(), FINISHED),
)
SKIPS = Measure(
    "notifier_skips_total",
    "Deliveries that were not to be sent, by why",
    labels=("channel", "reason"),
    known=lambda: _each(registry.names(), filter(None, SkipReason.values)),
)
HOLDS = Measure(
    "notifier_holds_total",
    "Deliveries that were held for later, by why",
    labels=("reason",),
    known=lambda: _each(filter(None, HoldReason.values)),
)
ATTEMPTS = Measure(
    "notifier_attempts_total",
    "Tries to hand a message to a provider, by what came of them; a push makes one for each device",
    labels=("channel", "provider", "outcome"),
    known=lambda: [(*pair, outcome) for pair in _by_provider() for outcome in AttemptOutcome.values],
)
RETRIES = Measure(
    "notifier_retries_total",
    "Deliveries that are to be tried again",
    labels=("channel",),
    known=lambda: _each(registry.names()),
)
FALLBACKS = Measure(
    "notifier_fallbacks_total",
    "Deliveries that stand in for another channel",
    labels=("channel", "instead_of"),
    known=_by_stand_in,
)
TIME_TO_PROVIDER = Measure(
    "notifier_time_to_provider_seconds",
    "From when an event was recorded until the provider took its message; of one that was held, from the hold's end",
    Kind.HISTOGRAM,
    ("channel", "provider", "priority"),
    lambda: [(*pair, priority) for pair in _by_provider() for priority in PRIORITIES],
    (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600),
)
SETTLE_LAG = Measure(
    "notifier_settle_lag_seconds",
    "From the last outcome of an event's deliveries until the event was settled",
    Kind.HISTOGRAM,
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
)
LIMITER_WAITS = Measure(
    "notifier_limiter_waits_total",
    "Deliveries that waited, as their provider was at its rate limit or had asked to be left alone",
    labels=("channel", "provider"),
    known=_gates,
)
DEAD_LETTERS = Measure(
    "notifier_dead_letters_total",
    "Dead letters that were written",
    labels=("cause",),
    known=lambda: _each(CAUSES),
)
REPAIRS = Measure(
    "notifier_repairs_total",
    "What the sweeper mended: sends whose process ended, and rounds that were lost. Each is a symptom",
    labels=("kind",),
    known=lambda: _each((SEND, ROUND)),
)
ERRORS = Measure(
    "notifier_errors_total",
    "Times that work failed as a server did not answer",
    labels=("server",),
    known=lambda: _each((DATABASE, REDIS)),
)
#: What processes tally in Redis (notifier/tally.py).
TALLIED = (
    EVENTS_RECORDED,
    EVENTS_SETTLED,
    DELIVERIES,
    SKIPS,
    HOLDS,
    ATTEMPTS,
    RETRIES,
    FALLBACKS,
    TIME_TO_PROVIDER,
    SETTLE_LAG,
    LIMITER_WAITS,
    DEAD_LETTERS,
    REPAIRS,
    ERRORS,
)

BREAKER_STATE = Measure(
    "notifier_breaker_state",
    "The breaker before a provider: 0 closed, 1 half open, 2 open",
    Kind.GAUGE,
    ("channel", "provider"),
    _gates,
)
BREAKER_CHANGES = Measure(
    "notifier_breaker_changes_total",
    "How often a breaker came into a state",
    labels=("channel", "provider", "state"),
    known=lambda: [(*gate, state.value) for gate in _gates() for state in State],
)
BACKLOG = Measure(
    "notifier_backlog_events",
    "Events that are due and not taken yet, up to 100000",
    Kind.GAUGE,
    ("priority",),
    lambda: _each(PRIORITIES),
)
LAG = Measure(
    "notifier_lag_seconds",
    "How long the oldest event that is due has waited",
    Kind.GAUGE,
    ("priority",),
    lambda: _each(PRIORITIES),
)
DEAD_LETTERS_OPEN = Measure(
    "notifier_dead_letters_open",
    "Dead letters that nobody has replayed or discarded, of the newest 10000",
    Kind.GAUGE,
    ("cause",),
    lambda: _each(CAUSES),
)
QUEUES = Measure(
    "notifier_queue_messages",
    "Messages that wait in a queue for a worker",
    Kind.GAUGE,
    ("queue",),
    lambda: _each(queue.name for queue in settings.CELERY_TASK_QUEUES),
)
ALERTS_OPEN = Measure(
    "notifier_alerts_open",
    "Alerts that have neither healed nor been acknowledged",
    Kind.GAUGE,
    ("event_type",),
    lambda: _each(name for name, kind in event_types().items() if kind.audience is Audience.STAFF),
)
SYNTHETIC_OK = Measure(
    "notifier_synthetic_ok",
    "1 where the synthetic customer got the last event of a type in time, else 0",
    Kind.GAUGE,
    ("event_type",),
    tuple,
)
SYNTHETIC_SECONDS = Measure(
    "notifier_synthetic_seconds",
    "From the record of the synthetic customer's event until the last provider accepted it",
    Kind.GAUGE,
    ("event_type",),
    tuple,
)
PAUSED = Measure(
    "notifier_paused",
    "1 for what operators have paused",
    Kind.GAUGE,
    ("kind", "name"),
    lambda: [
        *(("CHANNEL", name) for name in registry.names()),
        *(("PROVIDER", ":".join(gate)) for gate in _gates()),
        *(("EVENT_TYPE", name) for name in event_types()),
    ],
)
BEAT_AGE = Measure("notifier_beat_age_seconds", "Since Beat's last tick, up to a week", Kind.GAUGE)
WORKERS = Measure("notifier_workers", "Workers that live", Kind.GAUGE)
UNSERVED = Measure("notifier_queues_without_worker", "Queues that no living worker takes from", Kind.GAUGE)

#: All, as a scrape shows them.
MEASURES = (
    *TALLIED,
    BREAKER_STATE,
    BREAKER_CHANGES,
    BACKLOG,
    LAG,
    DEAD_LETTERS_OPEN,
    QUEUES,
    PAUSED,
    ALERTS_OPEN,
    SYNTHETIC_OK,
    SYNTHETIC_SECONDS,
    BEAT_AGE,
    WORKERS,
    UNSERVED,
)
