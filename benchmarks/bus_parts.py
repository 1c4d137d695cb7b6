"""What the parts of a consumer's work cost, each alone: in a process that has the product's settings and database."""

from __future__ import annotations

import gc
import secrets
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import orjson

from benchmarks.stage import METADATA
from notifier.events_in.decode import decode
from notifier.models import NotificationEvent
from notifier.record import record_many
from notifier.sources import check_source
from notifier.trigger import Trigger, parse
from preferences.models import User

SOURCE, BATCH = "bus-parts", 2_000

_In = TypeVar("_In")
_Out = TypeVar("_Out")


def measured(events: int) -> None:
    """Print CPU ms an event as JSON: `decode`, `validate`, and `insert` without PostgreSQL's own."""
    users = [str(user) for user in User.objects.values_list("id", flat=True)[:500]]
    bodies = [_body(users[place % len(users)]) for place in range(events)]
    costs: dict[str, float] = {}
    gc.freeze()  # as the consumer does
    decoded = _timed(costs, "decode", lambda raw: decode(raw, {})[0], bodies)
    triggers = _timed(costs, "validate", _validated, decoded)
    _timed(costs, "insert", lambda batch: record_many(batch, SOURCE), [
        triggers[first : first + BATCH] for first in range(0, events, BATCH)
    ])  # fmt: skip
    NotificationEvent.objects.filter(source=SOURCE).delete()
    print(orjson.dumps({name: 1000 * cpu / events for name, cpu in costs.items()}).decode())  # noqa: T201 - the answer


def _timed(costs: dict[str, float], name: str, do: Callable[[_In], _Out], inputs: Sequence[_In]) -> list[_Out]:
    began = time.process_time()
    found = [do(one) for one in inputs]
    costs[name] = time.process_time() - began
    return found


def _validated(body: object) -> Trigger:
    key = secrets.token_hex(8)
    trigger = parse(body, fallback_key=key, origin={"topic": SOURCE, "partition": 0, "offset": 1})
    check_source(SOURCE, trigger)
    return trigger


def _body(user_id: str) -> bytes:
    metadata = {"orderId": f"ORD{secrets.token_hex(6)}", **METADATA}
    return orjson.dumps({"eventType": "ORDER_SHIPPED", "userId": user_id, "metadata": metadata})
