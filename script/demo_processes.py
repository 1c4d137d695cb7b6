"""The demo's child processes: none outlives the demo, whatever that dies of."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from config.embedded_servers import die_with_parent, free_port

STOP_TIMEOUT = 4.0  # seconds a child may take to end by itself
LOG_TAIL = 8  # lines


class DemoError(RuntimeError):
    """The demo cannot go on; its text is for people."""


class Processes:
    """Children by name, each in a process group of its own, its output in a log of its own."""

    def __init__(self, logs: Path) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self._logs = logs
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        with self._log(name).open("wb") as log:
            self._children[name] = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C reaches the demo alone, which then ends its children in order
                # a kill that cannot be waited for: its servers go at the same moment, and an orderly end would ask them
                preexec_fn=partial(die_with_parent, signal.SIGKILL, os.getpid()),  # noqa: PLW1509 - no threads here
            )

    def check(self) -> None:
        """Raises DemoError when a child has ended."""
        for name, child in self._children.items():
            if child.poll() is not None:
                tail = self._log(name).read_text(errors="replace").strip().splitlines()[-LOG_TAIL:]
                raise DemoError(
                    f"{name} ended with {child.returncode}; its log {self._log(name)} closes with:\n" + "\n".join(tail)
                )

    def wait_for(self, what: str, holds: Callable[[], bool], deadline: float) -> None:
        """Wait until it holds; raises DemoError after `deadline` seconds, or when a child ends."""
        end = time.monotonic() + deadline
        while not holds():
            self.check()
            if time.monotonic() > end:
                raise DemoError(f"{what} did not happen within {deadline:.0f} s; see the logs in {self._logs}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End every child and its own children; returns when they are gone."""
        for child in self._children.values():
            _signal_group(child, signal.SIGTERM, leader_only=True)
        end = time.monotonic() + STOP_TIMEOUT
        for child in self._children.values():
            with suppress(subprocess.TimeoutExpired):
                child.wait(max(0.0, end - time.monotonic()))
        for child in self._children.values():
            _signal_group(child, signal.SIGKILL)
            child.wait()
        self._children.clear()

    def _log(self, name: str) -> Path:
        return self._logs / f"{name}.log"


def _signal_group(child: subprocess.Popen[bytes], signum: signal.Signals, *, leader_only: bool = False) -> None:
    """A child leads its group, and its pool workers are in it; the group may outlive its leader."""
    with suppress(ProcessLookupError):
        if leader_only:
            child.send_signal(signum)
        else:
            os.killpg(child.pid, signum)


def port(preferred: int) -> int:
    """The preferred port of the loopback interface if nobody listens there, else any free one."""
    try:
        with socket.create_server(("127.0.0.1", preferred)):
            return preferred
    except OSError:
        return free_port()


def answers(url: str) -> bool:
    """Whether a GET is answered with a success."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - loopback
            return bool(answer.status < 300)
    except (urllib.error.URLError, OSError):
        return False
