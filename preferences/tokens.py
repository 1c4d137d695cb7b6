"""Signed tokens by which a customer acts for themselves, without a login: each for one person and one purpose.

A token holds the person's id, which is no secret, and when it was made. SECRET_KEY signs it; with
SECRET_KEY_FALLBACKS tokens outlive a change of the key (Django's documentation, "Cryptographic signing", 2026-11-25).
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import timedelta
from enum import StrEnum
from uuid import UUID

from django.core.signing import BadSignature, SignatureExpired, TimestampSigner


class Purpose(StrEnum):
    """What a token is good for. One made for one purpose is none for another."""

    API = "api"  # the shop's app calls with it
    PAGE = "page"  # the link to the preference page


class TokenError(ValueError):
    """Not a token of ours for this purpose, or one that has ended (`expired`)."""

    def __init__(self, *, expired: bool = False) -> None:
        super().__init__("the token has expired" if expired else "the token is not valid")
        self.expired = expired


def make(user_id: UUID, purpose: Purpose) -> str:
    """A token of about 60 characters that may stand in an address."""
    return _signer(purpose).sign(urlsafe_b64encode(user_id.bytes).rstrip(b"=").decode())


def read(token: str, purpose: Purpose, lifetime: timedelta) -> UUID:
    """Whose token it is. Raises TokenError, also for one that was made longer ago than `lifetime`."""
    try:
        return UUID(bytes=urlsafe_b64decode(_signer(purpose).unsign(token, max_age=lifetime) + "=="))
    except SignatureExpired as error:
        raise TokenError(expired=True) from error
    except (BadSignature, ValueError) as error:
        raise TokenError from error


def _signer(purpose: Purpose) -> TimestampSigner:
    return TimestampSigner(salt=f"notifier.preferences.tokens.{purpose}")
