"""A trigger: what happened, for whom, and the key that makes telling it twice harmless."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from notifier_client.payload import Event, Payload, to_json


@dataclass(frozen=True, kw_only=True)
class Guest(Payload):
    """Somebody without an account: an email address, a phone number with its country code, or both."""

    email: str | None = None
    phone: str | None = None
    locale: str | None = None
    time_zone: str | None = None


def _new_key() -> str:
    return str(uuid4())


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """One call, whichever way it goes. The key is made once and kept: the same object may be sent again.

    Exactly one of `user_id` and `recipient`, or neither for a type that goes to staff. Made directly it takes any
    event type; `of` takes a generated event.
    """

    event_type: str
    metadata: Mapping[str, Any]
    user_id: UUID | str | None = None
    recipient: Mapping[str, str] | None = None
    idempotency_key: str = field(default_factory=_new_key)

    @classmethod
    def of(
        cls,
        event: Event,
        *,
        user_id: UUID | str | None = None,
        recipient: Guest | None = None,
        idempotency_key: str | None = None,
    ) -> Trigger:
        """Raises TypeError where the event holds what JSON cannot."""
        return cls(
            event_type=event.event_type,
            metadata=event.as_json(),
            user_id=user_id,
            recipient=recipient.as_json() if recipient else None,
            idempotency_key=_new_key() if idempotency_key is None else idempotency_key,
        )

    @property
    def order_id(self) -> str:
        """Of which order it tells; empty where of none."""
        return str(self.metadata.get("orderId") or "")

    def as_json(self) -> dict[str, Any]:
        """The body of POST /notifications/trigger (docs/api.md); the same goes to a bus."""
        body = {
            "eventType": self.event_type,
            "userId": self.user_id,
            "recipient": self.recipient,
            "metadata": self.metadata,
            "idempotencyKey": self.idempotency_key,
        }
        return {name: to_json(value, name) for name, value in body.items() if value is not None}

    def as_arguments(self) -> dict[str, Any]:
        """The arguments of the Celery task `notifier.trigger`."""
        names = {"eventType": "event_type", "userId": "user_id", "idempotencyKey": "idempotency_key"}
        return {names.get(name, name): value for name, value in self.as_json().items()}
