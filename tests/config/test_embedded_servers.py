"""The embedded servers: started once for many, gone with their last user, whatever that user died of."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from config import embedded_servers
from config.embedded_servers import ServerError, Servers

ROOT = Path(embedded_servers.__file__).parent.parent
DEADLINE = 30.0  # seconds

#: A process that uses the servers, says where they are, and stays until its input ends.
USER = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from config import embedded_servers
servers = embedded_servers.ensure(Path(sys.argv[1]), durable=sys.argv[2] == "durable")
print(json.dumps(asdict(servers)), flush=True)
sys.stdin.read()
"""


class User:
    """Another process that uses the servers of a folder."""

    def __init__(self, folder: Path, kind: str = "durable") -> None:
        command = [sys.executable, "-c", USER, str(folder), kind]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def servers(self) -> Servers:
        assert self.process.stdout
        return Servers(**json.loads(self.process.stdout.readline()))

    def end(self) -> str:
        """What it wrote to its standard error."""
        return self.process.communicate()[1]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A data folder of the test's own; not pytest's, whose name is too long for a socket."""
    path = ROOT / ".data" / f"servers-{secrets.token_hex(4)}"
    yield path
    wait_until(lambda: is_stopped(path))
    shutil.rmtree(path, ignore_errors=True)


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_stopped(folder: Path) -> bool:
    return not processes_of(folder)


def processes_of(folder: Path) -> list[int]:
    """Guardian, PostgreSQL and Valkey: all that name the folder on their command line or work in it."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    return [pid for pid in pids if names(pid, folder)]


def names(pid: int, folder: Path) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode()
        works_in = Path(f"/proc/{pid}/cwd").readlink()
    except OSError:
        return False
    return (str(folder) in command and USER not in command) or works_in.is_relative_to(folder)


def guardian_of(folder: Path) -> int:
    return next(pid for pid in processes_of(folder) if b"embedded_servers" in Path(f"/proc/{pid}/cmdline").read_bytes())


def answers(servers: Servers) -> bool:
    try:
        with (
            psycopg.connect(servers.database_url) as database,
            redis.Redis.from_url(servers.redis_url) as valkey,
        ):
            database.execute("SELECT 1")
            valkey.ping()
    except (psycopg.OperationalError, redis.ConnectionError):
        return False
    return True


@pytest.mark.processes
def test_processes_share_the_servers_until_the_last_of_them_ends(folder: Path) -> None:
    first, second = User(folder), User(folder)  # started at the same time
    servers = first.servers()
    assert second.servers() == servers
    assert first.end() == ""
    assert answers(servers)
    second.end()
    wait_until(lambda: is_stopped(folder))
    assert not answers(servers)


@pytest.mark.processes
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_last_user_stops_the_servers(folder: Path, signum: signal.Signals) -> None:
    user = User(folder)
    servers = user.servers()
    assert answers(servers)
    user.process.send_signal(signum)
    user.end()
    wait_until(lambda: is_stopped(folder))


@pytest.mark.processes
def test_an_interrupt_of_the_whole_process_group_leaves_the_servers_to_the_others(folder: Path) -> None:
    """A Ctrl-C in the terminal of the process that happened to start them."""
    starter = User(folder)
    servers = starter.servers()
    other = User(folder)
    other.servers()
    starter.process.send_signal(signal.SIGINT)
    starter.end()
    assert answers(servers)
    other.end()


@pytest.mark.processes
def test_data_outlives_the_servers(folder: Path) -> None:
    user = User(folder)
    servers = user.servers()
    with psycopg.connect(servers.database_url) as database, redis.Redis.from_url(servers.redis_url) as valkey:
        database.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        valkey.set("kept", "42")
    user.end()
    wait_until(lambda: is_stopped(folder))
    user = User(folder)
    servers = user.servers()
    with psycopg.connect(servers.database_url) as database, redis.Redis.from_url(servers.redis_url) as valkey:
        assert database.execute("SELECT answer FROM kept").fetchone() == (42,)
        assert valkey.get("kept") == b"42"
        assert valkey.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    user.end()


@pytest.mark.processes
def test_a_killed_guardian_takes_its_servers_along_and_the_next_start_works(folder: Path) -> None:
    user = User(folder)
    servers = user.servers()
    os.kill(guardian_of(folder), signal.SIGKILL)
    next_user = User(folder)  # at once, while the old servers still shut down
    assert answers(next_user.servers())
    assert not answers(servers)
    user.end()
    next_user.end()


@pytest.mark.processes
def test_servers_for_tests_are_fast_and_leave_no_folder(folder: Path) -> None:
    user = User(folder, "scratch")
    servers = user.servers()
    with psycopg.connect(servers.database_url) as database, redis.Redis.from_url(servers.redis_url) as valkey:
        assert database.execute("SHOW fsync").fetchone() == ("off",)
        assert valkey.config_get("appendonly") == {"appendonly": "no"}
    user.end()
    wait_until(lambda: not folder.exists())


@pytest.mark.processes
def test_one_process_may_ask_twice_and_stop(folder: Path) -> None:
    servers = embedded_servers.ensure(folder)
    assert embedded_servers.ensure(folder) == servers
    embedded_servers.stop(folder)
    assert not answers(servers)
    embedded_servers.stop(folder)


@pytest.mark.processes
def test_a_start_while_the_servers_stop_waits_for_that(folder: Path) -> None:
    first = User(folder, "scratch")
    first.servers()
    users = [User(folder, "scratch") for _ in range(3)]
    threading.Timer(0.05, first.end).start()
    assert all(answers(user.servers()) for user in users)
    for user in users:
        user.end()


@pytest.mark.processes
def test_a_failed_start_says_why_in_one_line(folder: Path) -> None:
    embedded_servers.ensure(folder)
    embedded_servers.stop(folder)
    (folder / "postgres" / "PG_VERSION").write_text("12\n")
    with pytest.raises(ServerError, match=r"^PostgreSQL did not start \(log: .*incompatible") as raised:
        embedded_servers.ensure(folder)
    assert "\n" not in str(raised.value)


@pytest.mark.processes
def test_a_folder_whose_name_is_too_long_for_a_socket() -> None:
    parent = ROOT / ".data" / f"servers-{secrets.token_hex(4)}"
    folder = parent / ("long" * 30)
    try:
        assert answers(embedded_servers.ensure(folder, durable=False))
        elsewhere = (folder / "run").resolve()
        embedded_servers.stop(folder)
        assert not elsewhere.exists()
    finally:
        shutil.rmtree(parent)


def test_a_free_port_can_be_listened_on() -> None:
    with socket.create_server(("127.0.0.1", embedded_servers.free_port())) as listener:
        assert listener.getsockname()[1] > 1024
