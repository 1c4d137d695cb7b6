"""What a plan may never do, whoever the recipient is and whatever they chose."""

from __future__ import annotations

from itertools import product
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from notifier.catalogue import EventType, event_types
from notifier.plan import next_fallback, plan
from preferences.resolve import DEVICE, EMAIL, PHONE, USER, Address, Recipient

KINDS = {"EMAIL": EMAIL, "SMS": PHONE, "PUSH": DEVICE, "IN_APP": USER}
CHANNELS = tuple(KINDS)
types = st.sampled_from(sorted(event_types().values(), key=lambda event_type: event_type.name))
addresses = st.fixed_dictionaries(
    {
        EMAIL: st.sampled_from([(), (Address("a@mail.example"),), (Address("a@mail.example", suppressed=True),)]),
        PHONE: st.sampled_from([(), (Address("+4915112345678"),), (Address("+4915112345678", suppressed=True),)]),
        DEVICE: st.sampled_from([(), (Address("token", "1"),), (Address("token", "1"), Address("other", "2"))]),
        USER: st.sampled_from([(), (Address("u"),)]),
    }
)


@st.composite
def cases(draw: st.DrawFn) -> tuple[EventType, Recipient, dict[str, str]]:
    """A type, somebody who chose about it, and the channels that this shop has."""
    event_type = draw(types)
    keys = [*product((event_type.name, ""), (*CHANNELS, "")), ("ANOTHER_TYPE", "EMAIL"), ("ANOTHER_TYPE", "")]
    choices = draw(st.dictionaries(st.sampled_from(keys), st.booleans()))
    channels = draw(st.sets(st.sampled_from(CHANNELS)))
    recipient = Recipient(UUID(int=1), "en", "UTC", draw(addresses), choices)
    return event_type, recipient, {channel: KINDS[channel] for channel in CHANNELS if channel in channels}


def refused(event_type: EventType, channel: str, recipient: Recipient) -> bool:
    """By the words of the API's documentation, written anew: the most particular choice decides, and off wins."""
    if channel in event_type.mandatory:
        return False
    for keys in ([(event_type.name, channel)], [(event_type.name, ""), ("", channel)], [("", "")]):
        if said := [recipient.choices[key] for key in keys if key in recipient.choices]:
            return False in said
    return False


@given(cases())
def test_a_mandatory_type_is_never_off(case: tuple[EventType, Recipient, dict[str, str]]) -> None:
    event_type, recipient, channels = case
    for delivery in plan(event_type, recipient, channels):
        if delivery.channel in event_type.mandatory:
            assert delivery.skip_reason != "OPTED_OUT"


@given(cases())
def test_who_opted_out_gets_nothing_not_as_a_fallback_either(case: tuple[EventType, Recipient, dict[str, str]]) -> None:
    event_type, recipient, channels = case
    going = [delivery.channel for delivery in plan(event_type, recipient, channels) if not delivery.skip_reason]
    for failed in event_type.reachable_channels:
        if stand_in := next_fallback(event_type, failed, recipient, channels, taken=()):
            going.append(stand_in)

    assert not [channel for channel in going if refused(event_type, channel, recipient)]


@given(cases())
def test_what_goes_has_a_channel_and_an_address(case: tuple[EventType, Recipient, dict[str, str]]) -> None:
    event_type, recipient, channels = case
    for delivery in plan(event_type, recipient, channels):
        if not delivery.skip_reason:
            usable = [a for a in recipient.addresses[channels[delivery.channel]] if not a.suppressed]
            assert usable


@given(cases())
def test_each_channel_is_decided_once_and_says_why(case: tuple[EventType, Recipient, dict[str, str]]) -> None:
    event_type, recipient, channels = case
    planned = plan(event_type, recipient, channels)

    assert [delivery.channel for delivery in planned[: len(event_type.channels)]] == list(event_type.channels)
    assert len({delivery.channel for delivery in planned}) == len(planned)
    for delivery in planned:
        if delivery.skip_reason == "OPTED_OUT":
            assert refused(event_type, delivery.channel, recipient)
        elif delivery.skip_reason == "CHANNEL_DISABLED":
            assert delivery.channel not in channels


@given(cases())
def test_who_opted_out_of_everything_is_chased_nowhere(case: tuple[EventType, Recipient, dict[str, str]]) -> None:
    """A stand-in comes for what cannot be reached, and never for what is not wanted."""
    event_type, recipient, channels = case
    planned = plan(event_type, recipient, channels)
    for delivery in planned[len(event_type.channels) :]:
        (first,) = [one for one in planned if one.channel == delivery.fallback_of]
        assert first.skip_reason not in ("", "OPTED_OUT")
