"""For tests: a toy channel and a provider that keeps what it was given and answers as told.

CHANNELS = {"TOY": {"CHANNEL": "channels.testing.ToyChannel",
                    "PROVIDERS": [{"PROVIDER": "channels.testing.RecordingProvider"}]}}
provider = channels.testing.recording("TOY")
provider.answers = [ProviderUnavailable()]   # the first message; every further one is accepted
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import redis

from channels import registry
from channels.base import AddressKind, Channel, Message, Outcome, Provider, Receipt
from channels.shared import shared_redis


class ToyChannel(Channel):
    name = "TOY"
    address = AddressKind.USER
    parts = {"text": "text"}


class RecordingProvider(Provider):
    """Keeps every message in `messages`; gives out `answers` one a message, then Receipts."""

    name = "recording"
    remote = False  # thus without a gate: many tests want failures and no breaker

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.answers: list[Outcome] = []

    def send(self, messages: Sequence[Message]) -> list[Outcome]:
        return [self._answer(message) for message in messages]

    def _answer(self, message: Message) -> Outcome:
        self.messages.append(message)
        return self.answers.pop(0) if self.answers else Receipt(self.name, f"{message.delivery_id}.{message.attempt}")


class RemoteProvider(RecordingProvider):
    """The same behind a gate, as a real service is."""

    name = "remote"
    remote = True


def recording(channel: str) -> RecordingProvider:
    """The first provider of a channel that is configured with a RecordingProvider."""
    provider = registry.get(channel).providers[0]
    if not isinstance(provider, RecordingProvider):
        raise TypeError(f"{channel} is configured with {type(provider).__qualname__}")
    return provider


def forget_gates() -> None:
    """Close every breaker and empty every rate limit in Redis, where it is not away."""
    shared_redis.forget()
    client = shared_redis.client()
    with contextlib.suppress(redis.RedisError):
        for pattern in ("notifier:breaker:*", "notifier:limit:*"):
            for key in client.scan_iter(pattern):
                client.delete(key)
