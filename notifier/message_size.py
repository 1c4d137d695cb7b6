"""How long a text or a push message is, as its network counts it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

# 3GPP TS 23.038, 6.2.1: the default alphabet, and its extension, whose signs take two places
GSM = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
GSM_EXTENSION = frozenset("^{}\\[~]|€\f")
ALONE, PART = (
    {"GSM-7": 160, "UCS-2": 70},
    {"GSM-7": 153, "UCS-2": 67},
)  # places of a single text, and of each of several
#: Bytes of a message that FCM takes (https://firebase.google.com/docs/cloud-messaging, 2026-11-30).
PUSH_LIMIT = 4096


@dataclass(frozen=True, slots=True)
class SmsSize:
    """`places`: septets, or UTF-16 units. `forced_by`: signs that only UCS-2 has, each once, in their order."""

    encoding: str
    characters: int
    places: int
    segments: int
    forced_by: tuple[str, ...]


def sms(text: str) -> SmsSize:
    forced_by = tuple(dict.fromkeys(sign for sign in text if sign not in GSM and sign not in GSM_EXTENSION))
    encoding = "UCS-2" if forced_by else "GSM-7"
    width: Callable[[str], int] = _units if forced_by else _septets
    widths = [width(sign) for sign in text]
    places = sum(widths)
    segments = min(places, 1) if places <= ALONE[encoding] else _parts(widths, PART[encoding])
    return SmsSize(encoding, len(text), places, segments, forced_by)


def push(parts: Mapping[str, str], data: Mapping[str, str]) -> int:
    """Bytes of the message as JSON: what is shown, and what the app gets with it."""
    return len(json.dumps({"notification": dict(parts), "data": dict(data)}, ensure_ascii=False).encode())


def _septets(sign: str) -> int:
    return 2 if sign in GSM_EXTENSION else 1


def _units(sign: str) -> int:
    return len(sign.encode("utf-16-le", "surrogatepass")) // 2


def _parts(widths: Iterable[int], room: int) -> int:
    """A sign is never split."""
    number, left = 0, 0
    for width in widths:
        if width > left:
            number, left = number + 1, room
        left -= width
    return number
