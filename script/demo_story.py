"""The scripted story of `script/demo --once`: what is triggered, what must come of it, and whether it did."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from celery import Celery
from demo_people import ADA, BEN, CHLOE, DIETER, Customer
from demo_processes import DemoError, Processes
from django.db.models import QuerySet
from rich.console import Console
from rich.table import Table

from channels.models import InboxMessage
from notifier.catalogue import event_types
from notifier.models import DeadLetter, Delivery, NotificationEvent
from notifier.states import ACCEPTED, SETTLED, DeadLetterStatus, DeliveryStatus

DEADLINE = 60.0  # seconds until all is final
SKIPPED, FAILED, SENT = DeliveryStatus.SKIPPED, DeliveryStatus.FAILED, DeliveryStatus.SENT
GUEST_PHONE = "+12025550150"
HTTP, CELERY, ENGINE = "HTTP", "Celery", "Notifier"


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One trigger, and the deliveries that must come of it; what is not named must be SKIPPED or absent."""

    event_type: str
    customer: Customer | None
    expects: Mapping[str, DeliveryStatus]
    by: str = HTTP
    recipient: Mapping[str, str] = field(default_factory=dict)

    @property
    def who(self) -> str:
        return self.customer.name if self.customer else "guest, phone only" if self.recipient else "staff"


def _sent(*channels: str, **others: DeliveryStatus) -> Mapping[str, DeliveryStatus]:
    return dict.fromkeys(channels, SENT) | others


#: alone, so that its call to the SMS provider carries no other message and is retried within its chord
TWICE_FAILING = Step("ORDER_SHIPPED", ADA, _sent("EMAIL", "SMS", "PUSH", "IN_APP"))
ORDINARY = (
    Step("ORDER_PLACED", ADA, _sent("EMAIL", "PUSH", "IN_APP")),
    Step("ORDER_CONFIRMED", ADA, _sent("EMAIL", "PUSH", "IN_APP"), CELERY),
    Step("ORDER_PACKED", BEN, _sent("PUSH", "IN_APP")),
    Step("ORDER_PLACED", BEN, _sent("EMAIL", "PUSH", "IN_APP")),
    Step("ORDER_SHIPPED", BEN, _sent("EMAIL", "PUSH", "IN_APP", SMS=SKIPPED), CELERY),
    Step("ORDER_DELAYED", CHLOE, _sent("EMAIL", "IN_APP", SMS=SKIPPED), CELERY),
    Step("ORDER_DELIVERED", CHLOE, _sent("EMAIL", "IN_APP", SMS=SKIPPED)),
    Step("ORDER_PLACED", DIETER, _sent("EMAIL", "IN_APP", PUSH=SKIPPED), CELERY),
    Step("ORDER_DELIVERED", DIETER, _sent("EMAIL", "SMS", "IN_APP")),
    Step("FRAUD_ALERT", None, _sent("EMAIL", "SMS", "IN_APP")),
    Step("CHANNEL_DEGRADED", None, _sent("EMAIL", "SMS", "IN_APP")),
)
#: SMS is down for good for these two; DELIVERY_FAILED comes of the second
UNREACHABLE = (
    Step("ORDER_CANCELLED", DIETER, _sent("EMAIL", "IN_APP", SMS=FAILED)),
    Step("ORDER_DELAYED", None, {"SMS": FAILED}, recipient={"phone": GUEST_PHONE, "locale": "en"}),
)
CONSEQUENCE = Step("DELIVERY_FAILED", None, _sent("EMAIL", "IN_APP"), ENGINE)


class Story:
    """Tells the story to a running Notifier and compares what came of it with what should have."""

    def __init__(self, *, run: str, web: str, sandbox: str, api_key: str, broker: str, began: datetime) -> None:
        self._run, self._web, self._sandbox, self._began = run, web, sandbox, began
        self._headers = {"Authorization": f"Api-Key {api_key}", "Content-Type": "application/json"}
        # what a shop's own service has: the broker's address and the task's name
        self._celery = Celery(broker=broker)
        self._steps: dict[str, Step] = {}
        self.problems: list[str] = []

    def tell(self, processes: Processes) -> None:
        """Trigger everything and wait until every event is final. Raises DemoError."""
        self._fault(ADA.phone, times=2)
        self._trigger(TWICE_FAILING)
        self._wait(processes, "the first try of the SMS that fails twice", self._first_sms_was_tried)
        keys = [self._trigger(step) for step in ORDINARY]
        self._trigger_again(keys[0], ORDINARY[0])
        self._wait(processes, "the German customer's SMS", self._german_sms_was_sent)
        for address in (DIETER.phone, GUEST_PHONE):
            self._fault(address)
        for step in UNREACHABLE:
            self._trigger(step)
        self._wait(processes, "the end of all events", self._all_is_final)

    def check(self) -> list[str]:
        """What is missing, doubled or otherwise not as planned; empty when all is well."""
        events = self._events()
        for step, deliveries in self._by_step(events):
            self._check_step(step, deliveries)
        deliveries = [delivery for event in events for delivery in event.deliveries.all()]
        self._check_received(deliveries)
        self._check_dead_letters(deliveries)
        return self.problems

    def show(self, console: Console) -> None:
        """The table: every delivery, from the database."""
        table = Table(title="What came of it", title_justify="left")
        for heading in ("event", "for", "by", "channel", "status"):
            table.add_column(heading, no_wrap=True)
        table.add_column("attempts", justify="right")
        table.add_column("ms to provider", justify="right")
        for event in self._events():
            step = self._step_of(event)
            for number, delivery in enumerate(sorted(event.deliveries.all(), key=lambda row: row.channel)):
                about = (event.event_type, step.who, step.by) if number == 0 else ("", "", "")
                table.add_row(*about, *_cells(event, delivery))
            table.add_section()
        console.print(table)

    def count(self) -> str:
        """How much there was, in words."""
        events = self._events()
        times = sorted(_milliseconds(event, row) for event in events for row in event.deliveries.all() if row.sent_at)
        received = sum(1 for message in self._received() if message["accepted"])
        inbox = len(_inbox([row for event in events for row in event.deliveries.all()]))
        return (
            f"{len(events)} events, {len(times)} messages sent: {received} at the sandbox, {inbox} in the inbox. "
            f"From trigger to provider: median {times[len(times) // 2] if times else 0} ms."
        )

    # --- telling -----------------------------------------------------------------------------------------------
    def _trigger(self, step: Step) -> str:
        """Returns the idempotency key."""
        key = f"{self._run}-{len(self._steps) + 1:02}"
        self._steps[key] = step
        body = self._body(key, step)
        if step.by == CELERY:
            names = {"event_type": "eventType", "user_id": "userId", "metadata": "metadata"}
            arguments = {name: body[field] for name, field in names.items() if field in body}
            self._celery.send_task("notifier.trigger", kwargs=arguments | {"idempotency_key": key}, queue="events")
        else:
            status, answer = self._post(key, body)
            if status != 202:
                raise DemoError(f"triggering {step.event_type} was answered with {status}: {answer}")
        return key

    def _trigger_again(self, key: str, step: Step) -> None:
        """The same key and body once more must be the same event."""
        status, answer = self._post(key, self._body(key, step))
        event = NotificationEvent.objects.get(idempotency_key=key)
        if (status, answer.get("eventId")) != (200, str(event.id)):
            self.problems.append(f"the duplicate trigger was answered with {status}: {answer}")

    def _body(self, key: str, step: Step) -> dict[str, Any]:
        sample = event_types()[step.event_type].sample
        body: dict[str, Any] = {"eventType": step.event_type, "metadata": dict(sample)}
        if "orderId" in sample:  # an order each, so that none supersedes another's message
            body["metadata"]["orderId"] = f"DEMO-{key}"
        if step.customer:
            body["userId"] = str(step.customer.id)
        elif step.recipient:
            body["recipient"] = dict(step.recipient)
        return body

    def _post(self, key: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        headers = self._headers | {"Idempotency-Key": key}
        return _call("POST", f"{self._web}/notifications/trigger", body, headers)

    def _fault(self, phone: str, times: int | None = None) -> None:
        """Let the SMS provider be away for this number that often, or else refuse it: no route to it (21612)."""
        how = {"status": 503, "times": times} if times else {"status": 400, "code": "21612"}
        fault = {"provider": "twilio", "mode": "status", "address": phone, **how}
        status, answer = _call("PUT", f"{self._sandbox}/faults", fault)
        if status != 200:
            raise DemoError(f"the sandbox refused a fault with {status}: {answer}")

    # --- waiting -----------------------------------------------------------------------------------------------
    @staticmethod
    def _wait(processes: Processes, what: str, holds: Callable[[], bool]) -> None:
        processes.wait_for(what, holds, DEADLINE)

    def _first_sms_was_tried(self) -> bool:
        return self._sms("ORDER_SHIPPED", ADA).filter(attempt__gt=0).exists()

    def _german_sms_was_sent(self) -> bool:
        return self._sms("ORDER_DELIVERED", DIETER).filter(status__in=ACCEPTED).exists()

    def _sms(self, event_type: str, customer: Customer) -> QuerySet[Delivery]:
        events = NotificationEvent.objects.filter(recorded_at__gte=self._began, user_id=customer.id)
        return Delivery.objects.filter(event__in=events.filter(event_type=event_type), channel="SMS")

    def _all_is_final(self) -> bool:
        """The staff event is recorded in the transaction that ends the guest's, so nothing comes after this."""
        events = self._events()
        known = {self._step_of(event) for event in events}
        return known >= {*self._steps.values()} and all(event.status in SETTLED for event in events)

    # --- comparing ---------------------------------------------------------------------------------------------
    def _events(self) -> Sequence[NotificationEvent]:
        found = NotificationEvent.objects.filter(recorded_at__gte=self._began)
        return list(found.order_by("recorded_at").prefetch_related("deliveries"))

    def _step_of(self, event: NotificationEvent) -> Step:
        """A staff event's key is followed by its member's id; the key of a consequence is not ours."""
        return self._steps.get((event.idempotency_key or "").partition(":")[0], CONSEQUENCE)

    def _by_step(self, events: Iterable[NotificationEvent]) -> Iterable[tuple[Step, list[Delivery]]]:
        found: dict[Step, list[Delivery]] = {step: [] for step in (*self._steps.values(), CONSEQUENCE)}
        for event in events:
            found[self._step_of(event)] += event.deliveries.all()
        return found.items()

    def _check_step(self, step: Step, deliveries: Sequence[Delivery]) -> None:
        found = {row.channel: row.status for row in deliveries}
        if len(found) < len(deliveries):
            self.problems.append(f"{step.event_type} for {step.who} was recorded more than once")
        for channel in {*found, *step.expects}:
            status, wanted = found.get(channel, SKIPPED), step.expects.get(channel, SKIPPED)
            if status != wanted:
                self.problems.append(f"{step.event_type} for {step.who}: {channel} is {status}, not {wanted}")

    def _check_received(self, deliveries: Sequence[Delivery]) -> None:
        """What providers accepted must be what we believe they did, each message once."""
        planned = {str(row.id): row for row in deliveries if row.status in ACCEPTED}
        received = Counter(message["deliveryId"] for message in self._received() if message["accepted"])
        received.update(str(row) for row in _inbox(deliveries))
        for delivery_id in planned.keys() - received.keys():
            self.problems.append(f"missing at the provider: {planned[delivery_id].channel} {delivery_id}")
        for delivery_id, times in received.items():
            if delivery_id not in planned:
                self.problems.append(f"received though not planned: {delivery_id}")
            elif times > 1:
                self.problems.append(f"received {times} times: {planned[delivery_id].channel} {delivery_id}")

    def _check_dead_letters(self, deliveries: Sequence[Delivery]) -> None:
        letters = DeadLetter.objects.filter(delivery__in=deliveries, status=DeadLetterStatus.OPEN)
        lost = {row.id for row in deliveries if row.status == FAILED}
        if {letter.delivery_id for letter in letters} != lost:
            self.problems.append(f"{len(lost)} deliveries failed, but {len(letters)} dead letters are open")

    def _received(self) -> list[dict[str, Any]]:
        results: list[dict[str, Any]] = _call("GET", f"{self._sandbox}/messages")[1]["results"]
        return results


def _inbox(deliveries: Sequence[Delivery]) -> list[UUID]:
    ids = [row.id for row in deliveries]
    return list(InboxMessage.objects.filter(delivery_id__in=ids).values_list("delivery_id", flat=True))


def _cells(event: NotificationEvent, row: Delivery) -> tuple[str, str, str, str]:
    colour = {SENT: "green", FAILED: "red"}.get(DeliveryStatus(row.status), "yellow")
    why = f" {row.skip_reason}" if row.skip_reason else f" for {row.fallback_of}" if row.fallback_of else ""
    time = str(_milliseconds(event, row)) if row.sent_at else ""
    return row.channel, f"[{colour}]{row.status}[/]{why}", str(row.attempt or ""), time


def _milliseconds(event: NotificationEvent, row: Delivery) -> int:
    return round((row.sent_at - event.recorded_at).total_seconds() * 1000) if row.sent_at else 0


def _call(
    method: str, url: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
) -> tuple[int, dict[str, Any]]:
    """Status and JSON of the answer, errors included."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, dict(headers or {}), method=method)  # noqa: S310 - loopback
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - loopback
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, {"error": error.read().decode(errors="replace")[:500]}
