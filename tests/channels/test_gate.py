"""Channels behind gates: who is asked, who is passed over, what is handed on, and what never is."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
import redis
from django.conf import settings as django_settings
from pytest_django.fixtures import Settings

from channels import base, registry
from channels.base import ASKED_TO_WAIT, BREAKER_OPEN, RATE_LIMIT, Channel, Message, Outcome, Permit, Receipt
from channels.breaker import State, Status
from channels.errors import (
    ChannelError,
    CredentialsRejected,
    MessageRejected,
    OutcomeUnknown,
    ProviderUnavailable,
    RateLimited,
)
from channels.gate import Gate
from channels.models import BreakerChange
from channels.shared import shared_redis
from channels.testing import RemoteProvider, forget_gates
from tests.ports import free_port

pytestmark = pytest.mark.django_db
REMOTE = {"PROVIDER": "channels.testing.RemoteProvider"}
LOCAL = {"PROVIDER": "channels.testing.RecordingProvider"}
Channels = Callable[..., tuple[Channel, RemoteProvider, RemoteProvider]]


@pytest.fixture(autouse=True)
def client() -> Iterator[redis.Redis]:
    found = redis.Redis.from_url(django_settings.REDIS_URL)
    found.flushdb()
    forget_gates()
    yield found
    found.flushdb()
    found.close()
    forget_gates()


@pytest.fixture
def toy(settings: Settings) -> Channels:
    """A channel with two remote providers, the first with the given rate."""

    def make(rate: int = 0) -> tuple[Channel, RemoteProvider, RemoteProvider]:
        configure(settings, {**REMOTE, "RATE": rate}, REMOTE)
        channel = registry.get("TOY")
        first, second = channel.providers
        assert isinstance(first, RemoteProvider)
        assert isinstance(second, RemoteProvider)
        return channel, first, second

    return make


def configure(settings: Settings, *providers: dict[str, Any]) -> None:
    settings.CHANNELS = {"TOY": {"CHANNEL": "channels.testing.ToyChannel", "PROVIDERS": list(providers)}}


def messages(count: int) -> list[Message]:
    return [Message(f"delivery-{n}", 1, "user", {"text": ""}) for n in range(count)]


def accepted(count: int) -> list[Outcome]:
    return [Receipt("remote", f"delivery-{n}.1") for n in range(count)]


def send(channel: Channel, count: int) -> list[Outcome]:
    """As the engine does it."""
    return channel.send(messages(channel.permit(count).granted))


def break_(client: redis.Redis, provider: str = "remote", **fields: Any) -> None:
    """Put a provider's breaker into the state that it has after failing; by default it is time for a trial."""
    now = shared_redis.client().time()[0]
    status = replace(Status(State.OPEN, now - 5, "broken", openings=1, open_until=now - 1), **fields)
    client.set(f"notifier:breaker:TOY:{provider}", orjson.dumps(status))


def keep_open(client: redis.Redis, provider: str = "remote", seconds: float = 5) -> None:
    break_(client, provider, open_until=shared_redis.client().time()[0] + seconds)


def changes() -> list[tuple[str, str, str]]:
    return list(BreakerChange.objects.order_by("id").values_list("provider", "state", "reason"))


def test_a_healthy_provider_takes_all(toy: Channels) -> None:
    channel, first, second = toy()
    assert channel.permit(50) == Permit(50, provider="remote")
    assert channel.send(messages(50)) == accepted(50)
    assert (len(first.messages), len(second.messages)) == (50, 0)
    assert not channel.recovered()
    assert changes() == []


def test_a_failing_provider_is_passed_over_by_everybody(toy: Channels) -> None:
    channel, first, second = toy()
    first.answers = [CredentialsRejected() for _ in range(5)]
    assert all(isinstance(outcome, CredentialsRejected) for outcome in send(channel, 5))
    assert changes() == [("remote", "OPEN", "5 of 5 calls failed in 10 s")]

    registry.clear()  # another worker's
    channel, first, second = toy()
    assert channel.permit(9) == Permit(9, provider="remote-2")
    assert channel.send(messages(9)) == accepted(9)
    assert (len(first.messages), len(second.messages)) == (0, 9)


def test_all_open_is_the_shortest_wait(toy: Channels, client: redis.Redis) -> None:
    channel, first, second = toy()
    keep_open(client, seconds=20)
    keep_open(client, "remote-2", seconds=10)
    permit = channel.permit(9)
    assert replace(permit, wait=0) == Permit(0, 0, BREAKER_OPEN, "remote-2")
    assert 8 < permit.wait <= 10
    (outcome,) = channel.send(messages(1))
    assert isinstance(outcome, ProviderUnavailable)
    assert outcome.detail == "breaker open: no provider was asked"
    assert not first.messages + second.messages


def test_trials_close_it_and_say_so_once(toy: Channels, client: redis.Redis) -> None:
    channel, first, _ = toy()
    break_(client)
    assert channel.permit(50) == Permit(3, 1.0, BREAKER_OPEN, "remote", trial=True)
    assert channel.send(messages(3)) == accepted(3)
    assert channel.recovered()
    assert not channel.recovered()
    assert len(first.messages) == 3
    assert channel.permit(50).granted == 50
    assert changes() == [("remote", "HALF_OPEN", "time for a trial"), ("remote", "CLOSED", "3 trials succeeded")]


def test_others_wait_for_the_trials_or_go_to_the_next(toy: Channels, client: redis.Redis, settings: Settings) -> None:
    channel, _, _ = toy()
    break_(client)
    assert channel.permit(3).trial
    registry.clear()  # another worker, while the trials are under way
    assert registry.get("TOY").permit(9) == Permit(9, provider="remote-2")
    configure(settings, REMOTE)
    assert registry.get("TOY").permit(9) == Permit(0, 1.0, BREAKER_OPEN, "remote")


def test_a_failed_trial_is_carried_by_the_next(toy: Channels, client: redis.Redis) -> None:
    channel, first, second = toy()
    break_(client)
    first.answers = [ProviderUnavailable()]
    assert channel.permit(1).trial
    assert channel.send(messages(1)) == accepted(1)
    assert len(second.messages) == 1
    assert not channel.recovered()
    assert channel.permit(1).provider == "remote-2"


def test_a_trial_without_a_message_is_not_lost(toy: Channels, client: redis.Redis) -> None:
    channel, _, _ = toy()
    break_(client)
    assert channel.permit(3).granted == 3  # and all of them turned out to be expired
    assert channel.permit(3) == Permit(3, provider="remote", trial=True)
    assert channel.send([]) == []
    assert orjson.loads(client.get("notifier:breaker:TOY:remote") or b"")["trials"] == 0
    assert channel.permit(3).granted == 3
    channel.send(messages(1))
    assert channel.permit(3).granted == 3


def test_the_rate_limit_is_waited_for_and_not_passed_over(toy: Channels) -> None:
    channel, first, second = toy(rate=10)
    assert channel.permit(7).granted == 7
    channel.send(messages(7))
    permit = channel.permit(7)
    assert replace(permit, wait=0) == Permit(3, 0, RATE_LIMIT, "remote")
    assert 0 < permit.wait <= 1
    channel.send(messages(3))
    permit = channel.permit(7)
    assert replace(permit, wait=0) == Permit(0, 0, RATE_LIMIT, "remote")
    assert (len(first.messages), len(second.messages)) == (10, 0)


def test_further_devices_count_against_the_rate(toy: Channels) -> None:
    channel, first, _ = toy(rate=10)
    assert channel.permit(4).granted == 4
    assert channel.send(messages(8)) == accepted(8)
    assert len(first.messages) == 8
    assert channel.permit(9).granted == 2


def test_a_rate_limited_trial_leaves_the_others_theirs(toy: Channels, client: redis.Redis) -> None:
    channel, _, _ = toy(rate=2)
    break_(client)
    assert channel.permit(3).granted == 2
    channel.send(messages(2))
    assert orjson.loads(client.get("notifier:breaker:TOY:remote") or b"")["trials"] == 0


def test_a_provider_that_asks_for_patience_is_waited_for(toy: Channels) -> None:
    channel, first, second = toy()
    first.answers = [RateLimited(retry_after=30) for _ in range(5)]
    assert all(isinstance(outcome, RateLimited) for outcome in send(channel, 5))
    permit = channel.permit(9)
    assert replace(permit, wait=0) == Permit(0, 0, ASKED_TO_WAIT, "remote")
    assert 29 < permit.wait <= 30
    (outcome,) = channel.send(messages(1))
    assert isinstance(outcome, RateLimited)
    assert outcome.retry_after == pytest.approx(30, abs=1)
    assert (outcome.provider, outcome.detail) == ("remote", ASKED_TO_WAIT)
    assert not second.messages
    assert changes() == []


def test_only_what_surely_was_not_taken_is_handed_over(toy: Channels) -> None:
    channel, first, second = toy()
    away = ProviderUnavailable()
    first.answers = [OutcomeUnknown(), away, MessageRejected(), CredentialsRejected(), RateLimited()]
    outcomes = send(channel, 6)
    assert [type(outcome) for outcome in outcomes] == [
        OutcomeUnknown, Receipt, MessageRejected, CredentialsRejected, RateLimited, Receipt,
    ]  # fmt: skip
    assert [message.delivery_id for message in second.messages] == ["delivery-1"]


def test_what_the_next_one_has_no_room_for_stays_as_it_was(settings: Settings) -> None:
    configure(settings, REMOTE, {**REMOTE, "RATE": 1})
    channel = registry.get("TOY")
    first, second = channel.providers
    assert isinstance(first, RemoteProvider)
    assert isinstance(second, RemoteProvider)
    away = [ProviderUnavailable("one"), ProviderUnavailable("two")]
    first.answers = [*away]
    assert send(channel, 2) == [Receipt("remote", "delivery-0.1"), away[1]]


def test_nothing_is_handed_over_to_an_open_one(toy: Channels, client: redis.Redis) -> None:
    channel, first, second = toy()
    keep_open(client, "remote-2")
    away = ProviderUnavailable()
    first.answers = [away]
    assert send(channel, 1) == [away]
    assert not second.messages


def test_nothing_is_handed_over_too_late(toy: Channels, monkeypatch: pytest.MonkeyPatch) -> None:
    channel, first, second = toy()
    away = ProviderUnavailable()
    first.answers = [away]
    clock = iter([0.0, 0.0, base.HAND_OVER + 1])  # at the start, before the first, before the second
    monkeypatch.setattr(base, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    assert send(channel, 1) == [away]
    assert not second.messages


def test_without_a_permit_the_gates_are_asked(toy: Channels, client: redis.Redis) -> None:
    channel, first, second = toy()
    break_(client)
    assert channel.send(messages(5)) == accepted(5)
    assert (len(first.messages), len(second.messages)) == (3, 2)
    assert channel.recovered()
    assert channel.send([]) == []


def test_a_permit_is_used_once(toy: Channels, client: redis.Redis) -> None:
    channel, first, _ = toy()
    assert channel.permit(1).granted == 1
    channel.send(messages(1))
    keep_open(client)
    channel.send(messages(1))
    assert len(first.messages) == 1


def test_local_providers_ask_nobody(settings: Settings) -> None:
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    configure(settings, LOCAL)
    channel = registry.get("TOY")
    assert channel.permit(1000) == Permit(1000)
    assert channel.send(messages(1)) == [Receipt("recording", "delivery-0.1")]
    assert channel.providers[0].gate is None
    assert not channel.recovered()
    assert shared_redis.rests_until == 0.0


def test_the_inbox_has_no_gate() -> None:
    channel = registry.get("IN_APP")
    assert [provider.gate for provider in channel.providers] == [None]
    assert channel.permit(1000) == Permit(1000)
    assert [(gate.channel, gate.provider) for gate in registry.gates()] == [
        ("EMAIL", "sendgrid"),
        ("SMS", "twilio"),
        ("PUSH", "fcm"),
    ]


def test_redis_away_stops_no_message(toy: Channels, settings: Settings) -> None:
    channel, first, _ = toy(rate=10)
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    assert channel.permit(7).granted == 7
    assert channel.send(messages(7)) == accepted(7)
    first.answers = [OutcomeUnknown() for _ in range(3)]
    assert channel.permit(7).granted == 3
    assert [gate.status() for gate in registry.gates()] == [None, None]


def test_a_change_that_cannot_be_written_stops_no_message(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate("A_NAME_THAT_IS_TOO_LONG_FOR_ITS_COLUMN", "remote")
    with caplog.at_level(logging.WARNING):
        assert not gate.record([OutcomeUnknown() for _ in range(5)], gate.permit(5))
    assert gate.permit(1).reason == BREAKER_OPEN
    assert "a breaker's change was not written: DataError" in caplog.text
    assert "breaker of A_NAME_THAT_IS_TOO_LONG_FOR_ITS_COLUMN remote is OPEN: 5 of 5 calls failed" in caplog.text
    assert changes() == []


def test_its_status_for_people(toy: Channels, client: redis.Redis) -> None:
    channel, first, second = toy(rate=100)
    answers: Sequence[ChannelError] = [OutcomeUnknown(), RateLimited()]
    first.answers = [*answers]
    send(channel, 4)
    gate, other = first.gate, second.gate
    assert isinstance(gate, Gate)
    assert isinstance(other, Gate)
    status = gate.status()
    assert status is not None
    assert (status.state, status.calls, status.failed, status.limited, status.wait) == (State.CLOSED, 4, 1, 1, 0)
    assert status.age is None
    keep_open(client, "remote-2")
    status = other.status()
    assert status is not None
    assert (status.state, status.reason) == (State.OPEN, "broken")
    assert 3 < status.wait <= 5
    assert status.age == pytest.approx(5, abs=1.5)
