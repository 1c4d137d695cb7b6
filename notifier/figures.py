"""The live figures of the admin's front page: of the last hour from the tally, of now from Redis and the database.

Each look is cheap whatever the tables hold: minutes are read from Redis, and the database is asked along small indexes
and up to a limit.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import redis
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from channels import registry
from channels.breaker import State
from channels.gate import Gate
from channels.models import BreakerChange
from notifier import health, liveness, tally
from notifier.catalogue import Priority
from notifier.liveness import Signs
from notifier.measures import (
    ATTEMPTS,
    DEAD_LETTERS,
    DELIVERIES,
    EVENTS_RECORDED,
    HOLDS,
    NO_PROVIDER,
    PRIORITIES,
    TIME_TO_PROVIDER,
    Measure,
)
from notifier.models import DeadLetter, NotificationEvent, Pause
from notifier.states import AttemptOutcome, DeliveryStatus, HoldReason
from notifier.synthetic import results
from notifier.tally import Key

log = logging.getLogger(__name__)

HOUR = 60  # minutes that the charts show, the present one last
LATELY = 15  # minutes over which shares and times are taken
MOST_EVENTS = 10_000  # of a priority's backlog that are counted
MOST_LETTERS = 10_000  # open dead letters that are counted, the newest
PATIENCE = 0.3  # seconds for a connection to Redis, and again for an answer
CHANGES = 1000  # of breakers that are looked through for when one opened: hours of an outage
QUANTILES = (0.5, 0.95, 0.99)


@dataclass(frozen=True, slots=True)
class Minute:
    """What was counted in the minute that began `at`."""

    at: datetime
    events: int
    sent: int
    failed: int


@dataclass(frozen=True, slots=True)
class Share:
    """How much of what was tried went well."""

    name: str
    good: int
    all: int

    @property
    def percent(self) -> float:
        return 100 * self.good / self.all if self.all else 100.0


@dataclass(frozen=True, slots=True)
class Speed:
    """How long messages took to their provider: at most so many seconds by each of QUANTILES; inf: over all bounds."""

    name: str
    number: int
    at_most: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Waiting:
    """Events of a priority that are due. `oldest`: seconds that it has waited. `more`: there are more than counted."""

    priority: str
    number: int
    more: bool
    oldest: float


@dataclass(frozen=True, slots=True)
class Provider:
    """Its breaker; `state` None: not known, since Redis is away. `since` when it serves, or does not, None: always.

    A breaker that opens anew after each trial has been away all the time.
    """

    channel: str
    name: str
    state: State | None
    since: datetime | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Figures:
    """`signs` None: Redis is away, and with it all that the tally knows. `letters`: open ones by cause, most first;
    `new_letters`: those that were written lately, `capped`: deliveries that the daily cap held lately.
    """

    at: datetime
    waiting: Sequence[Waiting]
    letters: Sequence[tuple[str, int]]
    providers: Sequence[Provider]
    signs: Signs | None = None
    minutes: Sequence[Minute] = ()
    by_channel: Sequence[Share] = ()
    by_provider: Sequence[Share] = ()
    speeds: Sequence[Speed] = ()
    new_letters: Mapping[str, int] = field(default_factory=dict)
    capped: int = 0
    paused: Sequence[str] = ()
    followed: int = 0  # event types of which the synthetic customer's last run is known
    missed: Mapping[str, str] = field(default_factory=dict)  # of these, reasons by event type

    @property
    def unserved(self) -> list[str]:
        """Queues that no living worker takes from."""
        return health.queues_without_worker(self.signs.workers) if self.signs else []


def figures() -> Figures:
    """As of now. Raises django.db.Error where the database is away; without Redis what it knows is left out."""
    now = timezone.now()
    letters = Counter(DeadLetter.objects.open_by_cause(MOST_LETTERS)).most_common()
    waiting, providers = _waiting(), _providers(now)
    paused = [f"{pause} since {timezone.localtime(pause.paused_at):%H:%M}" for pause in Pause.objects.order_by("pk")]
    try:
        with liveness.client_with(PATIENCE) as client:
            signs, counted, synthetic = liveness.signs(client), tally.minutes(client, HOUR), results(client)
    except redis.RedisError as error:
        log.warning("no live figures: %s", type(error).__name__)
        return Figures(now, waiting, letters, providers, paused=paused)
    lately = _sum(counts for _, counts in counted[-LATELY:])
    return Figures(
        now,
        waiting,
        letters,
        providers,
        signs,
        minutes=[minute_of(minute, counts) for minute, counts in counted],
        by_channel=by_channel(lately),
        by_provider=by_provider(lately),
        speeds=speeds(lately),
        new_letters={labels[0]: number for labels, number in _of(DEAD_LETTERS, lately)},
        capped=lately[HOLDS.name, HoldReason.CAP.value],
        paused=paused,
        followed=len(synthetic),
        missed={name: found.reason for name, found in synthetic.items() if not found.ok},
    )


def minute_of(minute: int, counts: Mapping[Key, int]) -> Minute:
    """`minute`: since 1970."""
    ends = Counter[str]()
    for (_, status), number in _of(DELIVERIES, counts):
        ends[status] += number
    return Minute(
        datetime.fromtimestamp(minute * 60, UTC),
        sum(number for _, number in _of(EVENTS_RECORDED, counts)),
        ends[DeliveryStatus.SENT],
        ends[DeliveryStatus.FAILED],
    )


def by_channel(counts: Mapping[Key, int]) -> list[Share]:
    """How many of the deliveries that were to be sent came to their end well; the channels as configured."""
    found = dict(_of(DELIVERIES, counts))
    sent = {name: found.get((name, DeliveryStatus.SENT.value), 0) for name in registry.names()}
    failed = {name: found.get((name, DeliveryStatus.FAILED.value), 0) for name in registry.names()}
    return [Share(name, sent[name], sent[name] + failed[name]) for name in registry.names()]


def by_provider(counts: Mapping[Key, int]) -> list[Share]:
    """How many attempts each provider accepted; without those that reached for none."""
    good, every = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for (channel, provider, outcome), number in _of(ATTEMPTS, counts):
        if provider != NO_PROVIDER:
            every[channel, provider] += number
            good[channel, provider] += number * (outcome == AttemptOutcome.ACCEPTED)
    return [Share(f"{channel} by {name}", good[channel, name], every[channel, name]) for channel, name in sorted(every)]


def speeds(counts: Mapping[Key, int]) -> list[Speed]:
    """By priority, and then by channel."""
    sums: dict[str, Counter[str]] = {name: Counter() for name in (*PRIORITIES, *registry.names())}
    for (channel, _, priority, bound), number in _of(TIME_TO_PROVIDER, counts):
        for name in (priority, channel):
            if bound != tally.SUM and name in sums:
                sums[name][bound] += number
    return [_speed(name, buckets) for name, buckets in sums.items() if buckets]


def _speed(name: str, buckets: Mapping[str, int]) -> Speed:
    number = sum(buckets.values())
    return Speed(name, number, tuple(_quantile(buckets, share * number) for share in QUANTILES))


def _quantile(buckets: Mapping[str, int], rank: float) -> float:
    """The upper bound of the bucket in which that many are reached."""
    reached = 0
    for bound in tally.bounds(TIME_TO_PROVIDER):
        reached += buckets.get(bound, 0)
        if reached >= rank:
            return float(bound)
    return math.inf


def _waiting() -> list[Waiting]:
    lag = NotificationEvent.objects.lag(list(Priority))
    numbers = {each: NotificationEvent.objects.backlog([each], MOST_EVENTS + 1) for each in Priority}
    return [
        Waiting(each.name.lower(), min(numbers[each], MOST_EVENTS), numbers[each] > MOST_EVENTS, lag[each])
        for each in Priority
    ]


def _providers(now: datetime) -> list[Provider]:
    try:
        gates = registry.gates()
    except ImproperlyConfigured as error:
        log.warning("no breaker states: %s", error)
        return []
    found = [_provider(gate, now) for gate in gates]
    if all(provider.state in (State.CLOSED, None) for provider in found):
        return found
    away = away_since(BreakerChange.objects.order_by("-at").values_list("channel", "provider", "state", "at")[:CHANGES])
    return [
        provider
        if provider.state in (State.CLOSED, None)
        else replace(provider, since=away.get((provider.channel, provider.name), provider.since))
        for provider in found
    ]


def _provider(gate: Gate, now: datetime) -> Provider:
    if (status := gate.status()) is None:
        return Provider(gate.channel, gate.provider, None)
    since = now - timedelta(seconds=status.age) if status.age is not None else None
    return Provider(gate.channel, gate.provider, status.state, since, status.reason)


def away_since(changes: Iterable[tuple[str, str, str, datetime]]) -> dict[tuple[str, str], datetime]:
    """When each provider that is away first was, from changes (channel, provider, state, at), newest first."""
    found: dict[tuple[str, str], datetime] = {}
    served = set()
    for channel, provider, state, at in changes:
        if state == State.CLOSED:
            served.add((channel, provider))
        elif (channel, provider) not in served:
            found[channel, provider] = at
    return found


def _of(measure: Measure, counts: Mapping[Key, int]) -> Iterable[tuple[Key, int]]:
    """By labels."""
    return ((key[1:], number) for key, number in counts.items() if key[0] == measure.name)


def _sum(minutes: Iterable[Mapping[Key, int]]) -> Counter[Key]:
    total: Counter[Key] = Counter()
    for counts in minutes:
        total.update(counts)
    return total
