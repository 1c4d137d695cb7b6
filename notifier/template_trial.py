"""Send a template's message, with its sample, to the member of staff who asks: by the channel, as any message."""

from __future__ import annotations

import logging
from uuid import UUID

from channels import registry
from channels.base import Channel, Message, Outcome
from channels.errors import ChannelError
from notifier import borders
from notifier.catalogue import event_types
from notifier.models import new_id
from notifier.querysets.templates import Place
from notifier.render import RenderError, from_source, render
from notifier.states import SkipReason
from notifier.template_check import sample_context
from preferences import resolve
from preferences.resolve import NOBODY

log = logging.getLogger(__name__)

REFUSED = {
    SkipReason.NO_ADDRESS: "your account has no address for this channel",
    SkipReason.SUPPRESSED: "your address is suppressed",
    SkipReason.COUNTRY: "your phone number is outside SMS_REGIONS",
    SkipReason.STAGING: "this is staging, and STAGING_RECIPIENTS does not name your address",
}


class NotSentError(Exception):
    """A test was not sent; its text says why, for people."""


def send_test(user_id: UUID, source: str, place: Place) -> int:
    """Send it to the user's own addresses, whatever they turned off; to how many. Raises NotSentError.

    It counts against rate limit and daily budget. Nothing is recorded: no event, no delivery.
    """
    channel = registry.get(place.channel)
    recipient = resolve.load([user_id]).get(user_id, NOBODY)
    reason = SkipReason.STAGING if borders.keeps_out(channel) else borders.refusal(recipient, channel.address)
    if reason:
        raise NotSentError(f"Not sent: {REFUSED[reason]}.")
    parts = _parts(source, place)
    messages = [
        Message(str(new_id()), 1, address.value, parts, address.id, place.event_type)
        for address in borders.destinations(recipient, channel.address)
    ]
    outcomes = _send(channel, messages)
    log.info("template %s: a test was sent to its author", place)
    if errors := [outcome for outcome in outcomes if isinstance(outcome, ChannelError)]:
        raise NotSentError(f"Not sent: the provider answered {type(errors[0]).__name__}.")
    return len(messages)


def _parts(source: str, place: Place) -> dict[str, str]:
    context = sample_context(event_types()[place.event_type], place.locale)
    try:
        template = from_source(source, "v0", place.event_type, place.channel, place.locale)
        shown = render(place.channel, registry.parts(place.channel), place.event_type, context, template)
    except RenderError as error:
        raise NotSentError(f"Not sent: {error}.") from None
    return dict(borders.marked(shown))


def _send(channel: Channel, messages: list[Message]) -> list[Outcome]:
    try:
        permit = channel.permit(len(messages), urgent=False)
        if permit.granted < len(messages):
            raise NotSentError(f"Not sent: {channel.name} waits ({permit.reason}). Try again in a moment.")
        outcomes = channel.send(messages)
        channel.spend(outcomes)
        return outcomes
    finally:
        channel.give_back()
