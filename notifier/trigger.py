"""What a trigger is: its body as JSON gave it, checked against its type and against bounds, or refused."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import UUID

import orjson
from django.core.exceptions import ValidationError
from jsonschema_rs import Draft202012Validator
from jsonschema_rs import ValidationError as SchemaError

from notifier.catalogue import Audience, EventType, event_types
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


class OutOfBounds(TriggerError):  # noqa: N818 - as above
    """Larger, deeper or longer than anything that is taken. `code` says which."""

    def __init__(self, code: str, message: str, fields: Mapping[str, str] | None = None) -> None:
        super().__init__(message, fields)
        self.code = code


class UnknownUser(TriggerError):  # noqa: N818 - as above
    """No active user has that id."""

    code = "UNKNOWN_USER"


class KeyConflict(TriggerError):  # noqa: N818 - as above
    """The idempotency key was used with another body."""

    code = "IDEMPOTENCY_CONFLICT"


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger that fits its event type. Exactly one of `user_id` and `recipient`, or neither for a staff type.

    `age`: seconds that it has waited on a bus; they count against the type's time to live.
    """

    event_type: EventType
    metadata: Mapping[str, Any]
    user_id: UUID | None = None
    recipient: Mapping[str, str] | None = None
    idempotency_key: str | None = None
    origin: Mapping[str, str | int] | None = None
    age: float = 0.0

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


def parse(
    body: object,
    *,
    idempotency_key: str | None = None,
    fallback_key: str | None = None,
    origin: Mapping[str, str | int] | None = None,
    age: float = 0.0,
) -> Trigger:
    """A trigger from a decoded JSON body; a key given apart (a header) wins over the body's own.

    `fallback_key` is taken where neither is given: a bus's message has one that names it. `age` is in seconds.

    `origin` says from where it came, as {"ip": "192.0.2.1"}, {"task": "…"} or its place on a bus; it is kept with the
    event.

    Raises InvalidTrigger or OutOfBounds, with what is wrong by field.
    """
    if not isinstance(body, Mapping):
        raise InvalidTrigger("The body must be a JSON object.")
    if unknown := sorted(str(name) for name in body.keys() - FIELDS):
        raise InvalidTrigger("Unknown field.", dict.fromkeys(unknown, "Unknown field."))
    event_type = _event_type(body.get("eventType"))
    user_id, recipient = _addressee(event_type, body)
    given, own = _key(idempotency_key), _key(body.get("idempotencyKey"))
    return Trigger(
        event_type=event_type,
        metadata=_metadata(event_type, body.get("metadata", {})),
        user_id=user_id,
        recipient=recipient,
        idempotency_key=(own if given is None else given) or fallback_key,
        origin=origin,
        age=age,
    )


def check_size(body: object) -> None:
    """Raises OutOfBounds for a decoded body that is too large; where its bytes came in, they are measured instead."""
    try:
        size = len(orjson.dumps(body))
    except orjson.JSONEncodeError:
        return  # `parse` says what is wrong with it
    if size > SIZE_LIMIT:
        raise OutOfBounds("TOO_LARGE", f"The trigger is larger than {SIZE_LIMIT // 1024} KiB.")


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
        return value if isinstance(value, UUID) else UUID(value)  # type: ignore[arg-type] # what is no text raises
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidTrigger("userId must be a UUID.", {"userId": "Must be a UUID."}) from error


def _metadata(event_type: EventType, metadata: object) -> Mapping[str, Any]:
    validator = _validator(event_type.name)
    if not validator.is_valid(metadata):  # a third of the time that it takes to look for errors
        errors = dict(map(_problem, validator.iter_errors(metadata)))
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


def _guest_key(recipient: Mapping[str, str]) -> str:
    """Names a guest without showing an address: later events of the same order supersede earlier ones by it."""
    addresses = f"{recipient.get('email', '').lower()}|{recipient.get('phone', '')}"
    return hashlib.sha256(addresses.encode()).hexdigest()
