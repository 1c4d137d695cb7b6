"""A batch from a bus becomes events and dead letters, in one transaction: all of it is stored, or nothing is."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from django.db import transaction

from notifier import failpoints
from notifier.events_in.bus import Incoming, Refused
from notifier.events_in.decode import decode, event_attributes
from notifier.querysets.sql import storable
from notifier.record import Recorded
from notifier.refusal import Refusal, bury, record_each, type_named
from notifier.sources import check_source
from notifier.trigger import InvalidTrigger, Trigger, TriggerError, parse

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Taken:
    """What became of messages: how many are new events, how many came before, and those that are dead letters."""

    recorded: int = 0
    repeated: int = 0
    refused: list[Refused] = field(default_factory=list)


def take(batch: Sequence[Incoming], source: str) -> Taken:
    """Record what is a trigger under its key (`idempotencyKey`, else a CloudEvent's, else the message's own).

    What is none, is not allowed to the source, or names an unknown user is buried with its bytes. The caller rings the
    doorbell, then commits on the bus. Raises django.db.Error where the database is away; then nothing is stored.
    """
    read = [_read(message, source) for message in batch]
    failpoints.hit("bus.read")
    with transaction.atomic():
        taken = _store(batch, read, source)
    failpoints.hit("bus.stored")
    return taken


def _store(batch: Sequence[Incoming], read: Sequence[Trigger | Refusal], source: str) -> Taken:
    taken, refusals = Taken(), []
    recorded = iter(record_each([found for found in read if isinstance(found, Trigger)], source))
    for message, found in zip(batch, read, strict=True):
        outcome = found if isinstance(found, Refusal) else _outcome(message, found, next(recorded))
        if isinstance(outcome, Refusal):
            refusals.append(outcome)
            taken.refused.append(Refused(message, outcome.cause, outcome.problem))
        elif outcome and not any(event.created for event in outcome):
            taken.repeated += 1
        else:
            taken.recorded += 1
    if refusals:
        bury(source, refusals)
    return taken


def _read(message: Incoming, source: str) -> Trigger | Refusal:
    body = None
    try:
        body, event_key = decode(message.body, message.headers)
        age = max(0.0, time.time() - message.published_at) if message.published_at else 0.0
        found = parse(body, origin=message.place, fallback_key=event_key or message.key, age=age)
        check_source(source, found)
    except TriggerError as error:
        return _refusal(message, type_named(body), error)
    except Exception as error:  # noqa: BLE001 - a fault of ours at one message must not stop all that come after it
        log.error("%s cannot be read: %s", message.key, type(error).__name__)
        return _refusal(message, type_named(body), InvalidTrigger(f"It cannot be read: {type(error).__name__}."))
    return found


def _outcome(message: Incoming, trigger: Trigger, outcome: list[Recorded] | TriggerError) -> list[Recorded] | Refusal:
    return _refusal(message, trigger.event_type.name, outcome) if isinstance(outcome, TriggerError) else outcome


def _refusal(message: Incoming, event_type: str, error: TriggerError) -> Refusal:
    """With those headers alone that it is read by: others may hold anything."""
    headers = {f"ce_{name}": storable(value, 500) for name, value in event_attributes(message.headers).items()}
    origin = {**message.place, **({"headers": headers} if headers else {})}
    return Refusal(message.body, event_type, error, message.key, origin)
