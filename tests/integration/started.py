"""Processes of the product that a test kills, stops and waits for."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests import processes


@dataclass(frozen=True, slots=True)
class Started:
    """One process, the leader of a group of its own."""

    process: subprocess.Popen[bytes]
    log: Path

    def said(self) -> int:
        """How many bytes its log has by now."""
        return self.log.stat().st_size

    def wait_until_it_says(self, text: bytes, since: int = 0) -> None:
        """Anew, with `since` from `said`."""
        processes.wait_for(lambda: text in self.log.read_bytes()[since:], f"{self.log.name}: {text!r}")

    def send(self, signum: signal.Signals) -> None:
        """To this process alone, not to its children."""
        self.process.send_signal(signum)

    def kill_group(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def children(self) -> list[int]:
        task = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in task.read_text().split()]


@contextmanager
def started(command: list[str], env: Mapping[str, str], log: Path) -> Iterator[Started]:
    """Start it; at the end stop it and whatever it left behind."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=dict(env), cwd=processes.ROOT, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    one = Started(process, log)
    try:
        yield one
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(15)
        one.kill_group()


@contextmanager
def worker(env: Mapping[str, str], log: Path, *options: str) -> Iterator[Started]:
    """A worker of all queues, ready; it does not look for others, which takes a second."""
    quick = ("--without-mingle", "--without-gossip")
    command = processes.celery("worker", "--concurrency", "2", "--loglevel", "INFO", *quick, *options)
    with started(command, env, log) as one:
        one.wait_until_it_says(b"ready.")
        yield one
