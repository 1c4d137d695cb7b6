"""Was anything lost or doubled? Judged from the providers' own log and the ledger, never from what workers say.

`read` takes both as they are now; `judge` is pure.
"""

from __future__ import annotations

import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from tests.chaos.servers import Postgres

FINAL_EVENTS = {"SENT", "PARTIAL", "FAILED", "SKIPPED"}
ACCEPTED = {"SENT", "DELIVERED"}
LEASE = 25.0  # seconds a send may be under way, at most
OPEN = {"QUEUED", "SENDING", "RETRYING"}
#: what a type goes out by before anything else is known (config/event_types.py, written down anew on purpose)
PLANNED = {
    "ORDER_PLACED": {"EMAIL", "PUSH", "IN_APP"},
    "ORDER_CONFIRMED": {"EMAIL", "PUSH", "IN_APP"},
    "ORDER_PACKED": {"PUSH", "IN_APP"},
    "ORDER_SHIPPED": {"EMAIL", "SMS", "PUSH", "IN_APP"},
    "ORDER_DELIVERED": {"EMAIL", "SMS", "PUSH", "IN_APP"},
    "ORDER_DELAYED": {"EMAIL", "SMS", "PUSH", "IN_APP"},
    "ORDER_CANCELLED": {"EMAIL", "SMS", "PUSH", "IN_APP"},
}


@dataclass(frozen=True, slots=True)
class Taken:
    """A message that a provider accepted. `at` in seconds since the epoch; `attempt` 0 where it is not known."""

    provider: str
    delivery_id: str
    to: str
    at: float
    attempt: int


@dataclass(frozen=True, slots=True)
class Ledger:
    """The tables, as rows by column name; times in seconds since the epoch."""

    events: Sequence[Mapping[str, Any]]
    deliveries: Sequence[Mapping[str, Any]]
    attempts: Sequence[Mapping[str, Any]]
    open_letters: frozenset[str]  # delivery ids
    inbox: frozenset[str]  # delivery ids
    devices: Mapping[str, str]  # token -> id


@dataclass(slots=True)
class Findings:
    """Each problem as a line for people; empty lists are what we want."""

    lost: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)
    explained: list[str] = field(default_factory=list)  # doubled within the window that cannot be closed
    not_final: list[str] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)  # the ledger does not tell what happened
    channels: dict[str, Counter[str]] = field(default_factory=dict)
    to_final: list[float] = field(default_factory=list)  # seconds, recorded to settled
    to_accepted: list[float] = field(default_factory=list)  # seconds, recorded to the first acceptance

    @property
    def ok(self) -> bool:
        return not (self.lost or self.unexplained or self.not_final or self.odd)

    @property
    def doubled(self) -> int:
        return len(self.explained) + len(self.unexplained)


def read(postgres: Postgres) -> Ledger:
    seconds = "extract(epoch FROM {0})::float8 AS {0}".format
    return Ledger(
        events=postgres.query(
            f"SELECT id::text, idempotency_key, event_type, status, round, {seconds('recorded_at')}, "
            f"{seconds('settled_at')} FROM notifier_notificationevent"
        ),
        deliveries=postgres.query(
            "SELECT id::text, event_id::text, channel, status, skip_reason, attempt, tries, crashes "
            "FROM notifier_delivery"
        ),
        attempts=postgres.query(
            f"SELECT delivery_id::text, number, address_id, outcome, maybe_duplicate, detail, {seconds('started_at')} "
            "FROM notifier_attempt"
        ),
        open_letters=_ids(postgres, "SELECT delivery_id FROM notifier_deadletter WHERE status = 'OPEN'"),
        inbox=_ids(postgres, "SELECT delivery_id FROM notifier_channels_inboxmessage"),
        devices={row["token"]: str(row["id"]) for row in postgres.query("SELECT id, token FROM preferences_device")},
    )


def _ids(postgres: Postgres, sql: str) -> frozenset[str]:
    return frozenset(str(row["delivery_id"]) for row in postgres.query(sql))


def taken(log: Path) -> list[Taken]:
    """The accepted messages of the sandbox's log."""
    found = []
    with log.open() as lines:
        for line in lines:
            message = json.loads(line)
            if message.get("accepted", True):
                at = message["at"] if "at" in message else message["receivedAt"]
                found.append(
                    Taken(
                        message["provider"],
                        message["deliveryId"],
                        message["to"],
                        float(at) / (1_000 if float(at) > 1e11 else 1),  # milliseconds or seconds
                        int(message.get("attempt") or 0),
                    )
                )
    return found


def judge(
    accepted: Mapping[str, str], ledger: Ledger, log: Iterable[Taken], excuses: Sequence[tuple[float, float]]
) -> Findings:
    """`accepted`: what got its 202, as idempotency key -> event id. `excuses`: when sends may have lost their process.

    An attempt may be of unknown outcome because its provider did not answer. Where the sweeper says that its process
    was gone, something must have happened to processes then, or the mark is no excuse for a double.
    """
    by_delivery: dict[str, list[Taken]] = defaultdict(list)
    for message in log:
        by_delivery[message.delivery_id].append(message)
    found = Findings()
    _judge_events(accepted, ledger, found)
    attempts: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for attempt in ledger.attempts:
        excused = attempt["maybe_duplicate"] and (not _by_sweeper(attempt) or _happened(attempt, excuses))
        attempts[attempt["delivery_id"]].append({**attempt, "maybe_duplicate": excused})
    for delivery in ledger.deliveries:
        _judge_delivery(delivery, by_delivery.get(delivery["id"], []), attempts[delivery["id"]], ledger, found)
    known = {delivery["id"] for delivery in ledger.deliveries}
    found.odd += [f"message for the unknown delivery {i!r}" for i in by_delivery if i not in known]
    _measure(ledger, by_delivery, found)
    return found


def _by_sweeper(attempt: Mapping[str, Any]) -> bool:
    """Written by the sweeper, and perhaps corrected by its process, which then came late."""
    return attempt["outcome"] == "ACCEPTED" or "process that sent it ended" in attempt["detail"]


def _happened(attempt: Mapping[str, Any], excuses: Sequence[tuple[float, float]]) -> bool:
    began = attempt["started_at"]
    return any(start - LEASE <= began <= end for start, end in excuses)


def _judge_events(accepted: Mapping[str, str], ledger: Ledger, found: Findings) -> None:
    ids = {event["id"] for event in ledger.events}
    found.lost += [
        f"trigger {key} was accepted as {i}, which is not recorded" for key, i in accepted.items() if i not in ids
    ]
    channels: dict[str, set[str]] = defaultdict(set)
    for delivery in ledger.deliveries:
        channels[delivery["event_id"]].add(delivery["channel"])
    for event in ledger.events:
        if event["status"] not in FINAL_EVENTS:
            found.not_final.append(f"event {event['id']} is {event['status']} in round {event['round']}")
        elif missing := PLANNED.get(event["event_type"], set()) - channels[event["id"]]:
            found.lost.append(f"event {event['id']} never got its {', '.join(sorted(missing))}")
    keys = Counter(event["idempotency_key"] for event in ledger.events if event["idempotency_key"])
    found.unexplained += [f"key {key} is that of {n} events" for key, n in keys.items() if n > 1]


def _judge_delivery(
    delivery: Mapping[str, Any],
    messages: Sequence[Taken],
    attempts: Sequence[Mapping[str, Any]],
    ledger: Ledger,
    found: Findings,
) -> None:
    status, name = delivery["status"], f"{delivery['channel']} delivery {delivery['id']}"
    found.channels.setdefault(delivery["channel"], Counter())[status] += 1
    arrived = bool(messages) or delivery["id"] in ledger.inbox
    unknown = any(attempt["maybe_duplicate"] for attempt in attempts)
    if status in OPEN:
        found.not_final.append(f"{name} is {status}")
    elif status in ACCEPTED and not arrived:
        found.lost.append(f"{name} is {status}, but nobody accepted it")
    elif status == "SKIPPED" and not delivery["skip_reason"]:
        found.odd.append(f"{name} is SKIPPED without a reason")
    elif status == "FAILED" and delivery["id"] not in ledger.open_letters:
        found.lost.append(f"{name} is FAILED without an open dead letter")
    if status not in ACCEPTED | OPEN and arrived and not unknown:
        found.odd.append(f"{name} is {status}, though it was accepted and no attempt says maybe")
    if status not in ACCEPTED | OPEN and any(_surely_taken(attempt) for attempt in attempts):
        found.odd.append(f"{name} is {status}, though one of its attempts is written down as accepted")
    for to, copies in groupby(sorted(messages, key=lambda m: (m.to, m.at)), key=lambda m: m.to):
        _judge_copies(name, list(copies), _of_address(attempts, delivery["channel"], ledger.devices.get(to)), found)


def _surely_taken(attempt: Mapping[str, Any]) -> bool:
    """Accepted, and not written down late: what came after the row was final changes it no more."""
    return bool(attempt["outcome"] == "ACCEPTED" and not attempt["maybe_duplicate"])


def _of_address(attempts: Sequence[Mapping[str, Any]], channel: str, device: str | None) -> Sequence[Mapping[str, Any]]:
    """Push: the attempts that concern this device, or (a crash) any."""
    if channel != "PUSH" or device is None:
        return attempts
    return [attempt for attempt in attempts if attempt["address_id"] in ("", device)]


def _judge_copies(name: str, copies: Sequence[Taken], attempts: Sequence[Mapping[str, Any]], found: Findings) -> None:
    """Copies to one address: every one but the last must be of an attempt that is marked as of unknown outcome."""
    if len(copies) < 2:
        return
    numbers = [copy.attempt for copy in copies]
    unknown = {attempt["number"] for attempt in attempts if attempt["maybe_duplicate"]}
    line = f"{name} was accepted {len(copies)} times (attempts {numbers}, unknown {sorted(unknown)})"
    if all(numbers):  # the provider's log tells which attempt each was
        open_window = len(set(numbers)) == len(numbers) and sum(n not in unknown for n in numbers) <= 1
    else:
        open_window = len(copies) - 1 <= len(unknown)
    (found.explained if open_window else found.unexplained).append(line)


def _measure(ledger: Ledger, by_delivery: Mapping[str, Sequence[Taken]], found: Findings) -> None:
    first: dict[str, float] = {}
    for delivery in ledger.deliveries:
        for message in by_delivery.get(delivery["id"], ()):
            event = delivery["event_id"]
            first[event] = min(first.get(event, message.at), message.at)
    for event in ledger.events:
        if event["settled_at"]:
            found.to_final.append(event["settled_at"] - event["recorded_at"])
        if event["id"] in first:
            found.to_accepted.append(max(0.0, first[event["id"]] - event["recorded_at"]))


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """p50, p99 and the longest."""
    if len(seconds) < 2:
        return {"p50": 0.0, "p99": 0.0, "max": max(seconds, default=0.0)}
    cuts = statistics.quantiles(seconds, n=100)
    return {"p50": round(cuts[49], 3), "p99": round(cuts[98], 3), "max": round(max(seconds), 3)}
