"""What a message says, rendered again from its event, by the template it went out with where that is still here.

Nothing of what was sent is kept but its event. This is the one place that renders for people to read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from channels import registry
from channels.base import Channel
from notifier import borders, serving
from notifier.catalogue import EventType, event_types
from notifier.links import NO_LINKS, Links, links
from notifier.models import Delivery, NotificationEvent
from notifier.render import MessageContext, RenderError
from notifier.states import DeliveryStatus
from preferences.resolve import Recipient

VIEW_CONTENT = "notifier.view_content"  # the permission
ERASED = "Its recipient was forgotten: there is nothing to show."
NOT_SENT = frozenset({DeliveryStatus.SKIPPED})


class Told(Protocol):
    """What a message is made of: an event, recorded or not."""

    @property
    def id(self) -> UUID: ...
    @property
    def order_id(self) -> str: ...
    @property
    def metadata(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Content:
    """A message's parts by name: `text` as they are, `html` for a frame of its own. `note`: why there are none.

    `by`: with what it was rendered, for people.
    """

    text: Mapping[str, str] = field(default_factory=dict)
    html: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    by: str = ""


def content_of(event: NotificationEvent, delivery: Delivery, recipient: Recipient | None) -> Content | None:
    """What the delivery says; None where nothing was to be sent. `recipient`: the event's; None where unknown."""
    if delivery.status in NOT_SENT:
        return None
    if not event.recipient_key:
        return Content(note=ERASED)
    if recipient is None:
        return Content(note="Its recipient is not known any more, or is not active: there is nothing to show.")
    kind = event_types().get(event.event_type)
    if kind is None or delivery.channel not in registry.names():
        return Content(note="Its event type or its channel is not configured any more.")
    channel, template = registry.get(delivery.channel), _template_of(delivery)
    by = f"as it went out, by template {template}" if template else "with today's template"
    try:
        try:
            parts = rendered(channel, kind, event, event.recorded_at, recipient, template)
        except LookupError as error:
            by = f"with today's template. {error}"
            parts = rendered(channel, kind, event, event.recorded_at, recipient)
    except RenderError as error:
        return Content(note=f"It cannot be rendered: {error}")
    return Content(
        {name: text for name, text in parts.items() if channel.parts[name] != "html"},
        {name: text for name, text in parts.items() if channel.parts[name] == "html"},
        by=by,
    )


def _template_of(delivery: Delivery) -> str:
    """What the last attempt was rendered with; empty before the first."""
    return next((attempt.template for attempt in reversed(delivery.attempts.all()) if attempt.template), "")


def rendered(
    channel: Channel, event_type: EventType, told: Told, recorded_at: datetime, recipient: Recipient, template: str = ""
) -> Mapping[str, str]:
    """The parts as they are sent, but for the tokens of its links; by what serves now, or by this template.

    Raises RenderError, and LookupError where the template is not here any more.
    """
    found = links(event_type, channel.name, recipient.user_id, told.id) if channel.links else NO_LINKS
    context = MessageContext(
        order_id=told.order_id,
        metadata=told.metadata,
        recorded_at=recorded_at,
        locale=recipient.locale,
        time_zone=recipient.time_zone,
        event_id=told.id,
        links=Links(*map(_without_token, (found.preferences, found.unsubscribe))),
    )
    if template:
        return borders.marked(serving.render_as(template, channel.name, channel.parts, event_type.name, context))
    shown = serving.render_message(channel.name, channel.parts, event_type.name, context, report=False)
    return borders.marked(shown.parts)


def _without_token(link: str) -> str:
    """Whoever has the token can change the person's choices; who reads here is somebody else."""
    return f"{link.rpartition('/')[0]}/…" if link else ""
