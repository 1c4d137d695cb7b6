"""What is kept of an address once it may not be known any more: enough to answer "did you send this to that address?".

HMAC-SHA256, cut to 128 bits, under a key of our own: whoever has the rows alone can try no addresses, though there are
few phone numbers.
"""

from __future__ import annotations

import hmac
from functools import cache

from django.conf import settings

LENGTH = 32  # characters


def fingerprint(address: str) -> str:
    """Of an email address, a phone number in E.164, a push token or a user's id; the case of letters makes none."""
    return hmac.digest(_key(), address.lower().encode("utf-8", "replace"), "sha256").hex()[:LENGTH]


@cache
def _key() -> bytes:
    return hmac.digest(settings.ADDRESS_KEY.encode(), b"notifier.fingerprint", "sha256")
