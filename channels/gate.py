"""The gate before a provider: its breaker, its slots and its rate limit together.

The registry gives each remote provider one.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from django.apps import apps
from django.db import Error, transaction

from channels.base import BUSY, PAUSED, RATE_LIMIT, Outcome, Permit
from channels.breaker import Breaker, State, Status, Tally
from channels.limiter import Limiter
from channels.slots import REST, Slots

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GateStatus:
    """For people. `wait`: seconds until the provider is tried again, 0 when it serves; `age`: seconds in this state."""

    state: State
    age: float | None
    reason: str
    calls: int
    failed: int
    limited: int
    wait: float


class Gate:
    """Asks before messages go to a provider, and learns from what came of them. Never raises for Redis or the database.

    `provider` is the provider's name, unique within the channel; `rate` is in messages a second, 0 for no limit.
    """

    def __init__(self, channel: str, provider: str, rate: int = 0) -> None:
        self.channel, self.provider, self.rate = channel, provider, rate
        name = f"{channel}:{provider}"
        self.paused = False  # by an operator, of whom this package knows nothing
        self._breaker, self._slots, self._limiter = Breaker(name), Slots(name), Limiter(name, rate)

    def permit(self, wanted: int, *, urgent: bool = True) -> Permit:
        """How many of `wanted` messages may go to the provider now."""
        if self.paused:
            return Permit(0, REST, PAUSED, provider=self.provider)
        permit, changed = self._breaker.leave(wanted)
        self._tell(changed)
        if permit.granted:
            permit = self._narrow(permit, urgent=urgent)
        return replace(permit, provider=self.provider)

    def _narrow(self, permit: Permit, *, urgent: bool) -> Permit:
        if not self._slots.take():
            self._give_back_trials(permit, permit.granted)
            return Permit(0, REST, BUSY)
        granted, wait = self._limiter.take(permit.granted, urgent=urgent)
        if granted < permit.granted:
            self._give_back_trials(permit, permit.granted - granted)
            permit = replace(permit, granted=granted, wait=wait, reason=RATE_LIMIT)
        if not granted:
            self.leave()
        return permit

    def spend(self, more: int) -> None:
        """Count messages that go beyond the permit, where there is room: one delivery may be several."""
        self._limiter.take(max(more, 0))

    def leave(self) -> None:
        """This process is no longer at the provider, whatever came of it."""
        self._slots.give_back()

    def give_back(self, permit: Permit) -> None:
        """Leave that was granted and not used: another one may have it at once."""
        self.leave()
        self._give_back_trials(permit, permit.granted)

    def _give_back_trials(self, permit: Permit, number: int) -> None:
        if permit.trial:
            self._breaker.judge(Tally(), number)

    def record(self, outcomes: Sequence[Outcome], permit: Permit) -> bool:
        """Learn from what came of a permit's messages. True when this closed the breaker."""
        changed = self._breaker.judge(Tally.of(outcomes), permit.granted if permit.trial else 0)
        self._tell(changed)
        return changed is not None and changed.state == State.CLOSED

    def status(self) -> GateStatus | None:
        """As Redis knows it; None while Redis is away."""
        if (found := self._breaker.look()) is None:
            return None
        status, now = found
        ok, failed, limited = status.counts(now)
        until = max(status.open_until if status.state == State.OPEN else 0.0, status.paused_until)
        age = now - status.since if status.since else None
        return GateStatus(
            status.state, age, status.reason, ok + failed + limited, failed, limited, max(until - now, 0.0)
        )

    def _tell(self, changed: Status | None) -> None:
        """Write the change down for people. A change that cannot be written is no reason to hold a message."""
        if changed is None:
            return
        log.warning("breaker of %s %s is %s: %s", self.channel, self.provider, changed.state, changed.reason)
        try:
            with transaction.atomic():
                apps.get_model("notifier_channels", "BreakerChange").objects.create(
                    channel=self.channel, provider=self.provider, state=changed.state.value, reason=changed.reason
                )
        except Error as error:
            log.warning("a breaker's change was not written: %s", type(error).__name__)
