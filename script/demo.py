"""Everything on one machine: servers, sandbox, web, workers, beat, flower, and people to send to.

Run by script/demo, with the checkout on the import path. With --shop the order service of examples/shop runs beside it.
With --once it runs the scripted story in a data folder of its own and ends with 0, or with 1 and the difference.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import FrameType
from typing import NoReturn
from urllib.parse import urlsplit

import django
from demo_processes import DemoError, Processes, answers, port
from rich.console import Console
from rich.table import Table

from config import embedded_servers
from sandbox import credentials

ROOT = Path(__file__).resolve().parent.parent
DATA_DIR = Path(os.environ.get("NOTIFIER_DEMO_DIR") or ROOT / ".data").resolve()
START_TIMEOUT = 60.0  # seconds until everything is healthy
HOST = "127.0.0.1"
#: whatever the shell has of these is not for the demo: it must never reach a real provider
FOREIGN = (
    "SMTP_URL", "SHOP_LOGO_URL", "SHOP_URL", "SECRET_KEY", "ALLOWED_HOSTS", "FLOWER_BASIC_AUTH", "CACHE_URL",
    "STAGING_RECIPIENTS", "SMS_REGIONS", "SMS_DAILY_BUDGET", "NOTIFIER_SYNTHETIC_USER",
)  # fmt: skip
#: where servers may be that the shell names: people and tables are made in them
HERE = {None, "", "localhost", "127.0.0.1", "::1"}

console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)


class Demo:
    """The demo's parts: where they listen, what they are told, and how they start."""

    def __init__(
        self, folder: Path, processes: Processes, choose_port: Callable[[int], int], *, shop: bool = False
    ) -> None:
        self.folder, self.processes = folder, processes
        self.web = f"http://{HOST}:{choose_port(8000)}"
        self.sandbox = f"http://{HOST}:{choose_port(8010)}"
        self.flower = f"http://{HOST}:{choose_port(5555)}"
        self.shop = f"http://{HOST}:{choose_port(8020)}" if shop else ""
        self.api_key = ""

    def start(self, *, flower: bool) -> None:
        """Servers, processes, tables and people; returns when all is healthy. Raises DemoError."""
        self._set_environment()
        # these take longest to start, and need the tables only when something happens
        self._start("web", "uvicorn", "config.asgi:application", *_address(self.web))
        self._worker("worker-control", "--queues", "events,control,urgent")
        self._worker("worker")
        django.setup()
        import demo_app  # noqa: PLC0415 - its imports need Django set up, which needs the servers

        self.app = demo_app
        self.api_key = demo_app.prepare()
        self._start_sandbox()
        self._start("beat", "celery", "-A", "config", "beat", "--pidfile=", "--loglevel", "INFO")
        if self.shop:
            self._start_shop()
        if flower:
            login = {"FLOWER_BASIC_AUTH": f"{self.app.STAFF_LOGIN}:{self.app.STAFF_PASSWORD}"}
            flower_at = (f"--address={HOST}", _flag("port", self.flower))
            self._start("flower", "celery", "-A", "config", "flower", *flower_at, **login)
        self._wait()

    def _set_environment(self) -> None:
        servers = self._servers()
        account = self.folder / "service-account.json"
        credentials.write_service_account(account, f"{self.sandbox}/token")
        for name in FOREIGN:
            os.environ.pop(name, None)
        os.environ.update(self._environment(servers, account))

    def _servers(self) -> embedded_servers.Servers:
        given = os.environ.get("DATABASE_URL", ""), os.environ.get("REDIS_URL", "")
        for name, url in zip(("DATABASE_URL", "REDIS_URL"), given, strict=True):
            if urlsplit(url).hostname not in HERE:
                raise DemoError(
                    f"{name} names a server elsewhere, and the demo makes people there; unset it: "
                    "env -u DATABASE_URL -u REDIS_URL script/demo"
                )
        if all(given):
            return embedded_servers.Servers(*given)
        ours = embedded_servers.ensure(self.folder)
        return embedded_servers.Servers(given[0] or ours.database_url, given[1] or ours.redis_url)

    def _environment(self, servers: embedded_servers.Servers, account: Path) -> Mapping[str, str]:
        return {
            "DEBUG": "1",
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "PYTHONPATH": str(ROOT),
            "NOTIFIER_DATA_DIR": str(self.folder),
            "DATABASE_URL": servers.database_url,
            "REDIS_URL": servers.redis_url,
            "PUBLIC_URL": self.web,
            "SANDBOX_URL": self.sandbox,
            "SENDGRID_API_KEY": credentials.SENDGRID_API_KEY,
            "SENDGRID_BASE_URL": self.sandbox,
            "TWILIO_ACCOUNT_SID": credentials.TWILIO_ACCOUNT_SID,
            "TWILIO_AUTH_TOKEN": credentials.TWILIO_AUTH_TOKEN,
            "TWILIO_FROM": credentials.TWILIO_FROM,
            "TWILIO_BASE_URL": self.sandbox,
            "FCM_PROJECT_ID": credentials.FCM_PROJECT_ID,
            "FCM_SERVICE_ACCOUNT_FILE": str(account),
            "FCM_BASE_URL": self.sandbox,
        }

    @property
    def customers(self) -> Path:
        return self.folder / "customers.json"

    @property
    def shop_environment(self) -> Path:
        """What the shop's own commands need."""
        return self.folder / "shop.env"

    def _start_sandbox(self) -> None:
        self.customers.write_text(self.app.customers_as_json())
        shop = {
            "NOTIFIER_URL": self.web,
            "NOTIFIER_API_KEY": self.api_key,
            "NOTIFIER_CUSTOMERS": str(self.customers),
        }
        self._start("sandbox", "uvicorn", "sandbox.app:app", *_address(self.sandbox), **shop)

    def _start_shop(self) -> None:
        """The example: its tables, its web process, and its outbox's sweeper."""
        own = {
            "NOTIFIER_URL": self.web,
            "NOTIFIER_API_KEY": self.app.shop_key(),
            "SHOP_DATABASE_URL": self.app.shop_database(),
        }
        self.shop_environment.write_text("".join(f"{name}={value}\n" for name, value in own.items()))
        manage = [sys.executable, str(ROOT / "examples" / "shop" / "manage.py")]
        command = [*manage, "open_shop", str(self.customers)]
        opened = subprocess.run(command, env=os.environ | own, capture_output=True, text=True, check=False)
        if opened.returncode:
            raise DemoError(f"the shop did not open:\n{opened.stderr.strip()}")
        self._start("shop", "uvicorn", "examples.shop.asgi:application", *_address(self.shop), **own)
        self.processes.start("shop-sweeper", [*manage, "sweep_outbox", "--every", "2"], os.environ | own)

    def _worker(self, name: str, *options: str) -> None:
        arguments = ("--concurrency", "2", "--hostname", f"{name}@%h", "--loglevel", "INFO", *options)
        # the demo checks by itself when it migrates; again in each worker would be a second more a start
        self._start(name, "celery", "-A", "config", "--skip-checks", "worker", *arguments)

    def _start(self, name: str, module: str, *arguments: str, **environment: str) -> None:
        self.processes.start(name, [sys.executable, "-m", module, *arguments], os.environ | environment)

    def _wait(self) -> None:
        wait = partial(self.processes.wait_for, deadline=START_TIMEOUT)
        wait("the sandbox's start", lambda: answers(f"{self.sandbox}/faults"))
        wait("the web process's start", lambda: answers(f"{self.web}/health/ready"))
        if self.shop:
            wait("the shop's start", lambda: answers(f"{self.shop}/"))
        wait("the workers' start", lambda: self.app.workers_answering(2) == 2)


def _any_port(_preferred: int) -> int:
    """For demos that start at the same time: two of them would both find the preferred port free."""
    return embedded_servers.free_port()


def _flag(name: str, url: str) -> str:
    return f"--{name}={url.rpartition(':')[2]}"


def _address(url: str) -> tuple[str, ...]:
    return ("--host", HOST, _flag("port", url), "--no-access-log", "--timeout-graceful-shutdown", "1")


def show_addresses(demo: Demo) -> None:
    """Where to look, and how to log in."""
    table = Table(title="Notifier is running", title_justify="left", show_header=False)
    table.add_row("Shop counter", f"{demo.sandbox}/shop", "place an order and move it along")
    if demo.shop:
        table.add_row("Order service", f"{demo.shop}/", "examples/shop: orders, outbox, and what the customer was told")
    table.add_row("Messages", f"{demo.sandbox}/", "what the customers see")
    table.add_row("Admin", f"{demo.web}/admin/", f"log in as {demo.app.STAFF_LOGIN} with {demo.app.STAFF_PASSWORD}")
    table.add_row("API", f"{demo.web}/api/docs", "all calls; its key stands below")
    table.add_row("Flower", demo.flower, "tasks and workers; the admin's login")
    console.print(table)
    # on a line of its own, never wrapped: it is there to be copied
    console.print(f"Authorization: Api-Key {demo.api_key}", soft_wrap=True, highlight=False)
    data_dir = os.path.relpath(demo.folder)
    where = f"DEBUG=1 NOTIFIER_DATA_DIR={data_dir} PUBLIC_URL={demo.web} SANDBOX_URL={demo.sandbox}"
    manage = f"{where} .venv/bin/python manage.py"
    console.print("Its commands, such as a look at everything; or replay_dead_letters --dry-run:", highlight=False)
    console.print(f"{manage} doctor", soft_wrap=True, highlight=False)
    if demo.shop:
        shop = f"env $(cat {os.path.relpath(demo.shop_environment)}) .venv/bin/python examples/shop/manage.py"
        console.print("The order service's commands, such as its orders against the ledger:", highlight=False)
        console.print(f"{shop} list_orders | {manage} reconcile_orders --grace 0", soft_wrap=True, highlight=False)
    console.print(f"Logs are in {os.path.relpath(demo.folder / 'logs')}. Ctrl-C stops everything.")


def run_until_stopped(*, shop: bool) -> int:
    """The demo proper; its data is kept for the next time."""
    folder = DATA_DIR / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "demo.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoError(f"a demo is running in {folder} already") from None
        return _with_demo(folder, _serve, _any_port if "NOTIFIER_DEMO_DIR" in os.environ else port, shop=shop)


def _serve(demo: Demo) -> int:
    with console.status("Starting"):
        demo.start(flower=True)
    show_addresses(demo)
    while True:
        demo.processes.check()
        time.sleep(0.5)


def run_once() -> int:
    """The scripted story in fresh state that is removed at the end; its logs are kept if it went wrong."""
    folder = DATA_DIR / f"once-{secrets.token_hex(4)}"
    code = 1
    try:
        code = _with_demo(folder, _tell, _any_port)
    finally:
        if code == 0:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            console.print(f"Logs: {os.path.relpath(folder / 'logs')}")
    return code


def _tell(demo: Demo) -> int:
    began = time.monotonic()
    demo.start(flower=False)
    console.print(f"Everything is up after {time.monotonic() - began:.1f} s.")
    story = demo.app.Story(
        run=secrets.token_hex(3),
        web=demo.web,
        sandbox=demo.sandbox,
        api_key=demo.api_key,
        broker=os.environ["REDIS_URL"],
        began=datetime.now(UTC),
    )
    try:
        story.tell(demo.processes)
    finally:
        story.show(console)
    problems = story.check()
    console.print(story.count())
    for problem in problems:
        console.print(f"[red]{problem}[/]")
    console.print("[red]Not as planned.[/]" if problems else "[green]Exactly as planned: none missing, none twice.[/]")
    return 1 if problems else 0


def _with_demo(
    folder: Path, run: Callable[[Demo], int], choose_port: Callable[[int], int], *, shop: bool = False
) -> int:
    """Run with the demo's processes, and end them and the servers whatever happens."""
    folder.mkdir(parents=True, exist_ok=True)
    processes = Processes(folder / "logs")
    try:
        return run(Demo(folder, processes, choose_port, shop=shop))
    finally:
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, signal.SIG_IGN)  # ending is bounded, and must not be cut short
        processes.stop()
        embedded_servers.stop(folder)


def _stop(signum: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt(signal.Signals(signum).name)


def main() -> int:
    parser = argparse.ArgumentParser(prog="script/demo", description="Run all of Notifier on this machine.")
    parser.add_argument("--once", action="store_true", help="run the scripted story, check it, and end")
    parser.add_argument("--shop", action="store_true", help="run the order service of examples/shop beside it")
    arguments = parser.parse_args()
    if arguments.once and arguments.shop:
        parser.error("--once tells its story without the shop")
    # SIGINT too: a shell that starts the demo in the background has it ignored
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, _stop)
    try:
        return run_once() if arguments.once else run_until_stopped(shop=arguments.shop)
    except KeyboardInterrupt:
        console.print("Stopped.")
        return 130 if arguments.once else 0
    except (DemoError, embedded_servers.ServerError) as error:
        console.print(f"[red]{error}[/]")
        return 1


if __name__ == "__main__":
    sys.exit(main())
