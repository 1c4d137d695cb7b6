"""What somebody sees of a consumer on a terminal, and in a log."""

from __future__ import annotations

import io
import logging

import pytest
from rich.console import Console

from notifier.events_in import progress as progress_module
from notifier.events_in.bus import Incoming, Refused
from notifier.events_in.progress import Progress
from notifier.events_in.take import Taken
from tests.processes import wait_for

REFUSED = Refused(Incoming(b"rubbish", "t-0-0", {}), "UNDECODABLE", "The message is not JSON.")


def shown(progress: Progress, output: io.StringIO, held: str = "") -> str:
    def drawn() -> bool:
        progress.show(held)
        return "recorded" in output.getvalue()

    wait_for(drawn, "the line", 5)
    return output.getvalue()


def test_a_terminal_has_one_line_that_changes() -> None:
    output = io.StringIO()
    with Progress(Console(file=output, force_terminal=True, width=120)) as progress:
        progress.lag = 1500
        progress.add(Taken(recorded=1200, repeated=3, refused=[REFUSED]))
        line = shown(progress, output, "database")
    for part in ("recorded 1,200", "repeated 3", "refused 1", "waiting 1,500", "paused: waits for the database"):
        assert part in line


def test_a_log_has_sums(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, progress_module.__name__)
    with Progress(Console(file=io.StringIO())) as progress:
        for _ in range(500):
            progress.add(Taken(recorded=1, refused=[REFUSED]))
            progress.trouble("orders.dlq is not there")
            progress.show("")
        assert not caplog.messages  # not before ten seconds
    assert caplog.messages == [
        "recorded 500, repeated 0, refused 500",
        "refused, see the dead letters: UNDECODABLE 500",
        "orders.dlq is not there (500 times)",
    ]


def test_nothing_is_told_where_nothing_happened(caplog: pytest.LogCaptureFixture) -> None:
    with Progress(Console(file=io.StringIO())) as progress:
        progress.show("")
    assert not caplog.messages
