"""What somebody sees of a consumer: one line that changes on a terminal, else a line in the log every ten seconds.

Refused messages are told in sum, by cause: a producer that floods rubbish fills no log.
"""

from __future__ import annotations

import logging
import time
from collections import Counter

from rich.console import Console
from rich.live import Live
from rich.text import Text

from notifier.events_in.take import Taken

log = logging.getLogger(__name__)

EVERY = 10.0  # seconds between two lines of the log
REDRAW = 0.25  # seconds between two changes of the line


class Progress:
    """Used as a context; `lag` is set by whoever knows it."""

    def __init__(self, console: Console) -> None:
        self.lag: int | None = None
        self._live = (
            Live(Text("waiting for messages"), console=console, auto_refresh=False) if console.is_terminal else None
        )
        self._total, self._since, self._causes = Counter[str](), Counter[str](), Counter[str]()
        self._troubles: Counter[str] = Counter()
        self._told_at = self._drawn_at = time.monotonic()
        self._drawn_total, self._rate = 0, 0.0

    def __enter__(self) -> Progress:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._tell()
        if self._live:
            self._live.stop()

    def add(self, taken: Taken) -> None:
        self._since.update(recorded=taken.recorded, repeated=taken.repeated, refused=len(taken.refused))
        self._causes.update(refused.cause for refused in taken.refused)

    def trouble(self, text: str) -> None:
        """Something that comes again with every batch: told with the next line."""
        self._troubles[text] += 1

    def show(self, held: str) -> None:
        """After each turn of the loop."""
        now = time.monotonic()
        if self._live and now - self._drawn_at >= REDRAW:
            self._draw(self._live, held, now)
        if now - self._told_at >= EVERY:
            self._tell()

    def _tell(self) -> None:
        """Nothing where nothing happened."""
        self._told_at = time.monotonic()
        lag = "" if self.lag is None else f", {self.lag} wait"
        if self._since.total() and not self._live:
            told = ", ".join(f"{name} {number}" for name, number in self._since.items())
            log.info("%s%s", told, lag)
        if self._causes:
            causes = ", ".join(f"{cause} {number}" for cause, number in self._causes.most_common())
            log.warning("refused, see the dead letters: %s", causes)
        for text, number in self._troubles.items():
            log.warning("%s (%d times)", text, number)
        self._total += self._since
        for counted in (self._since, self._causes, self._troubles):
            counted.clear()

    def _draw(self, live: Live, held: str, now: float) -> None:
        total = self._total + self._since
        self._rate = (total.total() - self._drawn_total) / (now - self._drawn_at)
        self._drawn_total, self._drawn_at = total.total(), now
        counted = "  ".join(f"{name} {total[name]:,}" for name in ("recorded", "repeated", "refused"))
        lag = "" if self.lag is None else f"  waiting {self.lag:,}"
        state = f"  paused: waits for the {held}" if held else ""
        live.update(Text(f"{counted}  {self._rate:,.0f}/s{lag}{state}"), refresh=True)
