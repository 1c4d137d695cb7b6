"""Who gets an event by which channel, and who is told why not."""

from __future__ import annotations

from uuid import UUID

from notifier.catalogue import EventType, event_types
from notifier.models import Delivery
from notifier.plan import next_fallback, plan
from notifier.settle import stand_in, status_of
from notifier.states import DeliveryStatus as S
from preferences.resolve import Address, Recipient

KINDS = {"EMAIL": "email", "SMS": "phone", "PUSH": "device", "IN_APP": "user"}
EVERYTHING = {
    "email": (Address("a@shop.example"),),
    "phone": (Address("+4915112345678"),),
    "device": (Address("t", id="d"),),
    "user": (Address("u"),),
}


def person(**addresses: tuple[Address, ...]) -> Recipient:
    return Recipient(UUID(int=1), "en", "UTC", {**EVERYTHING, **addresses})


def shown(event_type: EventType, recipient: Recipient, kinds: dict[str, str] = KINDS) -> dict[str, str]:
    return {p.channel: str(p.skip_reason.value or p.status.value) for p in plan(event_type, recipient, kinds)}


SHIPPED, PLACED = event_types()["ORDER_SHIPPED"], event_types()["ORDER_PLACED"]


def test_everything_on() -> None:
    assert set(shown(SHIPPED, person()).values()) == {"QUEUED"}


def test_each_obstacle_is_named() -> None:
    suppressed = (Address("a@shop.example", suppressed=True),)
    recipient = person(email=suppressed, phone=())._replace(choices={("ORDER_SHIPPED", "PUSH"): False})
    assert shown(SHIPPED, recipient, KINDS) == {
        "EMAIL": "SUPPRESSED",
        "SMS": "NO_ADDRESS",
        "PUSH": "OPTED_OUT",
        "IN_APP": "QUEUED",
    }
    assert shown(SHIPPED, person(), {"EMAIL": "email"})["SMS"] == "CHANNEL_DISABLED"


def test_the_chain_serves_when_nothing_planned_is_left() -> None:
    found = plan(PLACED, person(email=(), device=(), user=()), KINDS)
    assert (found[-1].channel, found[-1].fallback_of, found[-1].status) == ("SMS", "EMAIL", "QUEUED")


def test_who_opted_out_is_not_chased_down_another_channel() -> None:
    packed = event_types()["ORDER_PACKED"]
    recipient = person()._replace(choices={("ORDER_PACKED", ""): False})
    assert set(shown(packed, recipient).values()) == {"OPTED_OUT"}


def test_a_fallback_is_allowed_free_and_reachable() -> None:
    assert next_fallback(SHIPPED, "PUSH", person(), KINDS, taken=()) == "EMAIL"
    assert next_fallback(SHIPPED, "PUSH", person(), KINDS, taken=("EMAIL",)) == "SMS"
    assert next_fallback(SHIPPED, "PUSH", person(email=(), phone=()), KINDS, taken=()) == ""
    assert next_fallback(SHIPPED, "IN_APP", person(), KINDS, taken=()) == ""


def rows(**states: str) -> list[Delivery]:
    return [Delivery(channel=channel, status=state) for channel, state in states.items()]


def test_the_final_status() -> None:
    assert status_of(SHIPPED, rows(EMAIL="SENT", SMS="DELIVERED")) == "SENT"
    assert status_of(SHIPPED, rows(EMAIL="SENT", SMS="FAILED")) == "SENT"  # the mail is its fallback
    assert status_of(SHIPPED, rows(EMAIL="SENT", IN_APP="FAILED")) == "PARTIAL"
    assert status_of(SHIPPED, rows(EMAIL="FAILED", SMS="BOUNCED")) == "FAILED"
    assert status_of(SHIPPED, rows(EMAIL="SKIPPED", SMS="SKIPPED")) == "SKIPPED"
    assert status_of(SHIPPED, rows(EMAIL="SENT", SMS="SKIPPED")) == "SENT"
    assert status_of(SHIPPED, []) == "SKIPPED"
    stand_in_only = [*rows(EMAIL="SKIPPED"), Delivery(channel="SMS", status="SENT", fallback_of="EMAIL")]
    assert status_of(PLACED, stand_in_only) == "SENT"


def test_no_second_stand_in_while_one_is_under_way_or_has_arrived() -> None:
    assert stand_in(SHIPPED, "PUSH", {"PUSH": S.FAILED, "EMAIL": S.SENDING}, person()) == ""
    assert stand_in(SHIPPED, "PUSH", {"PUSH": S.FAILED, "EMAIL": S.SENT}, person()) == ""
    assert stand_in(SHIPPED, "PUSH", {"PUSH": S.FAILED, "EMAIL": S.FAILED}, person()) == "SMS"
    assert stand_in(SHIPPED, "PUSH", {"PUSH": S.FAILED, "EMAIL": S.FAILED, "SMS": S.FAILED}, person()) == ""
