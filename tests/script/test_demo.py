"""script/demo tells its story rightly, and leaves no process however it is ended."""

from __future__ import annotations

import base64
import fcntl
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import wait_for

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 120.0  # seconds
STARTED = "Notifier is running"


class Demo:
    """A demo with servers of its own: what this run of the tests uses must not reach it."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.output = folder / "output"
        own = ("DATABASE_URL", "REDIS_URL", "DJANGO_SETTINGS_MODULE")
        environment = {name: value for name, value in os.environ.items() if name not in own}
        environment |= {"PYTHONPATH": str(ROOT), "NOTIFIER_DEMO_DIR": str(folder)}
        with self.output.open("wb") as output:
            command = [sys.executable, str(ROOT / "script" / "demo.py"), *arguments]
            self.process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        self.folder = folder

    def wait_until_started(self) -> None:
        deadline = time.monotonic() + DEADLINE
        while STARTED not in self.output.read_text():
            assert self.process.poll() is None, self.output.read_text()
            assert time.monotonic() < deadline, self.output.read_text()
            time.sleep(0.1)

    def processes(self) -> list[str]:
        """Number and command line of everything that was started for this demo: its environment names the folder."""
        found = (self._read(entry) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
        return [process for process in found if process]

    def _read(self, entry: Path) -> str:
        try:
            command, environment = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
        except OSError:
            return ""
        if str(self.folder).encode() not in command + environment:
            return ""
        return f"{entry.name} {command.replace(bytes(1), b' ').decode(errors='replace')}"

    def wait_until_gone(self) -> None:
        deadline = time.monotonic() + DEADLINE
        while self.processes():
            assert time.monotonic() < deadline, self.processes()
            time.sleep(0.1)


@pytest.fixture
def folder() -> Iterator[Path]:
    path = ROOT / ".data" / f"demo-test-{secrets.token_hex(4)}"
    path.mkdir(parents=True)
    yield path
    shutil.rmtree(path)


@pytest.mark.processes
def test_the_story_goes_as_planned(folder: Path) -> None:
    demo = Demo(folder, "--once")
    code = demo.process.wait(DEADLINE)
    assert code == 0, demo.output.read_text()
    assert "none missing, none twice" in demo.output.read_text()
    assert demo.processes() == []


@pytest.mark.processes
def test_signals_leave_no_process_and_the_next_start_works(folder: Path) -> None:
    for signum, children_may_take_a_moment in ((signal.SIGINT, False), (signal.SIGTERM, False), (signal.SIGKILL, True)):
        demo = Demo(folder)
        demo.wait_until_started()
        assert len(demo.processes()) > 8  # PostgreSQL, Valkey, sandbox, web, beat, flower, workers and their pools
        demo.process.send_signal(signum)
        demo.process.wait(DEADLINE)
        if children_may_take_a_moment:
            demo.wait_until_gone()
        assert demo.processes() == []


@pytest.mark.processes
def test_the_shop_runs_beside_it(folder: Path) -> None:
    demo = Demo(folder, "--shop")
    demo.wait_until_started()
    address = re.search(r"Order service\W+(http://[^ ]+)", demo.output.read_text())
    assert address
    with urllib.request.urlopen(address[1], timeout=20) as answer:
        page = answer.read().decode()
    assert "Ada Archer" in page
    assert "Place the order" in page
    assert len([process for process in demo.processes() if "examples" in process]) == 2  # web and sweeper
    flower_is_behind_the_login(demo)
    demo.process.send_signal(signal.SIGINT)
    demo.process.wait(DEADLINE)
    assert demo.processes() == []


def flower_is_behind_the_login(demo: Demo) -> None:
    """It is the last to start, and nobody waits for it."""
    address = re.search(r"Flower\W+(http://[^ ]+)", demo.output.read_text())
    assert address
    wait_for(lambda: status(address[1]) == 401, "Flower asks for the login")
    login = base64.b64encode(b"admin:notifier-demo").decode()
    assert status(address[1], Authorization=f"Basic {login}") == 200


def status(url: str, **headers: str) -> int:
    """0: nobody answers."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


@pytest.mark.processes
def test_a_second_demo_in_the_same_folder_is_refused(folder: Path) -> None:
    (folder / "demo").mkdir()
    with (folder / "demo" / "demo.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        demo = Demo(folder)
        assert demo.process.wait(DEADLINE) == 1
    assert "a demo is running" in demo.output.read_text()
