"""People change their minds while messages to them are on their way through real workers."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

import pytest
from django.db import connection

from notifier.models import Attempt, Delivery, NotificationEvent
from notifier.record import record_many
from notifier.states import SETTLED
from notifier.tasks import ring
from notifier.trigger import parse
from preferences import people
from preferences.models import User
from tests.processes import wait_for
from tests.sandbox_process import Sandbox

PEOPLE, WRITERS, WRITES, BATCHES = 40, 4, 1_000, 25


@dataclass(frozen=True, slots=True)
class Off:
    """Mail was surely unwanted between these: after one commit, and before the next began. By the database's clock."""

    since: datetime
    until: datetime


def now() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        found: datetime = cursor.fetchone()[0]
    return found


def change_minds(users: list[User], writes: int) -> dict[UUID, list[Off]]:
    """Turn mail off and on again for these, whom nobody else writes to."""
    off: dict[UUID, datetime] = {}
    found: dict[UUID, list[Off]] = defaultdict(list)
    try:
        for _ in range(writes):
            user = random.choice(users)
            began = now()
            people.choose(user, {("", "EMAIL"): user.id in off})
            if user.id in off:
                found[user.id].append(Off(off.pop(user.id), began))
            else:
                off[user.id] = now()
        ends = now()
        for user_id, since in off.items():
            found[user_id].append(Off(since, ends))
    finally:
        connection.close()
    return found


def order(users: list[User]) -> None:
    """An event for each, again and again: enough at once for the cache of people to serve them."""
    try:
        for batch in range(BATCHES):
            bodies = [
                {"eventType": "ORDER_CONFIRMED", "userId": user.id, "metadata": {"orderId": f"{batch}-{number}"}}
                for number, user in enumerate(users)
            ]
            record_many([parse(body) for body in bodies], "shop")
            ring()
    finally:
        connection.close()


@pytest.mark.usefixtures("workers")
def test_no_message_goes_out_after_the_commit_of_an_opt_out(
    customer: Callable[..., User], sandbox: Sandbox, workers: dict[str, Path]
) -> None:
    users = [customer(email=f"u{number}@mail.example", phone="", device="") for number in range(PEOPLE)]
    with ThreadPoolExecutor() as pool:
        minds = [pool.submit(change_minds, users[n::WRITERS], WRITES // WRITERS) for n in range(WRITERS)]
        pool.submit(order, users).result()
        unwanted = {user_id: spans for mind in minds for user_id, spans in mind.result().items()}
    wait_for(lambda: not NotificationEvent.objects.exclude(status__in=SETTLED).exists(), "all settled", 120)

    tried = Attempt.objects.filter(delivery__channel="EMAIL")
    mails = tried.values_list("delivery__event__user_id", "started_at", "finished_at")
    # from the claim until it was written down: who turned mail on again in between may have got it by that
    wrong = [
        claimed
        for user_id, claimed, written in mails
        for span in unwanted[user_id]
        if span.since < claimed and written and written < span.until
    ]
    assert wrong == []
    skipped = Delivery.objects.filter(channel="EMAIL", skip_reason="OPTED_OUT").count()
    assert skipped > 0
    assert len(mails) + skipped == PEOPLE * BATCHES
    assert len(sandbox.messages()) == len(mails) > 0
