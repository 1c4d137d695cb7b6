"""What a provider tells us by calling our webhook."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass


class Wish(enum.Enum):
    """What somebody asked for by answering a message."""

    STOP = enum.auto()
    START = enum.auto()


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer from an address (personal data) that asks for something."""

    address: str
    wish: Wish


@dataclass(frozen=True, slots=True)
class Request:
    """A call of our webhook: the address that was called, as the provider knows it, its form and its headers."""

    url: str
    form: Mapping[str, str]
    headers: Mapping[str, str]


class ForgedRequestError(ValueError):
    """The signature is missing or wrong: not the provider's call."""
