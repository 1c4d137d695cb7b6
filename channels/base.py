"""The contract between the engine and a channel, and between a channel and its providers."""

from __future__ import annotations

import enum
import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from channels.budget import Budget, Share
from channels.errors import ChannelError, OutcomeUnknown, ProviderUnavailable, RateLimited

if TYPE_CHECKING:
    from channels.gate import Gate
    from channels.inbound import Reply, Request

BREAKER_OPEN = "breaker open"
RATE_LIMIT = "rate limit"
ASKED_TO_WAIT = "asked to wait"
BUSY = "provider busy"
PAUSED = "provider paused"
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
    empty where a delivery has one address only. `parts` holds the channel's template parts by name. `patience`: seconds
    that an answer is worth waiting for, since another channel is to carry the message then. `unsubscribe_url`: where
    one click ends messages of this kind; empty where none does.
    """

    delivery_id: str
    attempt: int
    address: str
    parts: Mapping[str, str]
    address_id: str = ""
    event_type: str = ""
    data: Mapping[str, str] = field(default_factory=dict)
    patience: float = math.inf
    unsubscribe_url: str = ""


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

    `reason` says why not all were granted: "breaker open", "rate limit", "asked to wait", "provider busy", "provider
    paused" or "daily SMS budget". `trial`: the provider is tried again after it failed, and what fails now costs a
    message none of its tries.
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


@dataclass(frozen=True, slots=True)
class Welcome:
    """The service knows us and lets us send. `but`: what an operator should know all the same; empty for nothing."""

    but: str = ""


#: What a provider knows of an Inquiry: the messages it took that may be the one, oldest first (none: surely not
#: taken); a ChannelError when it could not answer now; None where it cannot be asked at all.
Finding: TypeAlias = Sequence[Receipt] | ChannelError | None


class Provider:
    """A service that carries messages of one channel. Gets every setting as a keyword argument.

    A subclass never reads settings or the ORM, never raises for a message (it returns the ChannelError in that
    message's place), and passes `delivery_id` along so that receipts and reconciliation find the row.
    """

    name: ClassVar[str]
    remote: ClassVar[bool] = True  # a service that may fail or limit us; False: nothing stands before it
    gate: Gate | None = None  # the breaker and the rate limit of a remote one; the registry sets it

    def send(self, messages: Sequence[Message]) -> list[Outcome]:
        """Hand over messages; one outcome a message, in their order."""
        raise NotImplementedError

    def ask(self, inquiries: Sequence[Inquiry]) -> list[Finding]:
        """What became of messages whose outcome is unknown; one finding an inquiry, in their order."""
        return [None for _ in inquiries]

    def introduce(self) -> Welcome | ChannelError | None:
        """Does the service know us, and may we send? Asked without sending anything; for an operator, not for the flow.

        The ChannelError that a message would meet; None where the service cannot be asked.
        """
        return None

    def reply(self, request: Request) -> Reply | None:
        """What a call of POST /webhooks/{name} asks for, if anything. Raises ForgedRequestError.

        A provider that does not call us has none, and no webhook (registry.listeners).
        """
        raise NotImplementedError


class Channel:
    """A way to reach a person. A small strategy: the flow around it lives in notifier/deliver.py.

    `address` says which address it needs, `parts` which template parts it renders, each with its format
    ("text" or "html"). `slice_size` is how many messages are claimed, sent and written down together: with each a
    call of its own, as many as go out at the same time. `disturbs`: it makes itself heard, and so keeps to quiet hours.
    `links`: its messages hold links to the preference page, and to unsubscribe. `label` is its name for customers, in
    English.
    """

    name: ClassVar[str]
    address: ClassVar[AddressKind]
    parts: ClassVar[Mapping[str, str]]
    slice_size: ClassVar[int] = 50
    disturbs: ClassVar[bool] = True
    links: ClassVar[bool] = False
    label: ClassVar[str] = ""
    resend_unknown: ClassVar[bool] = True  # what may have gone out already: send again (True), or give up (False)

    budget: Budget | None = None  # of messages a day; the registry sets it

    def __init__(self, providers: Sequence[Provider]) -> None:
        self.providers = tuple(providers)
        self._last = _Last()

    def permit(self, wanted: int, *, urgent: bool = True) -> Permit:
        """How many of `wanted` messages the next send may hand over, by the first provider whose breaker is not open.

        A provider that is at its rate limit is waited for, not passed over; a share of it is kept for urgent ones.
        """
        self.give_back()
        if self.budget is None:
            return self._ask_gates(wanted, urgent=urgent)
        share = self.budget.take(wanted, urgent=urgent)
        if not share.number:
            return Permit(0, self.budget.wait(), self.budget.reason)
        permit = self._ask_gates(share.number, urgent=urgent)
        self.budget.give_back(share, share.number - permit.granted)
        self._last.share = replace(share, number=permit.granted)
        if permit.granted == share.number < wanted:
            return replace(permit, wait=self.budget.wait(), reason=self.budget.reason)
        return permit

    def _ask_gates(self, wanted: int, *, urgent: bool) -> Permit:
        refusals = []
        for index, provider in enumerate(self.providers):
            permit = provider.gate.permit(wanted, urgent=urgent) if provider.gate else Permit(wanted)
            if permit.granted:
                self._last.index, self._last.permit = index, permit
            if permit.granted or permit.reason not in (BREAKER_OPEN, PAUSED):
                return permit
            refusals.append(permit)
        return min(refusals, key=lambda refusal: refusal.wait) if refusals else Permit(wanted)

    def spend(self, outcomes: Sequence[Outcome]) -> None:
        """What came of the last permit's messages: what surely did not go out is not taken from the day's budget."""
        share, self._last.share = self._last.share, None
        if self.budget and share:
            gone = sum(isinstance(outcome, Receipt | OutcomeUnknown) for outcome in outcomes)
            self.budget.give_back(share, share.number - gone)

    def recovered(self) -> bool:
        """True once after a send that closed a provider's breaker: what waits for the channel may come."""
        recovered, self._last.recovered = self._last.recovered, False
        return recovered

    def ask(self, inquiries: Sequence[Inquiry]) -> list[Finding]:
        """What the providers together know: any could have been the one that took a message."""
        found = [provider.ask(inquiries) for provider in self.providers]
        return [_together(findings) for findings in zip(*found, strict=True)] if found else [None for _ in inquiries]

    def send(self, messages: Sequence[Message]) -> list[Outcome]:
        """One outcome a message. What one provider surely did not take, the next one is asked to carry.

        Begins with the provider that granted the last permit. Without a permit each gate is asked here.
        """
        if not messages:
            self.give_back()
        outcomes: dict[int, Outcome] = {}
        waiting = list(range(len(messages)))
        first, permit = self._last.take()
        asks_until = time.monotonic() + HAND_OVER
        for provider in self.providers[first:]:
            if not waiting or time.monotonic() > asks_until:
                break
            answers, permit = self._through(provider, [messages[i] for i in waiting], permit)
            outcomes.update(zip(waiting, answers, strict=False))
            if permit.reason in (RATE_LIMIT, ASKED_TO_WAIT, BUSY):
                outcomes = {**{i: _not_now(permit) for i in waiting[len(answers) :]}, **outcomes}
            waiting = [i for i in waiting if i not in outcomes or isinstance(outcomes[i], ProviderUnavailable)]
            permit = None
        return [outcomes.get(i) or self._unasked() for i in range(len(messages))]

    def _through(
        self, provider: Provider, messages: Sequence[Message], permit: Permit | None
    ) -> tuple[list[Outcome], Permit]:
        """Send what the gate lets through: the first ones of the messages, or with a permit already given, all."""
        gate = provider.gate
        if gate is None:
            return provider.send(messages), Permit(len(messages))
        if permit:
            gate.spend(len(messages) - permit.granted)
        elif (permit := gate.permit(len(messages))).granted:
            messages = messages[: permit.granted]
        else:
            return [], permit
        try:
            answers = provider.send(messages)
        finally:
            gate.leave()
        self._last.recovered |= gate.record(answers, permit)
        return answers, permit

    def give_back(self) -> None:
        """The last permit had no message to carry: if it was for a trial, another one may make that."""
        self.spend(())
        index, permit = self._last.take()
        if permit and (gate := self.providers[index].gate):
            gate.give_back(permit)

    def _unasked(self) -> ChannelError:
        return ProviderUnavailable(
            f"{BREAKER_OPEN}: no provider was asked" if self.providers else "no provider is configured"
        )


class _Last(threading.local):
    """What a channel keeps between a thread's permit, send and recovered."""

    index = 0
    permit: Permit | None = None
    share: Share | None = None
    recovered = False

    def take(self) -> tuple[int, Permit | None]:
        """The provider that granted the permit that has not been used yet, and the permit."""
        index, permit = self.index, self.permit
        self.index, self.permit = 0, None
        return index, permit


def _not_now(permit: Permit) -> ChannelError:
    return RateLimited(permit.reason, provider=permit.provider, retry_after=permit.wait)


def _together(findings: Sequence[Finding]) -> Finding:
    """Taken by one is taken; surely not taken only when each provider says so."""
    taken = [receipt for finding in findings if isinstance(finding, Sequence) for receipt in finding]
    unclear = [finding for finding in findings if not isinstance(finding, Sequence)]
    if taken or not unclear:
        return taken
    return next((finding for finding in unclear if finding is not None), None)
