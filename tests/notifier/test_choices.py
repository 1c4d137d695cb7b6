"""The preference page's switches, and what a posted form means."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from notifier.catalogue import event_types
from notifier.pages.choices import Changes, changes, channel_switches, topics
from preferences.resolve import NOBODY, Recipient

CHANNELS = ("EMAIL", "SMS", "PUSH", "IN_APP")
TYPES = event_types()
NAMES = [f"{kind.name}.{channel}" for kind in TYPES.values() for channel in kind.channels]


def person(**choices: bool) -> Recipient:
    """Choices by "TYPE__CHANNEL", either part empty for all."""
    found = {(name.partition("__")[0], name.partition("__")[2]): on for name, on in choices.items()}
    return NOBODY._replace(choices=found)


def shown(somebody: Recipient) -> dict[str, bool]:
    return {
        switch.name: switch.on
        for topic in topics(somebody, TYPES.values(), CHANNELS)
        for row in topic.rows
        for switch in row.switches
    }


def test_types_stand_by_their_topic_and_staff_types_nowhere() -> None:
    found = topics(NOBODY, TYPES.values(), CHANNELS)
    assert [(topic.name, [row.event_type.name for row in topic.rows]) for topic in found] == [
        ("Your order", ["ORDER_PLACED", "ORDER_CONFIRMED", "ORDER_CANCELLED"]),
        ("Delivery", ["ORDER_PACKED", "ORDER_SHIPPED", "ORDER_DELIVERED", "ORDER_DELAYED"]),
    ]


def test_a_channel_that_is_not_configured_has_no_switch() -> None:
    found = topics(NOBODY, TYPES.values(), ("EMAIL",))
    assert {s.channel for topic in found for row in topic.rows for s in row.switches} == {"EMAIL"}
    assert [switch.name for switch in channel_switches(NOBODY, TYPES.values(), ("SMS", "EMAIL"))] == [".SMS", ".EMAIL"]


def test_what_is_mandatory_is_on_and_says_so() -> None:
    off = person(__EMAIL=False)
    (placed,) = [
        switch
        for topic in topics(off, TYPES.values(), CHANNELS)
        for row in topic.rows
        for switch in row.switches
        if switch.name == "ORDER_PLACED.EMAIL"
    ]
    assert (placed.on, placed.mandatory) == (True, True)
    assert shown(off)["ORDER_SHIPPED.EMAIL"] is False


def test_only_what_differs_is_changed() -> None:
    seen = ["ORDER_SHIPPED.SMS", "ORDER_SHIPPED.PUSH"]
    found = changes(NOBODY, TYPES, seen, ["ORDER_SHIPPED.PUSH", "ORDER_PACKED.PUSH"])
    assert found == Changes({("ORDER_SHIPPED", "SMS"): False, ("ORDER_PACKED", "PUSH"): True})


def test_a_whole_channel_rules_over_its_types() -> None:
    somebody = person(ORDER_SHIPPED__SMS=True, ORDER_SHIPPED__PUSH=False, ORDER_PACKED__=False)
    found = changes(somebody, TYPES, [".SMS", "ORDER_SHIPPED.SMS"], [])
    assert found == Changes({("", "SMS"): False}, frozenset({("ORDER_SHIPPED", "SMS")}))


def test_what_nobody_may_choose_is_passed_over() -> None:
    posted = ["ORDER_PLACED.EMAIL", "ORDER_PACKED.SMS", "NOTHING.SMS", "", ".", "FRAUD_ALERT.SMS", "x" * 5000]
    assert changes(NOBODY, TYPES, [], posted) == Changes()
    assert changes(NOBODY, TYPES, posted, []) == Changes()


@given(seen=st.sets(st.sampled_from(NAMES)), posted=st.sets(st.sampled_from(NAMES)))
def test_what_was_posted_is_shown_next(seen: set[str], posted: set[str]) -> None:
    """And no mandatory type is ever off."""
    made = changes(NOBODY, TYPES, seen, posted).made
    after = shown(NOBODY._replace(choices=dict(made)))
    for name, on in after.items():
        event_type, _, channel = name.partition(".")
        if channel in TYPES[event_type].mandatory:
            assert on
        elif name in seen ^ posted:
            assert on == (name in posted)
