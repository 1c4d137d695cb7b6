"""Signed tokens by which people act for themselves, without a login: each good for one purpose.

A token shows what it is about, which is no secret, and when it was made. SECRET_KEY signs it; with
SECRET_KEY_FALLBACKS tokens outlive a change of the key (Django's documentation, "Cryptographic signing", 2026-11-25).
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from functools import cache

from django.core.signals import setting_changed
from django.core.signing import BadSignature, SignatureExpired, TimestampSigner


class Purpose(StrEnum):
    """What a token is good for. One made for one purpose is none for another."""

    API = "api"  # the shop's app calls with it for a customer
    USER = "user"  # in a mail's links: the customer's preferences
    GUEST = "guest"  # in a mail's link: to unsubscribe an address without an account


class TokenError(ValueError):
    """Not a token of ours for this purpose, or one that has ended (`expired`)."""

    def __init__(self, *, expired: bool = False) -> None:
        super().__init__("the token has expired" if expired else "the token is not valid")
        self.expired = expired


def make(text: str, purpose: Purpose) -> str:
    """A token that may stand in an address, 50 characters longer than the text (letters, digits and hyphens)."""
    return _signer(purpose).sign(text)


def read(token: str, purpose: Purpose, lifetime: timedelta | None) -> str:
    """The text of a token. Raises TokenError, also for one older than `lifetime` (None: it never ends)."""
    try:
        return _signer(purpose).unsign(token, max_age=lifetime)
    except SignatureExpired as error:
        raise TokenError(expired=True) from error
    except BadSignature as error:
        raise TokenError from error


@cache
def _signer(purpose: Purpose) -> TimestampSigner:
    return TimestampSigner(sep=".", salt=f"notifier.{purpose}")


def _forget(*, setting: str, **_: object) -> None:
    if setting in {"SECRET_KEY", "SECRET_KEY_FALLBACKS"}:
        _signer.cache_clear()


setting_changed.connect(_forget)  # only tests change settings
