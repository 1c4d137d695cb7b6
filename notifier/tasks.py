"""The Celery tasks: thin, they publish what the verbs return. The only module here that knows Celery."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any
from uuid import UUID

from celery import Signature, Task, chord, shared_task
from celery.exceptions import Reject, Retry
from django.conf import settings
from django.db import InterfaceError, OperationalError
from kombu import Connection, pools
from kombu.exceptions import OperationalError as BrokerError
from redis import RedisError

from channels import registry
from channels.errors import ProviderUnavailable
from notifier import deliver as delivering
from notifier import dispatch as dispatching
from notifier import doorbell, failpoints, liveness, pauses, pressure, retention, sweep, synthetic, tally, warm, watch
from notifier import settle as settling
from notifier.dispatch import Lane, Round
from notifier.measures import DATABASE, ERRORS, REDIS, REPAIRS, ROUND, SEND
from notifier.quick_redis import quick_redis
from notifier.refusal import UNSTORABLE, Refusal, bury, record_each, type_named
from notifier.sources import check_source
from notifier.trigger import InvalidTrigger, Trigger, TriggerError, check_size, parse

log = logging.getLogger(__name__)

URGENT = "urgent"
SWEEP_BUDGET = 4.0  # seconds: the next repair scan comes after five
PUBLISH_PATIENCE = 0.15  # seconds for a connection of the doorbell's, and again for its answer

#: The database is away for a moment: what a task was to do in it, it does a little later.
DATABASE_AWAY = (OperationalError, InterfaceError)
REDIS_AWAY = (RedisError, BrokerError)


class CountingTask(Task):  # type: ignore[type-arg] # Celery's own cannot be subscripted
    """Writes at its end what was counted meanwhile; so it costs one command a task, after the chord has gone on."""

    def after_return(self, _status: str, retval: Any, *_: Any) -> None:
        """`retval` is the error where the task failed, or is to be tried again."""
        cause = retval.exc if isinstance(retval, Retry) else retval
        if isinstance(cause, DATABASE_AWAY):
            tally.count(ERRORS, DATABASE)
        elif isinstance(cause, REDIS_AWAY):
            tally.count(ERRORS, REDIS)
        tally.flush()


class ReliableTask(CountingTask):
    """A retry that cannot be published goes back to the queue: Celery alone would delete the message."""

    Request = "config.consumer:QuietRequest"  # by name, as Celery takes it: the worker's class, of no use elsewhere

    def retry(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().retry(*args, **kwargs)
        except Reject as error:
            raise Reject(error.args[0] if error.args else None, requeue=True) from error

    def apply_async(self, *args: Any, **kwargs: Any) -> Any:
        failpoints.hit(f"publish.{self.name.removeprefix('notifier.')}")
        return super().apply_async(*args, **kwargs)


class SettlingTask(ReliableTask):
    """Rides over a restart of the database."""

    autoretry_for = DATABASE_AWAY
    max_retries = 5
    retry_backoff = 1
    retry_backoff_max = 10


def ring() -> None:
    """Tell dispatch that something is due. Gives up within 0.3 s and never raises: Beat looks every second anyway."""
    if not doorbell.press():
        return
    try:
        with pools.producers[_doorbell_connection()].acquire(block=True, timeout=PUBLISH_PATIENCE) as producer:
            dispatch.apply_async(producer=producer, retry=False)
    except (BrokerError, OSError, ConnectionError, TimeoutError) as error:
        quick_redis.rest(error)


@cache
def _doorbell_connection() -> Connection:
    patience = {"socket_timeout": PUBLISH_PATIENCE, "socket_connect_timeout": PUBLISH_PATIENCE, "max_retries": 0}
    return Connection(settings.REDIS_URL, transport_options={**settings.BROKER_TRANSPORT_OPTIONS, **patience})


@shared_task(name="notifier.trigger", bind=True, base=ReliableTask)
def trigger(
    self: Task[Any, Any],
    event_type: str,
    user_id: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    idempotency_key: str | None = None,
    recipient: Mapping[str, str] | None = None,
) -> None:
    """Record an event for a Celery caller. Without a key the task's id is the key: the message may come twice.

    What cannot be recorded is kept as a dead letter; with the database away the message goes back.
    """
    given = {"event_type": event_type, "user_id": user_id, "metadata": metadata, "recipient": recipient}
    _take(self, [_body({**given, "idempotency_key": idempotency_key}, self.request.id)])


@shared_task(name="notifier.trigger_many", bind=True, base=ReliableTask)
def trigger_many(self: Task[Any, Any], events: Any) -> None:
    """The same for up to about 1,000 in one message, each a mapping of what `trigger` takes; one bad stops no other.

    An event without a key has the task's id and its place as key: "{id}:0" and so on.
    """
    given = events if isinstance(events, list) else [events]
    _take(self, [_body(event, f"{self.request.id}:{place}") for place, event in enumerate(given)])


def _body(given: Any, key: str | None) -> Any:
    """A trigger's body, in the API's names; what is no mapping stays as it is, and is refused."""
    if not isinstance(given, Mapping):
        return given
    names = {"event_type": "eventType", "user_id": "userId", "idempotency_key": "idempotencyKey"}
    body = {names.get(name, name): value for name, value in given.items()}
    return {**body, "metadata": body.get("metadata") or {}, "idempotencyKey": body.get("idempotencyKey") or key}


def _take(task: Task[Any, Any], bodies: Sequence[Any]) -> None:
    parsed = [_parsed(body, {"task": str(task.request.id)}) for body in bodies]
    accepted = [trigger for trigger in parsed if isinstance(trigger, Trigger)]
    try:
        recorded = iter(record_each(accepted, settings.CELERY_SOURCE))
        for body, found in zip(bodies, parsed, strict=True):
            outcome = next(recorded) if isinstance(found, Trigger) else found
            if isinstance(outcome, TriggerError):
                bury(settings.CELERY_SOURCE, [Refusal(_payload(body), type_named(body), outcome)])
    except DATABASE_AWAY as error:
        raise task.retry(exc=error, countdown=5, max_retries=None) from error
    if accepted:
        ring()


def _parsed(body: object, origin: Mapping[str, str]) -> Trigger | TriggerError:
    try:
        check_size(body)
        found = parse(body, origin=origin)
        check_source(settings.CELERY_SOURCE, found)
    except TriggerError as error:
        return error
    except ValueError:  # half of a surrogate pair, or what no JSON holds: Celery gives a date back as a date
        return InvalidTrigger(UNSTORABLE)
    return found


def _payload(body: Any) -> bytes:
    """What is kept of a refused trigger; nothing of one too deep."""
    try:
        return json.dumps(body, default=str).encode()  # orjson refuses some of what is refused
    except RecursionError:
        return b""


@shared_task(name="notifier.dispatch", base=CountingTask)
def dispatch() -> None:
    """Start a round for what is due, urgent first; ring again where more may be waiting."""
    doorbell.release()
    lanes = dispatching.lanes_due()
    if not lanes:
        return
    full = pressure.full({queue for queues in _queues().values() for queue in queues})
    more = False
    for lane in lanes:
        waits = {name: full[queue] for name in registry.names() if (queue := _queue(name, lane)) in full}
        if waits:
            pressure.hold(lane.name)
        if len(waits) == len(registry.names()) or pressure.crowded(waits):
            continue
        started = dispatching.dispatch(lane, set(registry.names()) - set(waits))
        _publish(started)
        more |= started.full
    if more:
        ring()


def _queue(channel: str, lane: Lane = Lane.STANDARD) -> str:
    """Where a channel's deliver tasks of a lane wait."""
    return URGENT if lane is Lane.URGENT else channel.lower()


def _queues() -> dict[str, set[str]]:
    """Where the deliver tasks of each lane wait."""
    return {lane.name: {_queue(name, lane) for name in registry.names()} for lane in Lane}


def _publish(started: Round) -> None:
    """One chord for the claimed batch. Its body runs after the headers, and also when one of them broke."""
    if not started.events:
        return
    body = settle.si(started.events)
    header = [*_messages(started.deliveries, started.lane), *_messages(started.alone, started.lane, alone=True)]
    if header:
        chord(header, body.on_error(settle.si(started.events))).apply_async()
    else:
        body.apply_async()


def _messages(deliveries: Mapping[str, list[str]], lane: Lane, **options: bool) -> list[Signature]:
    urgent = {"urgent": True} if lane is Lane.URGENT else {}
    return [
        deliver.si(channel, ids, **urgent, **options).set(queue=_queue(channel, lane))
        for channel, ids in deliveries.items()
    ]


@shared_task(
    name="notifier.deliver",
    bind=True,
    base=ReliableTask,
    autoretry_for=(ProviderUnavailable, *DATABASE_AWAY),
    max_retries=2,
    retry_backoff=1,
    retry_backoff_max=8,
    retry_jitter=True,
)
def deliver(
    self: Task[Any, Any], channel: str, ids: Sequence[str], *, urgent: bool = False, alone: bool = False
) -> None:
    """Send these deliveries. Raises only to be tried again: a chord whose header fails never runs its body."""
    retries: int = self.request.retries
    # urgent messages do not wait for this provider: they fall back sooner
    last_run = urgent or retries >= (self.max_retries or 0)
    report = delivering.deliver(
        channel, [UUID(i) for i in ids], urgent=urgent, alone=alone, again=retries > 0, last_run=last_run
    )
    if report.failed:
        fall_back.delay(sorted(report.failed))
    if pressure.relieved(_queues()):
        ring()
    if report.unreachable:
        raise ProviderUnavailable(f"{channel}: nothing went out, trying again")


@shared_task(name="notifier.settle", base=SettlingTask)
def settle(rounds: Sequence[tuple[str, int]]) -> None:
    """The chord's body, its errback, and the sweeper's: decide from the rows what became of these events."""
    if settling.settle([(UUID(event), number) for event, number in rounds]):
        ring()


@shared_task(name="notifier.fall_back", base=SettlingTask)
def fall_back(rounds: Sequence[tuple[str, int]]) -> None:
    """A delivery failed for good: start its fallback now, while the rest of its round is still in flight."""
    if settling.settle([(UUID(event), number) for event, number in rounds], early=True):
        ring()


@shared_task(name="notifier.sweep", base=CountingTask)
def repair() -> None:
    """Beat's repair scan: until nothing is left to repair, or the next one is due."""
    losses, ends = liveness.losses(), time.monotonic() + SWEEP_BUDGET
    if losses:
        log.warning("lost: %s; no round in flight is waited for", ", ".join(losses))
    swept = sweep.sweep(messages_lost=bool(losses))
    while _repaired(swept) and swept.more and time.monotonic() < ends:
        swept = sweep.sweep()
    if pauses.end_pauses():
        ring()


def _repaired(swept: sweep.Swept) -> bool:
    if not (swept.freed or swept.lost_rounds):
        return False
    log.warning("sweeper: %d sends freed, %d rounds recovered", swept.freed, len(swept.lost_rounds))
    tally.count(REPAIRS, SEND, number=swept.freed)
    tally.count(REPAIRS, ROUND, number=len(swept.lost_rounds))
    settling.settle(swept.lost_rounds)
    ring()
    return True


@shared_task(name="notifier.warm")
def warm_people() -> None:
    """A worker's that has just started: Redis may be as new as it is."""
    warm.warm()


@shared_task(name="notifier.watch")
def look_at_providers() -> None:
    """Beat's, every ten seconds: is staff to be told of something?"""
    if watch.watch():
        ring()


@shared_task(name="notifier.synthetic")
def follow_synthetic_customer() -> None:
    """Beat's, once a minute: did the synthetic customer get what was sent, and is it time to send again?"""
    if synthetic.look():
        ring()


@shared_task(name="notifier.retention", base=SettlingTask)
def delete_old() -> None:
    """Beat's, each hour: a short run. Where more is left, the next one queues up behind what is under way."""
    if retention.delete_old().more:
        delete_old.delay()
