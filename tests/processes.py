"""Real processes of the product (worker, Beat, web) against the test's own database, Redis and sandbox."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from django.db import connection

from sandbox import credentials
from tests.sandbox_process import Sandbox

ROOT = Path(__file__).resolve().parent.parent
DEADLINE = 120.0


def environment(sandbox: Sandbox, account: Path) -> dict[str, str]:
    """The product's own variables, so that its processes work on what the test sees."""
    return {
        **os.environ,
        "DEBUG": "1",
        "DATABASE_URL": database_url(),
        "SANDBOX_URL": sandbox.url,
        "FCM_PROJECT_ID": credentials.FCM_PROJECT_ID,
        "FCM_SERVICE_ACCOUNT_FILE": str(account / "sandbox-service-account.json"),
        "PYTHONUNBUFFERED": "1",
    }


def database_url() -> str:
    """The test database's address."""
    given = connection.settings_dict
    host = given["HOST"] or given["OPTIONS"].get("host", "")
    user, password = quote(given["USER"] or "", safe=""), quote(given["PASSWORD"] or "", safe="")
    if host.startswith("/"):
        port = f"&port={given['PORT']}" if given["PORT"] else ""
        return f"postgres://{user}:{password}@/{given['NAME']}?host={quote(host, safe='')}{port}"
    return f"postgres://{user}:{password}@{host}:{given['PORT'] or 5432}/{given['NAME']}"


def celery(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "celery", "-A", "config", *arguments]


@contextmanager
def running(commands: Mapping[str, list[str]], env: Mapping[str, str], logs: Path) -> Iterator[dict[str, Path]]:
    """Start these, each in a process group of its own; stop them at the end. Gives the log of each by name."""
    started: list[subprocess.Popen[bytes]] = []
    paths = {name: logs / f"{name}.log" for name in commands}
    try:
        for name, command in commands.items():
            with paths[name].open("wb") as log:
                started.append(
                    subprocess.Popen(
                        command, env=dict(env), cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
                    )
                )
        yield paths
    finally:
        for process in started:
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(what: Callable[[], object], why: str, deadline: float = DEADLINE) -> None:
    """Poll a real process's effect until it shows, or fail with what was missing."""
    ends = time.monotonic() + deadline
    while not what():
        if time.monotonic() > ends:
            raise AssertionError(f"after {deadline:.0f} s still not: {why}")
        time.sleep(0.05)
