"""Processes of a run, by name: each can be killed, frozen and started again, and none outlives the run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from signal import Signals

from tests.processes import ROOT, wait_for

MARK = "NOTIFIER_CHAOS_RUN"
LAUNCH, JANITOR = (Path(__file__).with_name(f"{name}.py") for name in ("launch", "janitor"))


class Child:
    """A program that leads a process group of its own; its output goes to one log over all its starts."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        *,
        user: str = "",
        last_signal: Signals = signal.SIGKILL,
        cwd: Path = ROOT,
    ) -> None:
        self.name, self.command, self.environment, self.log = name, command, environment, log
        self.user, self.last_signal, self.cwd = user, last_signal, cwd
        self.starts = 0
        self.seen = 0  # bytes of the log before the last start
        self._process: subprocess.Popen[bytes] | None = None
        self._groups: dict[int, float] = {}  # groups whose leader died, and when that was noticed

    def start(self) -> None:
        self.seen = self.log.stat().st_size if self.log.exists() else 0
        launch = [sys.executable, "-I", "-S", str(LAUNCH), str(os.getpid()), str(int(self.last_signal)), self.user]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*launch, *self.command],
                env=dict(self.environment),
                cwd=self.cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.starts += 1

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def pool(self) -> list[int]:
        """Its own children: a worker's pool."""
        with suppress(OSError):
            found = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
            return [int(pid) for pid in found.split()]
        return []

    def send(self, number: Signals) -> None:
        send(self.pid, number)

    def send_group(self, number: Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def wait(self, timeout: float) -> int:
        assert self._process is not None
        return self._process.wait(timeout)

    def forget(self) -> None:
        """Remember the dead leader's group: what is left of it may live on for a while (`bury`)."""
        self._groups[self.pid] = time.monotonic()

    def bury(self, after: float) -> None:
        """Kill what is left of groups whose leader died more than `after` seconds ago."""
        for group, died in list(self._groups.items()):
            if time.monotonic() - died >= after:
                del self._groups[group]
                with suppress(ProcessLookupError):
                    os.killpg(group, signal.SIGKILL)

    def end(self) -> None:
        """Kill it and its group, at once."""
        if self._process is None:
            return
        if self.last_signal != signal.SIGKILL:
            self.send(self.last_signal)
            with suppress(subprocess.TimeoutExpired):
                self.wait(10)
        self.send_group(signal.SIGKILL)
        self._process.wait()
        self.bury(0)

    def said(self, text: bytes) -> bool:
        """Whether the log shows this since the last start."""
        with self.log.open("rb") as log:
            log.seek(self.seen)
            return text in log.read()

    def wait_until_it_says(self, text: bytes, deadline: float = 60.0) -> None:
        wait_for(lambda: self.said(text), f"{self.name}: {text.decode()}", deadline)


def send(pid: int, number: Signals) -> None:
    """Signal a process that may be gone."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def send_all(pids: Iterable[int], number: Signals) -> None:
    for pid in pids:
        send(pid, number)


class Janitor:
    """Kills every process that bears the run's mark, when the run ends or dies."""

    def __init__(self, mark: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(JANITOR), f"{MARK}={mark}"],
            env={name: value for name, value in os.environ.items() if name != MARK},
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def finish(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)
