"""Validate a trigger and write its event down: one short transaction, after which nothing is lost.

One path for HTTP, Celery callers and buses: `parse` takes the trigger's body as JSON gave it, `record` stores it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any
from uuid import UUID

import orjson
from django.core.exceptions import ValidationError
from django.db import transaction
from jsonschema_rs import Draft202012Validator
from jsonschema_rs import ValidationError as SchemaError

from notifier.catalogue import Audience, EventType, event_types
from notifier.models import NotificationEvent, new_id
from notifier.querysets.events import Likeness, NewEvent
from notifier.states import EventStatus
from preferences import resolve
from preferences.addresses import clean_guest

FIELDS = frozenset({"eventType", "userId", "recipient", "metadata", "idempotencyKey"})
KEY_LIMIT = 255
SIZE_LIMIT = 64 * 1024  # bytes of a trigger as JSON
# of metadata, also of what no schema knows
TEXT_LIMIT = 10_000  # characters
NAME_LIMIT = 100  # characters
NAMES_LIMIT = 100  # in an object
DEPTH_LIMIT = 8  # objects and lists within each other, the metadata itself included


class TriggerError(ValueError):
    """A trigger that cannot be recorded. `fields` says what is wrong, by field; nothing was written."""

    code: str = "INVALID"

    def __init__(self, message: str, fields: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.fields = dict(fields or {})


class InvalidTrigger(TriggerError):  # noqa: N818 - named after what the caller reads
    """The body is not a trigger of its event type."""


class OutOfBounds(TriggerError):  # noqa: N818
    """Larger, deeper or longer than anything that is taken. `code` says which."""

    def __init__(self, code: str, message: str, fields: Mapping[str, str] | None = None) -> None:
        super().__init__(message, fields)
        self.code = code


class UnknownUser(TriggerError):  # noqa: N818
    """No active user has that id."""

    code = "UNKNOWN_USER"


class KeyConflict(TriggerError):  # noqa: N818
    """The idempotency key was used with another body."""

    code = "IDEMPOTENCY_CONFLICT"


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger that fits its event type. Exactly one of `user_id` and `recipient`, or neither for a staff type."""

    event_type: EventType
    metadata: Mapping[str, Any]
    user_id: UUID | None = None
    recipient: Mapping[str, str] | None = None
    idempotency_key: str | None = None

    @property
    def recipient_key(self) -> str:
        """Names the user or the guest, without showing an address; empty for staff."""
        if self.user_id:
            return str(self.user_id)
        return _guest_key(self.recipient) if self.recipient else ""

    @property
    def body_hash(self) -> bytes:
        """SHA-256 of the body as canonical JSON, without the key: the same key must come with the same body."""
        body = [self.event_type.name, self.user_id and str(self.user_id), self.recipient, self.metadata]
        return hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).digest()


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event in the ledger; `created` is False when the same trigger had come before."""

    event_id: UUID
    status: str
    created: bool


def parse(body: object, *, idempotency_key: str | None = None) -> Trigger:
    """A trigger from a decoded JSON body; a key given apart (a header) wins over the body's own.

    Raises InvalidTrigger or OutOfBounds, with what is wrong by field.
    """
    if not isinstance(body, Mapping):
        raise InvalidTrigger("The body must be a JSON object.")
    if unknown := sorted(str(name) for name in body.keys() - FIELDS):
        raise InvalidTrigger("Unknown field.", dict.fromkeys(unknown, "Unknown field."))
    event_type = _event_type(body.get("eventType"))
    user_id, recipient = _addressee(event_type, body)
    return Trigger(
        event_type=event_type,
        metadata=_metadata(event_type, body.get("metadata", {})),
        user_id=user_id,
        recipient=recipient,
        idempotency_key=_key(idempotency_key if idempotency_key is not None else body.get("idempotencyKey")),
    )


def check_size(body: object) -> None:
    """Raises OutOfBounds for a decoded body that is too large; where its bytes came in, they are measured instead."""
    try:
        size = len(orjson.dumps(body))
    except orjson.JSONEncodeError:
        return  # `parse` says what is wrong with it
    if size > SIZE_LIMIT:
        raise OutOfBounds("TOO_LARGE", f"The trigger is larger than {SIZE_LIMIT // 1024} KiB.")


def record(trigger: Trigger, source: str) -> list[Recorded]:
    """Write one trigger down: one event, or for a staff type one a member of its group.

    Raises UnknownUser or KeyConflict; then nothing was written. The caller rings the doorbell after the commit.
    """
    results = record_many([trigger], source)[0]
    if isinstance(results, TriggerError):
        raise results
    return results


def record_many(triggers: Sequence[Trigger], source: str) -> list[list[Recorded] | TriggerError]:
    """The same for many in one statement; a trigger that is refused does not stop the others."""
    known = resolve.existing({t.user_id for t in triggers if t.user_id})
    rows = [_rows(trigger, known) for trigger in triggers]
    wanted = [row for some in rows if not isinstance(some, TriggerError) for row in some]
    if any(trigger.event_type.dedupe_within for trigger in triggers):
        with transaction.atomic():  # others with the same wait until it is there
            seen = _insert_once(source, wanted)
    else:
        seen = _insert(source, wanted)
    return [some if isinstance(some, TriggerError) else _recorded(some, seen) for some in rows]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What became of rows: the ids that are new; by key, events that came before; by id, those that say the same."""

    created: set[UUID]
    stored: Mapping[str, tuple[UUID, str, bytes]]
    alike: Mapping[UUID, tuple[UUID, str]] = field(default_factory=dict)


def _insert(source: str, wanted: Sequence[NewEvent]) -> _Seen:
    created = NotificationEvent.objects.insert_new(source, wanted)
    repeated = [row.idempotency_key for row in wanted if row.idempotency_key and row.id not in created]
    return _Seen(created, _stored(source, repeated) if repeated else {})


def _insert_once(source: str, wanted: Sequence[NewEvent]) -> _Seen:
    """The same, without rows that say what another event, or an earlier row, has said not long ago.

    A key that came before goes first: it is answered with its own event, or as a conflict.
    """
    likenesses = {row.id: found for row in wanted if (found := _likeness(row))}
    first = NotificationEvent.objects.lock_alike(set(likenesses.values()))
    keys = [row.idempotency_key for row in wanted if row.id in likenesses and row.idempotency_key]
    taken: set[str | None] = set(_stored(source, keys)) if keys else set()
    fresh: dict[UUID, NewEvent] = {}
    alike: dict[UUID, tuple[UUID, str]] = {}
    for row in wanted:
        likeness = likenesses.get(row.id)
        if row.idempotency_key not in taken:
            if likeness and likeness in first:
                alike[row.id] = first[likeness]
                continue
            if likeness:
                first[likeness] = (row.id, EventStatus.QUEUED)
        fresh[row.id] = row
        if row.idempotency_key:
            taken.add(row.idempotency_key)
    seen = _insert(source, list(fresh.values()))
    return replace(seen, alike={row_id: _where(found, fresh, seen) for row_id, found in alike.items()})


def _where(found: tuple[UUID, str], fresh: Mapping[UUID, NewEvent], seen: _Seen) -> tuple[UUID, str]:
    """The event that a row is like. A row before it may have met its key, which somebody used at the same moment."""
    row = fresh.get(found[0])
    if row is None or row.id in seen.created or row.idempotency_key is None:
        return found
    event_id, status, _ = seen.stored[row.idempotency_key]
    return event_id, status


def _likeness(row: NewEvent) -> Likeness | None:
    within = event_types()[row.event_type].dedupe_within
    if not within or not row.order_id:
        return None
    shipment_id = str(row.metadata.get("shipmentId") or "")
    return Likeness(row.event_type, row.order_id, row.recipient_key, shipment_id, within.total_seconds())


def record_for_staff(event_type: str, metadata: Mapping[str, Any], *, source: str, idempotency_key: str) -> int:
    """Record a staff event of our own; how many were new."""
    trigger = Trigger(event_types()[event_type], metadata, idempotency_key=idempotency_key)
    found = record_many([trigger], source)[0]
    return 0 if isinstance(found, TriggerError) else sum(recorded.created for recorded in found)


def _event_type(name: object) -> EventType:
    if not isinstance(name, str) or name not in event_types():
        problem = "Required." if name is None else f"Unknown event type; there are {', '.join(event_types())}."
        raise InvalidTrigger("Unknown event type.", {"eventType": problem})
    return event_types()[name]


def _addressee(event_type: EventType, body: Mapping[str, Any]) -> tuple[UUID | None, Mapping[str, str] | None]:
    user_id, recipient = body.get("userId"), body.get("recipient")
    if event_type.audience is Audience.STAFF:
        if given := [name for name in ("userId", "recipient") if body.get(name) is not None]:
            problem = f"{event_type.name} goes to the staff group {event_type.group!r}; leave this out."
            raise InvalidTrigger("A staff type names no recipient.", dict.fromkeys(given, problem))
        return None, None
    if (user_id is None) == (recipient is None):
        problem = "Give either userId or recipient."
        raise InvalidTrigger(problem, {"userId": problem})
    if recipient is not None:
        return None, _guest(recipient)
    return _uuid(user_id), None


def _guest(recipient: object) -> Mapping[str, str]:
    if not isinstance(recipient, Mapping):
        raise InvalidTrigger("recipient must be an object.", {"recipient": "Must be an object."})
    try:
        return clean_guest(recipient)
    except ValidationError as error:
        fields = {f"recipient.{name}": " ".join(texts) for name, texts in error.message_dict.items()}
        raise InvalidTrigger("The recipient cannot be used.", fields) from error


def _uuid(value: object) -> UUID:
    try:
        return UUID(str(value))
    except ValueError as error:
        raise InvalidTrigger("userId must be a UUID.", {"userId": "Must be a UUID."}) from error


def _metadata(event_type: EventType, metadata: object) -> Mapping[str, Any]:
    errors = dict(map(_problem, _validator(event_type.name).iter_errors(metadata)))
    if errors:
        raise InvalidTrigger(f"The metadata does not fit {event_type.name}.", errors)
    if not _bounds().is_valid(metadata):
        raise _out_of_bounds(next(_bounds().iter_errors(metadata)))
    assert isinstance(metadata, Mapping)  # noqa: S101 - every schema is of an object
    return metadata


def _out_of_bounds(error: SchemaError) -> OutOfBounds:
    code, problem = {
        "maxLength": ("TEXT_TOO_LONG", f"At most {TEXT_LIMIT} characters."),
        "propertyNames": ("TEXT_TOO_LONG", f"Names have at most {NAME_LIMIT} characters."),
        "maxProperties": ("TOO_MANY_KEYS", f"At most {NAMES_LIMIT} keys in an object."),
    }.get(error.kind.name, ("TOO_DEEP", f"At most {DEPTH_LIMIT} objects and lists within each other."))
    # what leads there may be a name that is too long itself
    path = ".".join(["metadata", *(str(step)[:NAME_LIMIT] for step in error.instance_path)])
    return OutOfBounds(code, "The metadata goes beyond what is taken.", {path: problem})


def _problem(error: SchemaError) -> tuple[str, str]:
    """(field, what is wrong with it); never the value itself."""
    path = ".".join(["metadata", *map(str, error.instance_path)])
    keyword, expected = error.kind.name, error.kind.value
    if keyword == "required":
        return f"{path}.{expected}", "Required."
    if keyword == "type":
        expected = expected[0] if len(expected) == 1 else expected
    return path, {
        "type": f"Must be of type {expected}.",
        "pattern": f"Must match {expected}.",
        "maxLength": f"At most {expected} characters.",
        "minLength": "Must not be empty.",
        "maxItems": f"At most {expected} items.",
    }.get(keyword, f"Does not meet {keyword}.")


@cache
def _bounds() -> Draft202012Validator:
    """What all metadata must keep to, each level with a schema of its own: checked in Rust, in a few microseconds."""
    levels: dict[str, dict[str, Any]] = {
        "0": {"type": ["string", "number", "boolean", "null"], "maxLength": TEXT_LIMIT}
    }
    for level in range(1, DEPTH_LIMIT + 1):
        inner = {"$ref": f"#/$defs/{level - 1}"}
        bounds = {"maxLength": TEXT_LIMIT, "maxProperties": NAMES_LIMIT, "propertyNames": {"maxLength": NAME_LIMIT}}
        levels[str(level)] = {**bounds, "additionalProperties": inner, "items": inner}
    return Draft202012Validator({"$defs": levels, "$ref": f"#/$defs/{DEPTH_LIMIT}"})


@cache
def _validator(event_type: str) -> Draft202012Validator:
    return Draft202012Validator(dict(event_types()[event_type].schema))


def _key(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= KEY_LIMIT:
        problem = f"Must be text of 1 to {KEY_LIMIT} characters."
        raise InvalidTrigger("The idempotency key cannot be used.", {"idempotencyKey": problem})
    return value


def _rows(trigger: Trigger, known: set[UUID]) -> list[NewEvent] | TriggerError:
    if trigger.event_type.audience is Audience.STAFF:
        members = resolve.members(trigger.event_type.group)
        key = trigger.idempotency_key
        return [_row(trigger, member, f"{key}:{member}" if key else None) for member in members]
    if trigger.user_id and trigger.user_id not in known:
        return UnknownUser("No such user.", {"userId": "Unknown user."})
    return [_row(trigger, trigger.user_id, trigger.idempotency_key)]


def _row(trigger: Trigger, user_id: UUID | None, key: str | None) -> NewEvent:
    event_type = trigger.event_type
    return NewEvent(
        id=new_id(),
        idempotency_key=key,
        body_hash=trigger.body_hash,
        event_type=event_type.name,
        priority=event_type.priority,
        stage=event_type.stage,
        user_id=user_id,
        recipient=trigger.recipient,
        recipient_key=trigger.recipient_key or str(user_id),
        order_id=trigger.metadata.get("orderId", ""),
        metadata=trigger.metadata,
        time_to_live=event_type.time_to_live.total_seconds(),
    )


def _guest_key(recipient: Mapping[str, str]) -> str:
    """Names a guest without showing an address: later events of the same order supersede earlier ones by it."""
    addresses = f"{recipient.get('email', '').lower()}|{recipient.get('phone', '')}"
    return hashlib.sha256(addresses.encode()).hexdigest()


def _stored(source: str, keys: Sequence[str]) -> dict[str, tuple[UUID, str, bytes]]:
    found = NotificationEvent.objects.filter(source=source, idempotency_key__in=keys)
    rows = found.values_list("idempotency_key", "id", "status", "body_hash")
    return {key: (event_id, status, bytes(body_hash)) for key, event_id, status, body_hash in rows if key}


def _recorded(rows: Sequence[NewEvent], seen: _Seen) -> list[Recorded] | TriggerError:
    results = []
    for row in rows:
        if row.id in seen.alike:
            results.append(Recorded(*seen.alike[row.id], created=False))
            continue
        if row.idempotency_key is None or row.id in seen.created:
            results.append(Recorded(row.id, EventStatus.QUEUED, created=True))
            continue
        event_id, status, body_hash = seen.stored[row.idempotency_key]
        if body_hash != row.body_hash:
            problem = "This key came before with another body."
            return KeyConflict(problem, {"idempotencyKey": problem})
        results.append(Recorded(event_id, status, created=False))
    return results
