"""Places at which a test can kill the process, to prove what survives it. Nothing happens without the test setting.

settings.FAILPOINTS (NOTIFIER_FAILPOINTS, with DEBUG only) names a folder. A file in it named after a point arms that
point once: whoever removes the file first does what it says.

    kill          SIGKILL for this process (a worker's child)
    kill-parent   SIGKILL for the parent (a worker's main process)
    kill-group    SIGKILL for the process group, which the test started
    stop          SIGSTOP for this process: it goes on at the test's SIGCONT
    raise         RuntimeError
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from django.conf import settings


def hit(point: str) -> None:
    """Do what the test armed this point with; as good as free without the setting."""
    if settings.FAILPOINTS:
        _fire(Path(settings.FAILPOINTS) / point)


def _fire(armed: Path) -> None:
    try:
        action = armed.read_text().strip()
        armed.unlink()
    except FileNotFoundError:
        return
    if action == "raise":
        raise RuntimeError(f"failpoint {armed.name}")
    if action == "kill-group":
        os.killpg(os.getpgid(0), signal.SIGKILL)
    target = os.getppid() if action == "kill-parent" else os.getpid()
    os.kill(target, signal.SIGSTOP if action == "stop" else signal.SIGKILL)
