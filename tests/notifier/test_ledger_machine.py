"""Every order of claims, crashes, stalls, lost and doubled messages: a state machine over the real SQL.

Each process is cut into its steps (claim, send, write down), and between any two of them anything may happen to any
other. At the end everything heals, and the promises are checked against the provider's own log.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings, strategies
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from pytest_django.fixtures import Settings

from channels import registry
from channels.base import Finding, Inquiry, Message, Outcome, Permit, Receipt
from channels.errors import MessageRejected, OutcomeUnknown, ProviderUnavailable, RateLimited
from channels.models import InboxMessage
from channels.testing import RecordingProvider
from notifier import deliver, settle, sweep
from notifier.claim import Claimed, claim
from notifier.dispatch import Lane, dispatch
from notifier.models import Attempt, DeadLetter, Delivery, NotificationEvent
from notifier.querysets.dead_letters import Filter
from notifier.reconcile import reconcile
from notifier.replay import replay
from notifier.states import FINAL
from preferences.models import User
from tests import engine, toy

pytestmark = pytest.mark.django_db

LEASE = 20.0  # seconds; settings.DELIVERY_LEASE
WHICH = strategies.integers(0, 5)
STEPS = strategies.integers(0, 2)
ANSWERS = ("accepts", "away", "refuses", "limits", "takes and is silent", "is silent")
ANSWER = strategies.sampled_from(ANSWERS)


class LoggingProvider(RecordingProvider):
    """Keeps a log of what it took, which is the truth, and can be asked for it."""

    answers_with = "accepts"
    answers_questions = True
    can_be_asked = True
    log: list[str]

    def __init__(self) -> None:
        super().__init__()
        self.log = []

    def send(self, messages: Sequence[Message]) -> list[Outcome]:
        return [self._one(message) for message in messages]

    def _one(self, message: Message) -> Outcome:
        if self.answers_with in {"accepts", "takes and is silent"}:
            self.log.append(message.delivery_id)
        receipt = Receipt(self.name, f"{message.delivery_id}/{len(self.log)}")
        answers: dict[str, Outcome] = {
            "accepts": receipt,
            "away": ProviderUnavailable("away"),
            "refuses": MessageRejected("no"),
            "limits": RateLimited("slower", retry_after=3),
        }
        return answers.get(self.answers_with, OutcomeUnknown("no answer"))

    def ask(self, inquiries: Sequence[Inquiry]) -> list[Finding]:
        if not self.can_be_asked:
            return [None for _ in inquiries]
        if not self.answers_questions:
            return [ProviderUnavailable("away") for _ in inquiries]
        return [self._find(inquiry.message.delivery_id) for inquiry in inquiries]

    def _find(self, delivery_id: str) -> Finding:
        return [Receipt(self.name, f"{delivery_id}/found")] if delivery_id in self.log else []


@dataclass
class Process:
    """A deliver task that has claimed, and what it still has to do."""

    claimed: list[Claimed]
    stalled: timedelta = timedelta()
    sent: bool = False


class Ledger(RuleBasedStateMachine):
    user: User

    def __init__(self) -> None:
        super().__init__()
        for model in (Attempt, DeadLetter, Delivery, NotificationEvent, InboxMessage):
            model.objects.all().delete()
        registry.clear()
        toy.NarrowChannel.room = Permit(1000)
        provider = registry.get("TOY").providers[0]
        assert isinstance(provider, LoggingProvider)
        self.provider = provider
        self.accepted: set[UUID] = set()
        self.deliver_messages: list[tuple[str, list[UUID], bool]] = []
        self.settle_messages: list[list[tuple[UUID, int]]] = []
        self.processes: list[Process] = []
        self.attempts: Counter[UUID] = Counter()
        self.sent: set[UUID] = set()

    @initialize()
    def begin(self) -> None:
        self.trigger(2)

    @rule(times=strategies.integers(1, 3))
    def trigger(self, times: int) -> None:
        for _ in range(times):
            self.accepted.add(engine.trigger("ORDER_PACKED", self.user.id))
        self.dispatch()

    @rule()
    def dispatch(self) -> None:
        started = dispatch(Lane.STANDARD)
        for alone, messages in ((False, started.deliveries), (True, started.alone)):
            self.deliver_messages += [(name, [UUID(i) for i in ids], alone) for name, ids in messages.items()]
        if started.events:
            self.settle_messages.append([(UUID(event), number) for event, number in started.events])

    @precondition(lambda self: self.deliver_messages)
    @rule(which=WHICH, again=strategies.booleans(), keep=strategies.booleans(), steps=STEPS, answer=ANSWER)
    def work(self, which: int, again: bool, keep: bool, steps: int, answer: str) -> None:
        """A worker takes a message, which may come again, claims, and gets so many steps further at once."""
        self.provider.answers_with = answer
        index = which % len(self.deliver_messages)
        name, ids, alone = self.deliver_messages[index] if keep else self.deliver_messages.pop(index)
        for some in [[i] for i in ids] if alone else [ids]:
            found = claim(registry.get(name), some, early=again, alone=alone, urgent=False)
            self._settle_early([(event, found.rounds[event]) for event in found.given_up])
            if found.going:
                process = Process(found.going)
                self.processes.append(process)
                for step in (self._send, self._write_down)[:steps]:
                    step(process)

    @precondition(lambda self: self.processes)
    @rule(which=WHICH, answer=ANSWER)
    def go_on(self, which: int, answer: str) -> None:
        self.provider.answers_with = answer
        process = self.processes[which % len(self.processes)]
        step = self._write_down if process.sent else self._send
        step(process)

    def _send(self, process: Process) -> None:
        channel = registry.get(process.claimed[0].row.channel)
        reconcile(channel, process.claimed)
        deliver._send(channel, process.claimed, time.monotonic() + LEASE - process.stalled.total_seconds())
        process.sent = True

    def _write_down(self, process: Process) -> None:
        self.processes.remove(process)
        channel = registry.get(process.claimed[0].row.channel)
        failed = deliver._record(channel, process.claimed, in_chord=deliver._nothing_went_out(process.claimed))
        self._settle_early([(UUID(event), number) for event, number in failed])

    @precondition(lambda self: self.processes)
    @rule(which=WHICH)
    def kill(self, which: int) -> None:
        self.processes.pop(which % len(self.processes))

    @precondition(lambda self: self.settle_messages)
    @rule(which=WHICH, keep=strategies.booleans())
    def settle(self, which: int, keep: bool) -> None:
        index = which % len(self.settle_messages)
        settle.settle(self.settle_messages[index] if keep else self.settle_messages.pop(index))

    @rule()
    def flush(self) -> None:
        """Redis loses its data."""
        self.deliver_messages.clear()
        self.settle_messages.clear()

    @rule(messages_lost=strategies.booleans())
    def repair(self, messages_lost: bool) -> None:
        settle.settle(sweep.sweep(messages_lost=messages_lost).lost_rounds)

    @rule(seconds=strategies.sampled_from([1, 4, 15, 25, 95, 301]))
    def pass_time(self, seconds: int) -> None:
        engine.pass_time(timedelta(seconds=seconds))
        for process in self.processes:
            process.stalled += timedelta(seconds=seconds)

    @precondition(lambda self: self.processes)
    @rule(answer=ANSWER)
    def take_over(self, answer: str) -> None:
        """Whoever holds something stands still for too long, and others do it in their place."""
        self.pass_time(25)
        self.repair(messages_lost=True)
        self.dispatch()
        while self.deliver_messages:
            self.work(which=0, again=False, keep=False, steps=2, answer=answer)

    @rule(asked=strategies.booleans(), room=strategies.integers(0, 3))
    def provider_changes(self, asked: bool, room: int) -> None:
        self.provider.answers_questions = asked
        toy.NarrowChannel.room = Permit(room * 500, wait=2, reason="breaker open")

    @rule()
    def replay(self) -> None:
        replay(Filter())

    def _settle_early(self, rounds: list[tuple[UUID, int]]) -> None:
        if rounds:
            settle.settle(rounds, early=True)

    @invariant()
    def attempts_only_grow(self) -> None:
        now = dict(Delivery.objects.values_list("id", "attempt"))
        assert all(now[i] >= known for i, known in self.attempts.items())
        self.attempts = Counter(now)

    @invariant()
    def what_was_sent_stays_sent(self) -> None:
        now = set(Delivery.objects.filter(status="SENT").values_list("id", flat=True))
        assert self.sent <= now
        self.sent = now

    @invariant()
    def an_event_settles_when_all_its_deliveries_have(self) -> None:
        settled = NotificationEvent.objects.exclude(settled_at=None).values("id")
        assert not Delivery.objects.filter(event_id__in=settled).exclude(status__in=FINAL).exists()

    @invariant()
    def every_failure_is_a_dead_letter(self) -> None:
        failed = set(Delivery.objects.filter(status="FAILED").values_list("id", flat=True))
        assert failed == set(DeadLetter.objects.filter(status="OPEN").values_list("delivery_id", flat=True))

    def teardown(self) -> None:
        """Heal, let everything come to its end, and check the promises."""
        self.provider.answers_with, self.provider.answers_questions = "accepts", True
        toy.NarrowChannel.room = Permit(1000)
        for _ in range(12):
            if not NotificationEvent.objects.filter(settled_at=None).exists():
                break
            engine.pass_time(timedelta(minutes=2))
            engine.repair()
            engine.run()
        assert set(NotificationEvent.objects.values_list("id", flat=True)) == self.accepted
        assert not NotificationEvent.objects.filter(settled_at=None).exists()
        assert not Delivery.objects.exclude(status__in=FINAL).exists()
        self._check_against_the_log()

    def _check_against_the_log(self) -> None:
        taken = Counter(UUID(entry) for entry in self.provider.log)
        doubtful = set(Attempt.objects.filter(maybe_duplicate=True).values_list("delivery_id", flat=True))
        inbox = set(InboxMessage.objects.values_list("delivery_id", flat=True))
        for delivery in Delivery.objects.all():
            times = taken[delivery.id] + (delivery.id in inbox)
            if delivery.status == "SENT":
                assert times, "written down as sent, and never taken"
            if times > 1 or (times and delivery.status != "SENT"):
                assert delivery.id in doubtful, "doubled, and nobody says so"


@pytest.mark.usefixtures("toy_channel")
@pytest.mark.parametrize("resends", [False, True], ids=["asks", "resends"])
def test_the_ledger_keeps_its_promises(resends: bool, customer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy.NarrowChannel, "resend_unknown", resends)
    monkeypatch.setattr(LoggingProvider, "can_be_asked", not resends)
    monkeypatch.setattr(toy.NarrowChannel, "room", Permit(1000))
    monkeypatch.setattr(Ledger, "user", customer(), raising=False)
    run_state_machine_as_test(
        Ledger,
        settings=settings(
            max_examples=40,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.fixture
def toy_channel(settings: Settings, tmp_path: Path) -> None:
    toy.configure(settings, tmp_path, channel=toy.NarrowChannel, provider=LoggingProvider, catalogue="WITH_INBOX")
