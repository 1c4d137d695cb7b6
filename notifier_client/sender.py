"""What all ways to Notifier have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self
from uuid import UUID

from notifier_client.errors import NotifierError
from notifier_client.payload import Event
from notifier_client.trigger import Guest, Trigger


@dataclass(frozen=True, slots=True)
class Accepted:
    """It will not be lost. Over HTTP Notifier says which event it is, and whether it is a new one.

    `event_ids`: one; for a staff type one a member of its group; over Celery and Kafka none, since the event is
    recorded later.
    """

    idempotency_key: str
    event_ids: tuple[str, ...] = ()
    status: str = ""
    new: bool = True

    @property
    def event_id(self) -> str | None:
        """Of the one event; None where it is not known, or there are several."""
        return self.event_ids[0] if len(self.event_ids) == 1 else None


class Sender(ABC):
    """One way to Notifier. Safe to share between threads; a forked child makes its own."""

    @abstractmethod
    def send(self, trigger: Trigger) -> Accepted:
        """Send one. Raises Refused, NotAuthorised or Unavailable."""

    @abstractmethod
    def send_many(self, triggers: Sequence[Trigger]) -> list[Accepted | NotifierError]:
        """Send any number; one result each, in the order given, and a refused one stops no other.

        Raises NotAuthorised or Unavailable where the call as a whole failed. Some may have arrived by then: send the
        same triggers again.
        """

    def trigger(
        self,
        event: Event,
        *,
        user_id: UUID | str | None = None,
        recipient: Guest | None = None,
        idempotency_key: str | None = None,
    ) -> Accepted:
        """Tell of one event: for a user, for a guest, or for staff. Without a key one is made, and kept over retries.

        Raises Refused, NotAuthorised or Unavailable.
        """
        return self.send(Trigger.of(event, user_id=user_id, recipient=recipient, idempotency_key=idempotency_key))

    def close(self) -> None:
        """Let go of connections."""
        return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
