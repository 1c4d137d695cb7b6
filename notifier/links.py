"""The links by which a mail's reader changes what they get: to the preference page, and to unsubscribe.

Whoever has the mail may do so without a login. The links are signed (preferences/tokens.py); an unsubscribe link never
expires, since an opt-out must work as long as the mail lies about.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.conf import settings

from notifier.catalogue import Audience, EventType
from preferences import tokens
from preferences.tokens import Purpose, TokenError


@dataclass(frozen=True, slots=True)
class Links:
    """Addresses, each empty where it has no use: `preferences` for a guest, `unsubscribe` for what is mandatory."""

    preferences: str = ""
    unsubscribe: str = ""


NO_LINKS = Links()


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom and what a link is about: a user's mails of a type, or a guest's delivery."""

    user_id: UUID | None = None
    event_type: str = ""
    delivery_id: UUID | None = None


def links(event_type: EventType, channel: str, user_id: UUID | None, delivery_id: UUID) -> Links:
    """Those of one message."""
    stays = channel in event_type.mandatory or event_type.audience is Audience.STAFF
    if user_id:
        token = tokens.make(f"{user_id.hex}-{event_type.name}", Purpose.USER)
        return Links(_page("preferences", token), "" if stays else _page("unsubscribe", token))
    return Links(unsubscribe="" if stays else _page("unsubscribe", tokens.make(delivery_id.hex, Purpose.GUEST)))


def read_preferences(token: str) -> UUID:
    """The user whose page it is. Raises TokenError."""
    return _user(tokens.read(token, Purpose.USER, settings.PAGE_LINK_LIFETIME))[0]


def read_unsubscribe(token: str) -> Subject:
    """Whose mails of what type. Raises TokenError."""
    try:
        user_id, event_type = _user(tokens.read(token, Purpose.USER, None))
    except TokenError:
        return Subject(delivery_id=UUID(hex=tokens.read(token, Purpose.GUEST, None)))
    return Subject(user_id=user_id, event_type=event_type)


def preferences_url(user_id: UUID, event_type: str = "") -> str:
    """A fresh link to a user's page."""
    return _page("preferences", tokens.make(f"{user_id.hex}-{event_type}", Purpose.USER))


def _user(text: str) -> tuple[UUID, str]:
    user_id, _, event_type = text.partition("-")
    return UUID(hex=user_id), event_type


def _page(name: str, token: str) -> str:
    return f"{settings.PUBLIC_URL}/{name}/{token}"
