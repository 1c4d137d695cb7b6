"""What the generated events are made of: typed fields in Python's names, and their JSON in the API's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import date
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

#: Money and quantities: a Decimal travels as text, so that no digit is lost.
Amount = Decimal | int | float | str


@dataclass(frozen=True, kw_only=True)
class Payload:
    """A JSON object with known fields; None is left out."""

    def as_json(self) -> dict[str, Any]:
        """In the API's names: {"orderId": "ORD1", "items": [{"name": "Lamp"}]}. Raises TypeError, naming the field."""
        given = {one.name: getattr(self, one.name) for one in fields(self)}
        return {camel(name): to_json(value, name) for name, value in given.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class Event(Payload):
    """Something that happened to an order. `extra`: further metadata, in the API's names, stored and not used."""

    event_type: ClassVar[str]
    extra: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The trigger's metadata."""
        known = super().as_json()
        return {**known.pop("extra"), **known}


def camel(name: str) -> str:
    """order_id -> orderId."""
    first, *further = name.split("_")
    return first + "".join(part.capitalize() for part in further)


def to_json(value: Any, at: str = "metadata") -> Any:
    """What JSON can hold: amounts and ids as text, dates in ISO 8601. Raises TypeError, naming the field."""
    match value:
        case Payload():
            return value.as_json()
        case None | bool() | int() | float() | str():
            return value
        case Decimal() | UUID():
            return str(value)
        case date():  # a datetime is one
            return value.isoformat()
        case Mapping():
            return {str(name): to_json(inner, f"{at}.{name}") for name, inner in value.items()}
        case Sequence() if not isinstance(value, bytes | bytearray):
            return [to_json(inner, f"{at}.{place}") for place, inner in enumerate(value)]
    raise TypeError(f"{at}: a {type(value).__name__} has no place in JSON")
