"""Postgres is restarted under a whole Notifier: a trigger gets 202 and is kept, or 503 with Retry-After."""

from __future__ import annotations

import json
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event

import pytest

from tests import processes
from tests.chaos import world
from tests.chaos.world import World

pytestmark = pytest.mark.processes

CALLERS = 4
PAUSE = 0.2  # seconds between two triggers of a caller


@dataclass(slots=True)
class Answers:
    """Of triggers that are posted one after the other by each caller, none of them twice."""

    world: World
    ids: dict[str, str] = field(default_factory=dict)  # order -> event id, of what got its 202
    refusals: list[tuple[int, str | None, str]] = field(default_factory=list)  # status, Retry-After, error's code
    enough: Event = field(default_factory=Event)

    def post(self, caller: int) -> None:
        number = 0
        while not self.enough.wait(PAUSE):
            number += 1
            order = f"ORD{caller}-{number}"
            body = {"eventType": "ORDER_PACKED", "metadata": {"orderId": order}, **self.world.people[0].whom}
            try:
                self.ids[order] = self.world.call("POST", "/notifications/trigger", body)["eventId"]
            except urllib.error.HTTPError as error:
                with error:
                    code = json.loads(error.read())["error"]["code"]
                self.refusals.append((error.code, error.headers["Retry-After"], code))

    def get_accepted(self) -> None:
        count = len(self.ids)
        processes.wait_for(lambda: len(self.ids) > count + CALLERS, "triggers accepted", 30)

    def get_refused(self) -> None:
        count = len(self.refusals)
        processes.wait_for(lambda: len(self.refusals) > count + CALLERS, "triggers refused", 30)


@contextmanager
def posting(to: World) -> Iterator[Answers]:
    answers = Answers(to)
    with ThreadPoolExecutor(CALLERS) as callers:
        posted = [callers.submit(answers.post, caller) for caller in range(CALLERS)]
        try:
            yield answers
        finally:
            answers.enough.set()
    for one in posted:
        one.result()


def test_no_trigger_that_was_accepted_is_lost(request: pytest.FixtureRequest) -> None:
    with world.running(f"test-{request.node.name[:20]}") as whole:
        with posting(whole) as answers:
            answers.get_accepted()
            whole.postgres.child.send(signal.SIGINT)  # "the database system is shutting down", then nobody listens
            answers.get_refused()
            whole.postgres.child.wait(30)
            answers.get_refused()
            whole.postgres.start()
            whole.postgres.wait()
            answers.get_accepted()
            whole.postgres.terminate_backends()
            answers.get_accepted()
            whole.postgres.restart(signal.SIGKILL)  # "the database system is in recovery mode"
            answers.get_accepted()
        assert set(answers.refusals) == {(503, "5", "UNAVAILABLE")}
        kept = {str(row["id"]) for row in whole.query("SELECT id FROM notifier_notificationevent")}
        assert set(answers.ids.values()) <= kept
        # recorded, though the answer was 503: at most what was in flight as the server went, three times
        assert len(kept) <= len(answers.ids) + 3 * CALLERS
        processes.wait_for(lambda: not whole.open_events(), "all settled")
        assert whole.children["beat"].is_alive()
        _assert_delivered_once(whole, kept)


def _assert_delivered_once(whole: World, events: set[str]) -> None:
    rows = whole.query("SELECT id FROM notifier_delivery WHERE (channel, status) = ('PUSH', 'SENT')")
    sent = {str(row["id"]) for row in rows}
    assert len(sent) == len(events)
    pushed = [message["deliveryId"] for message in whole.sandbox.messages()]
    assert set(pushed) == sent
    explained = whole.one("SELECT count(DISTINCT delivery_id) FROM notifier_attempt WHERE maybe_duplicate")
    assert len(pushed) - len(sent) <= explained
