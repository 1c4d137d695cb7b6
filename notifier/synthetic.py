"""The synthetic customer: a test user who gets one event of every customer type, again and again, by the real path.

Whether it arrives, and in time, is what no look at parts can say. The user is settings.SYNTHETIC_USER, whose addresses
are a provider's test ones or the shop's own; without one there is none. Results are kept in Redis: the next run brings
new.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from uuid import UUID

import orjson
import redis
from django.conf import settings
from django.utils import timezone

from notifier.catalogue import Audience, EventType, event_types
from notifier.models import NotificationEvent
from notifier.quick_redis import quick_redis
from notifier.record import record_many
from notifier.states import ACCEPTED, LOST, SETTLED, EventStatus
from notifier.trigger import Trigger

SOURCE = "synthetic"
RUN, RESULTS = "notifier:synthetic:run", "notifier:synthetic:results"
KEPT = timedelta(hours=1)
STALE = 3  # runs without a result, after which the last one says nothing any more


@dataclass(frozen=True, slots=True)
class Result:
    """What became of an event. `seconds`: from the record until the last provider's acceptance, None: never."""

    ok: bool
    seconds: float | None
    reason: str = ""


def look() -> bool:
    """Judge the run before, and begin the next one when it is time; was anything recorded? Once a minute by Beat."""
    if not settings.SYNTHETIC_USER:
        return False
    now = timezone.now().timestamp()
    begun = quick_redis.ask(lambda client: client.get(RUN), lambda: None)
    began = float(begun) if begun else 0.0
    if began:
        _judge(began, now - began)
    if now - began < settings.SYNTHETIC_EVERY.total_seconds():
        return False
    _begin(now)
    return quick_redis.ask(lambda client: bool(client.set(RUN, now, ex=KEPT)), lambda: False)


def results(client: redis.Redis) -> Mapping[str, Result]:
    """The last known by event type; none without a user, and when they are stale. Raises redis.RedisError."""
    text = client.get(RESULTS) if settings.SYNTHETIC_USER else None
    found = orjson.loads(text) if isinstance(text, str | bytes) else {}
    return {name: Result(**told) for name, told in found.items()}


def types() -> list[EventType]:
    """Those for customers: staff are not to be called out for a test."""
    return [kind for kind in event_types().values() if kind.audience is Audience.CUSTOMER]


def _begin(now: float) -> None:
    record_many(
        [
            # an order of its own for each, as a later stage overtakes an earlier one
            Trigger(
                kind,
                {**kind.sample, "orderId": f"SYNTHETIC-{now:.0f}-{kind.name}"},
                user_id=UUID(settings.SYNTHETIC_USER),
                idempotency_key=_key(now, kind.name),
            )
            for kind in types()
        ],
        SOURCE,
    )


def _judge(began: float, age: float) -> None:
    keys = {_key(began, kind.name): kind.name for kind in types()}
    events = NotificationEvent.objects.filter(source=SOURCE, idempotency_key__in=keys).prefetch_related("deliveries")
    found = {keys[str(event.idempotency_key)]: _result(event) for event in events}
    found |= {name: Result(False, None, "not recorded") for name in keys.values() if name not in found}
    limit = settings.SYNTHETIC_WITHIN.total_seconds()
    if age < limit and not all(result.ok for result in found.values()):
        return  # it may still come
    text = orjson.dumps({name: asdict(result) for name, result in found.items()})
    kept = STALE * settings.SYNTHETIC_EVERY
    quick_redis.ask(lambda client: client.set(RESULTS, text, ex=kept), lambda: None)


def _result(event: NotificationEvent) -> Result:
    accepted = [d.sent_at for d in event.deliveries.all() if d.status in ACCEPTED and d.sent_at]
    seconds = round((max(accepted) - event.recorded_at).total_seconds(), 3) if accepted else None
    if event.status not in SETTLED:
        return Result(False, seconds, "not settled in time")
    # a channel that another one stood in for is broken all the same
    if lost := sorted(f"{d.channel} {d.status}" for d in event.deliveries.all() if d.status in LOST):
        return Result(False, seconds, ", ".join(lost))
    if event.status != EventStatus.SENT:
        return Result(False, seconds, event.status)
    late = seconds is None or seconds > settings.SYNTHETIC_WITHIN.total_seconds()
    return Result(not late, seconds, "too late" if late else "")


def _key(began: float, name: str) -> str:
    return f"{began:.3f}:{name}"
