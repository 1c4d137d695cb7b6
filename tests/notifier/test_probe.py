"""A question that is never answered holds nobody up, and many who ask are one question."""

from __future__ import annotations

import threading
from concurrent.futures import TimeoutError as FutureTimeoutError

import pytest

from notifier.probe import Probe


def test_those_who_ask_while_it_is_under_way_share_its_answer() -> None:
    go_on, asked = threading.Event(), []

    def question() -> int:
        asked.append(1)
        assert go_on.wait(10)
        return len(asked)

    probe = Probe(question)
    answers = [probe.ask() for _ in range(50)]
    with pytest.raises(FutureTimeoutError):
        answers[0].result(0.01)
    go_on.set()

    assert {answer.result(10) for answer in answers} == {1}
    assert probe.ask().result(10) == 2, "answered, it is asked anew"


def test_what_goes_wrong_reaches_those_who_wait() -> None:
    def question() -> int:
        raise OSError("nobody there")

    with pytest.raises(OSError, match="nobody there"):
        Probe(question).ask().result(10)
