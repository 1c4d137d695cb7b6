"""What comes again and again is told now and then: a broker that is away for an hour fills no log."""

from __future__ import annotations

import logging
import time

QUIET = 30.0  # seconds between two lines about the same trouble


class SeldomLog:
    """Warnings, each text at most once in QUIET seconds."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._next: dict[str, float] = {}

    def warning(self, text: str, *details: object) -> None:
        now = time.monotonic()
        if now >= self._next.get(text, 0.0):
            self._next[text] = now + QUIET
            self._log.warning(text, *details)
