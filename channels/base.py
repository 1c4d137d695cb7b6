"""The contract between the engine and a channel, and between a channel and its providers."""

from __future__ import annotations

import enum
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar, TypeAlias

from channels.errors import ChannelError, ProviderUnavailable

HAND_OVER = 2.5  # seconds after which no further provider is asked: two calls then still fit into a slice


class AddressKind(enum.StrEnum):
    """What a channel needs to reach a person."""

    EMAIL = "email"
    PHONE = "phone"
    DEVICE = "device"
    USER = "user"


@dataclass(frozen=True, slots=True)
class Message:
    """One rendered message to one address. A push delivery to three devices is three messages.

    `address` is personal data: it never goes into a log. `address_id` names it there (a device's id), and is
    empty where a delivery has one address only. `parts` holds the channel's template parts by name.
    """

    delivery_id: str
    attempt: int
    address: str
    parts: Mapping[str, str]
    address_id: str = ""
    event_type: str = ""
    data: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Receipt:
    """A provider accepted a message; `provider_message_id` is the provider's name for it."""

    provider: str
    provider_message_id: str = ""
    status: int | None = None


Outcome: TypeAlias = Receipt | ChannelError


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to hand over `granted` messages now. With less than was wanted, asking again pays after `wait` seconds.

    `reason` says why not all were granted: "breaker open", "rate limit" or "asked to wait". `trial`: the provider is
    tried again after it failed, and what fails now costs a message none of its tries.
    """

    granted: int
    wait: float = 0.0
    reason: str = ""
    provider: str = ""
    trial: bool = False


@dataclass(frozen=True, slots=True)
class Inquiry:
    """Was a message of unknown outcome taken? `since`: when the first attempt of that kind began."""

    message: Message
    since: datetime


#: What a provider knows of an Inquiry: the messages it took that may be the one, oldest first (none: surely not
#: taken); a ChannelError when it could not answer now; None where it cannot be asked at all.
Finding: TypeAlias = Sequence[Receipt] | ChannelError | None


class Provider:
    """A service that carries messages of one channel. Gets every setting as a keyword argument.

    A subclass never reads settings or the ORM, never raises for a message (it returns the ChannelError in that
    message's place), and passes `delivery_id` along so that receipts and reconciliation find the row.
    """

    name: ClassVar[str]

    def send(self, messages: Sequence[Message]) -> list[Outcome]:
        """Hand over messages; one outcome a message, in their order."""
        raise NotImplementedError

    def ask(self, inquiries: Sequence[Inquiry]) -> list[Finding]:
        """What became of messages whose outcome is unknown; one finding an inquiry, in their order."""
        return [None for _ in inquiries]


class Channel:
    """A way to reach a person. A small strategy: the flow around it lives in notifier/deliver.py.

    `address` says which address it needs, `parts` which template parts it renders, each with its format
    ("text" or "html").
    """

    name: ClassVar[str]
    address: ClassVar[AddressKind]
    parts: ClassVar[Mapping[str, str]]
    resend_unknown: ClassVar[bool] = True  # what may have gone out already: send again (True), or give up (False)

    def __init__(self, providers: Sequence[Provider]) -> None:
        self.providers = tuple(providers)

    def permit(self, wanted: int) -> Permit:
        """How many of `wanted` messages may be sent now."""
        return Permit(wanted)

    def recovered(self) -> bool:
        """True once after a send that closed a provider's breaker: what waits for the channel may come."""
        return False

    def ask(self, inquiries: Sequence[Inquiry]) -> list[Finding]:
        """What the providers together know: any could have been the one that took a message."""
        found = [provider.ask(inquiries) for provider in self.providers]
        return [_together(findings) for findings in zip(*found, strict=True)] if found else [None for _ in inquiries]

    def send(self, messages: Sequence[Message]) -> list[Outcome]:
        """One outcome a message. What one provider surely did not take, the next one is asked to carry."""
        outcomes: list[Outcome] = [ProviderUnavailable("no provider is configured") for _ in messages]
        waiting = list(range(len(messages)))
        asks_until = time.monotonic() + HAND_OVER
        for provider in self.providers:
            if time.monotonic() > asks_until:
                break
            answers = provider.send([messages[i] for i in waiting])
            for i, answer in zip(waiting, answers, strict=True):
                outcomes[i] = answer
            waiting = [i for i in waiting if isinstance(outcomes[i], ProviderUnavailable)]
            if not waiting:
                break
        return outcomes


def _together(findings: Sequence[Finding]) -> Finding:
    """Taken by one is taken; surely not taken only when each provider says so."""
    taken = [receipt for finding in findings if isinstance(finding, Sequence) for receipt in finding]
    unclear = [finding for finding in findings if not isinstance(finding, Sequence)]
    if taken or not unclear:
        return taken
    return next((finding for finding in unclear if finding is not None), None)
