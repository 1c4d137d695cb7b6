"""Plan 500 events for 500 people, again and again, in a process of its own: `python -m benchmarks.planning_process`.

Prints JSON: milliseconds and queries by what was known of the people before: "uncached" (no cache is asked), "cold" (it
knows none of them) and "warm" (it knows all).
"""

from __future__ import annotations

import json
import secrets
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import django
from django.conf import settings
from django.db import connection

django.setup()

from benchmarks.stage import METADATA  # noqa: E402 - models come after the setup
from channels import registry  # noqa: E402 - as above
from notifier.catalogue import event_types  # noqa: E402 - as above
from notifier.dispatch import Lane, dispatch  # noqa: E402 - as above
from notifier.plan import plan  # noqa: E402 - as above
from notifier.record import record_many  # noqa: E402 - as above
from notifier.trigger import parse  # noqa: E402 - as above
from preferences import resolve  # noqa: E402 - as above
from preferences.models import User  # noqa: E402 - as above

KNOWN = ("uncached", "cold", "warm")
TYPE = "ORDER_SHIPPED"


def main(runs: int) -> None:
    people = list(User.objects.filter(is_staff=False).order_by("id").values_list("id", flat=True)[:500])
    measured: dict[str, Any] = {}
    for name, work in {"plan": _decide, "dispatch": _dispatch}.items():
        taken = {known: [_timed(work, people, known) for _ in range(runs)] for known in KNOWN}
        for known, found in taken.items():
            measured.setdefault(f"{name}_500_ms", {})[known] = round(statistics.median(ms for ms, _ in found), 1)
            measured.setdefault(f"{name}_500_queries", {})[known] = max(queries for _, queries in found)
    print(json.dumps(measured))  # noqa: T201 - for the process that asked


def _timed(work: Callable[[Sequence[UUID], bool], None], people: Sequence[UUID], known: str) -> tuple[float, int]:
    settings.PEOPLE_CACHE_SECONDS = 0 if known == "uncached" else 60
    if work is _dispatch:
        record_many([_trigger(person) for person in people], "bench")
    if known == "cold":
        User.objects.update(version=0)  # to a new version each
    elif known == "warm":
        resolve.load(people, whole=False)
    with _counted() as queries:
        began = time.perf_counter()
        work(people, known == "uncached")
        return 1000 * (time.perf_counter() - began), queries[0]


def _trigger(person: UUID) -> Any:
    return parse({"eventType": TYPE, "userId": person, "metadata": {"orderId": secrets.token_hex(6), **METADATA}})


def _decide(people: Sequence[UUID], whole: bool) -> None:
    """Who is reached how, of all 500; nothing is written."""
    kinds, event_type = registry.address_kinds(), event_types()[TYPE]
    for recipient in resolve.load(people, whole=whole).values():
        plan(event_type, recipient, kinds)


def _dispatch(people: Sequence[UUID], _whole: bool) -> None:
    """The engine's whole step: claim the events, decide, write down a delivery for each channel, commit."""
    started = dispatch(Lane.STANDARD)
    if len(started.events) != len(people):
        raise RuntimeError(f"{len(started.events)} events were dispatched, not {len(people)}")


@contextmanager
def _counted() -> Iterator[list[int]]:
    """The number of queries inside, apart from BEGIN and COMMIT."""
    count = [0]

    def note(execute: Callable[..., Any], *arguments: Any) -> Any:
        count[0] += 1
        return execute(*arguments)

    with connection.execute_wrapper(note):
        yield count


if __name__ == "__main__":
    main(int(sys.argv[1]))
