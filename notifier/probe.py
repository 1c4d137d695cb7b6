"""Asking a server that may never answer: whoever asks has an answer, or none, within a second."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Probe(Generic[_T]):
    """One question to one server. A thread of its own asks it, and only one at a time.

    A server that hangs holds that thread, not those who wait for the answer; they share it, so that many who ask are no
    more load than one.
    """

    def __init__(self, question: Callable[[], _T]) -> None:
        self._question = question
        self._lock = threading.Lock()
        self._under_way: Future[_T] | None = None

    def ask(self) -> Future[_T]:
        """The answer to come. `result(seconds)` waits for it; raises what the question raises, or TimeoutError."""
        with self._lock:
            if self._under_way is None or self._under_way.done():
                self._under_way = Future()
                # a daemon: a server that hangs must not keep the process from ending
                threading.Thread(target=self._run, args=(self._under_way,), name="probe", daemon=True).start()
            return self._under_way

    def _run(self, answer: Future[_T]) -> None:
        try:
            answer.set_result(self._question())
        except Exception as error:  # noqa: BLE001 - it is whoever waits for the answer that gets it
            answer.set_exception(error)
