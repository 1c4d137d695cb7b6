"""Beat's look at the providers: staff hear of trouble once, of its end once, and others where nobody acts.

Works without Prometheus, from the minutes of the tally (notifier/tally.py) and the breakers. While Redis is away there
is no Beat that could look.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import redis
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, transaction
from django.db.models.functions import Now
from django.urls import reverse

from channels import registry
from channels.breaker import State
from notifier import health, liveness, tally
from notifier.alerts import ORIGIN, open_alerts
from notifier.catalogue import event_types
from notifier.measures import ATTEMPTS, NO_PROVIDER
from notifier.models import Alert
from notifier.record import record
from notifier.states import AttemptOutcome
from notifier.tally import Key
from notifier.trigger import Trigger, TriggerError

log = logging.getLogger(__name__)

CHANNEL_DEGRADED = "CHANNEL_DEGRADED"
WATCH_LOCK = 0xA1E7  # pg_try_advisory_xact_lock: of two Beats' looks one does nothing
LATELY = 2  # minutes, the present one among them
USUAL = 60  # minutes before, with which they are compared
PATIENCE = 0.5  # seconds for a connection to Redis, and again for an answer
HEALS_AFTER = timedelta(seconds=60)  # without a sign of it
WORKERS = "workers"  # in a provider's place, where a channel's trouble is ours
UNSERVED = "notifier:unserved:"  # followed by a channel: since when no worker takes its messages, by Redis's clock
RESTART = 20.0  # seconds that a worker may take to come back
#: Failed attempts, and the share of them, from which on it is trouble: few must fail nearly all. A share must also be
#: three times the usual one.
FEW, MANY = (5, 0.8), (20, 0.2)
TIMES_USUAL = 3.0

#: What a provider's trouble looks like; a wrong number or address is its owner's.
BAD = frozenset(
    {AttemptOutcome.UNAVAILABLE, AttemptOutcome.UNKNOWN, AttemptOutcome.CREDENTIALS, AttemptOutcome.REJECTED}
)
COUNTED = BAD | {AttemptOutcome.ACCEPTED}


@dataclass(frozen=True, slots=True)
class Trouble:
    """A provider that fails. `share`: of the attempts, None where its breaker lets none through."""

    channel: str
    provider: str
    reason: str
    share: float | None = None

    @property
    def subject(self) -> str:
        return f"{self.channel}:{self.provider}"


def watch() -> bool:
    """One look; was anybody told of anything?"""
    try:
        troubles = find()
    except (redis.RedisError, ImproperlyConfigured) as error:
        log.warning("nothing seen: %s", type(error).__name__)
        return False
    with transaction.atomic():
        if not _alone():
            return False
        return sum((_open(troubles), _heal(), _escalate())) > 0


def find() -> list[Trouble]:
    """What is wrong now. Raises redis.RedisError, ImproperlyConfigured."""
    with liveness.client_with(PATIENCE) as client:
        counted = [counts for _, counts in tally.minutes(client, LATELY + USUAL)]
        unserved = list(_unserved(client))
    shut = {(trouble.channel, trouble.provider): trouble for trouble in _shut()}
    spikes = judge(_sum(counted[-LATELY:]), _sum(counted[:-LATELY]))
    return [*unserved, *shut.values(), *(one for one in spikes if (one.channel, one.provider) not in shut)]


def judge(lately: Mapping[Key, int], usual: Mapping[Key, int]) -> Iterator[Trouble]:
    """The providers that fail far more than they usually do, by counts of attempts. Pure."""
    before = dict(_attempts(usual))
    for (channel, provider), (bad, every) in _attempts(lately):
        usually = before.get((channel, provider), (0, 0))
        usual_share = usually[0] / usually[1] if usually[1] else 0.0
        share = bad / every
        if any(bad >= least and share >= limit for least, limit in (FEW, MANY)) and share >= TIMES_USUAL * usual_share:
            reason = f"{bad} of {every} attempts failed within {LATELY} minutes, usually {usual_share:.0%}"
            yield Trouble(channel, provider, reason, share)


def _attempts(counts: Mapping[Key, int]) -> Iterator[tuple[tuple[str, str], tuple[int, int]]]:
    """((channel, provider), (bad ones, all))."""
    bad, every = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for key, number in counts.items():
        if key[0] == ATTEMPTS.name and key[2] != NO_PROVIDER and key[3] in COUNTED:
            every[key[1], key[2]] += number
            bad[key[1], key[2]] += number * (key[3] in BAD)
    return ((one, (bad[one], every[one])) for one in sorted(every))


def _unserved(client: redis.Redis) -> Iterator[Trouble]:
    """Channels whose messages no worker takes, for longer than a restart."""
    queues = set(health.queues_without_worker(liveness.signs(client).workers))
    now = int(client.time()[0])
    for channel in registry.names():
        key = f"{UNSERVED}{channel}"
        if channel.lower() not in queues:
            client.delete(key)
            continue
        since = int(client.set(key, now, nx=True, get=True, ex=int(HEALS_AFTER.total_seconds())) or now)
        client.expire(key, HEALS_AFTER)
        if now - since >= RESTART:
            yield Trouble(channel, WORKERS, f"no worker takes from the queue {channel.lower()}")


def _shut() -> Iterator[Trouble]:
    """Providers whose breaker lets nothing or next to nothing through."""
    for gate in registry.gates():
        status = gate.status()
        if status and status.state != State.CLOSED:
            yield Trouble(gate.channel, gate.provider, f"breaker {status.state.value.lower()}: {status.reason}")


def _open(troubles: Sequence[Trouble]) -> int:
    going = {alert.subject: alert for alert in Alert.objects.filter(kind=CHANNEL_DEGRADED, healed_at=None)}
    Alert.objects.filter(pk__in=[going[one.subject].pk for one in troubles if one.subject in going]).update(
        seen_at=Now()
    )
    new = [trouble for trouble in troubles if trouble.subject not in going]
    for trouble in new:
        metadata = _metadata(trouble)
        text = f"{trouble.channel} by {trouble.provider}: {trouble.reason}"[:500]
        alert = Alert.objects.create(kind=CHANNEL_DEGRADED, subject=trouble.subject, text=text, metadata=metadata)
        log.warning("alert %s: %s", alert.pk, text)
        _tell(alert, "opened", metadata)
    return len(new)


def _metadata(trouble: Trouble) -> dict[str, Any]:
    rate = {} if trouble.share is None else {"failureRate": round(trouble.share, 2)}
    return {"channel": trouble.channel, "provider": trouble.provider, "reason": trouble.reason, **rate}


def _heal() -> int:
    """What was not seen for a while is over, and whoever heard of it hears that."""
    over = list(Alert.objects.filter(kind=CHANNEL_DEGRADED, healed_at=None, seen_at__lt=Now() - HEALS_AFTER))
    for alert in over:
        Alert.objects.filter(pk=alert.pk).update(healed_at=Now())
        log.warning("alert %s: healed", alert.pk)
        for level in range(alert.level + 1):
            _tell(alert, f"healed-{level}", {**alert.metadata, "state": "recovered"}, level)
    return len(over)


def _escalate() -> int:
    """What nobody has acknowledged in time goes to the next group of its type, and so on."""
    late = open_alerts().filter(told_at__lt=Now() - settings.ESCALATE_AFTER)
    number = 0
    for alert in late.select_for_update():
        kind = event_types().get(alert.kind)
        if kind is None or alert.level >= len(kind.escalation):
            continue
        level = alert.level + 1
        Alert.objects.filter(pk=alert.pk).update(level=level, told_at=Now())
        log.warning("alert %s: nobody acknowledged it, %s is told", alert.pk, kind.escalation[level - 1])
        number += _tell(alert, f"level-{level}", alert.metadata, level)
    return number


def _tell(alert: Alert, step: str, metadata: Mapping[str, Any], level: int = 0) -> int:
    """Record the event for the group of this level; how many members there are."""
    kind = event_types().get(alert.kind)
    if kind is None:
        return 0
    if level:
        kind = replace(kind, group=kind.escalation[level - 1])
    told = {**metadata, "url": f"{settings.PUBLIC_URL}{reverse('admin:notifier_alert_changelist')}"}
    trigger = Trigger(kind, told, idempotency_key=f"{ORIGIN}:{alert.pk}:{step}", origin={ORIGIN: str(alert.pk)})
    try:
        return len(record(trigger, "notifier"))
    except TriggerError as error:
        log.warning("alert %s: not told: %s", alert.pk, type(error).__name__)
        return 0


def _sum(minutes: Iterable[Mapping[Key, int]]) -> Counter[Key]:
    total: Counter[Key] = Counter()
    for counts in minutes:
        total.update(counts)
    return total


def _alone() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [WATCH_LOCK])
        return bool(cursor.fetchone()[0])
