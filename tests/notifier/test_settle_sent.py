"""The short way of settle, one statement for what was sent, says the same as the rule in Python."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.db.models.functions import Now
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from notifier.catalogue import event_types
from notifier.models import Delivery, NotificationEvent
from notifier.settle import status_of
from notifier.states import FINAL, LOST, DeliveryStatus, EventStatus

pytestmark = pytest.mark.django_db

SHIPPED = event_types()["ORDER_SHIPPED"]
STATES = st.fixed_dictionaries(
    {}, optional={channel: st.tuples(st.sampled_from(DeliveryStatus), st.booleans()) for channel in SHIPPED.channels}
)


def stored(states: dict[str, tuple[DeliveryStatus, bool]], status: str = "DISPATCHED") -> list[Delivery]:
    event = NotificationEvent.objects.create(
        source="test", body_hash=b"", event_type=SHIPPED.name, priority=SHIPPED.priority, recipient_key=str(uuid4()),
        status=status, expires_at=Now(), lease_until=Now(),
    )  # fmt: skip
    return Delivery.objects.bulk_create(
        Delivery(event=event, channel=channel, status=state, fallback_of="SMS" if stands_in else "")
        for channel, (state, stands_in) in states.items()
    )


@settings(suppress_health_check=list(HealthCheck), deadline=None)
@given(STATES)
def test_it_concludes_what_was_sent_plainly_and_nothing_else(states: dict[str, tuple[DeliveryStatus, bool]]) -> None:
    deliveries = stored(states)
    if not deliveries:
        assert NotificationEvent.objects.conclude_sent([NotificationEvent.objects.latest("recorded_at").id]) == []
        return
    event = deliveries[0].event_id
    concluded = [settled.id for settled in NotificationEvent.objects.conclude_sent([event])] == [event]
    plain = all(d.status in FINAL and d.status not in LOST for d in deliveries)
    planned = any(d.status != DeliveryStatus.SKIPPED and not d.fallback_of for d in deliveries)
    assert concluded == (plain and planned)
    if concluded:
        assert status_of(SHIPPED, deliveries) == EventStatus.SENT
        row = NotificationEvent.objects.get(pk=event)
        assert (row.status, row.due_at, row.lease_until) == ("SENT", None, None)
        assert row.settled_at


def test_a_settled_event_stays_as_it_is() -> None:
    deliveries = stored({"EMAIL": (DeliveryStatus.SENT, False)}, status="PARTIAL")
    assert NotificationEvent.objects.conclude_sent([deliveries[0].event_id]) == []
