"""What may happen at once after a commit (settings.NOTIFIER_OUTBOX["AFTER_COMMIT"]). The sweep finds what does not."""

from __future__ import annotations

import logging
import os
import threading

from django.db import connections

from notifier_client.outbox.sweep import sweep

log = logging.getLogger(__name__)


def inline() -> None:
    """Send before the caller goes on."""
    sweep()


def later() -> None:
    """Leave it to the next sweep."""


def in_thread() -> None:
    """Have this process's thread send; returns at once."""
    _Sweeper.ring()


class _Sweeper:
    """A thread that sweeps when it is rung for. A process that ends takes it along: what it had is swept later."""

    _of_process: tuple[int, threading.Event] | None = None
    _lock = threading.Lock()

    @classmethod
    def ring(cls) -> None:
        with cls._lock:
            if cls._of_process is None or cls._of_process[0] != os.getpid():  # a forked child has no thread
                cls._of_process = os.getpid(), threading.Event()
                bell = cls._of_process[1]
                threading.Thread(target=_answer, args=[bell], name="notifier-outbox", daemon=True).start()
        cls._of_process[1].set()


def _answer(bell: threading.Event) -> None:
    while bell.wait():
        bell.clear()
        try:
            sweep()
        except Exception:  # whatever it was, the thread must live to send the next one
            log.exception("The outbox was not swept; the next sweep tries again.")
        finally:
            connections.close_all()
