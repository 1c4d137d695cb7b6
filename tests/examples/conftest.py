"""The shop beside a whole Notifier: both as real processes, each with a database of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
from django.conf import settings
from django.db import connection, transaction
from pytest_django import DjangoDbBlocker

from notifier.models import ApiKey
from tests import processes
from tests.examples.browser import Browser
from tests.integration.started import Started, started, worker
from tests.ports import free_port
from tests.sandbox_process import Sandbox

DATABASE = "example_shop_test"
MANAGE = [sys.executable, str(processes.ROOT / "examples" / "shop" / "manage.py")]


def uvicorn(application: str, url: str) -> list[str]:
    port = url.rpartition(":")[2]
    return [sys.executable, "-m", "uvicorn", application, "--port", port, "--no-access-log"]


@dataclass(slots=True)
class Street:
    """Notifier and the shop. Notifier's web process can be made silent; its worker goes on."""

    notifier: str
    shop: str
    folder: Path
    shop_env: Mapping[str, str]
    key: ApiKey
    web: Started = field(init=False)

    def manage(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """The shop's command line."""
        command = [*MANAGE, *arguments]
        return subprocess.run(command, env={**self.shop_env, **env}, capture_output=True, text=True, check=False)

    def reconcile(self, *arguments: str) -> list[dict[str, object]]:
        """The shop's list against Notifier's ledger: the findings."""
        listed = self.manage("list_orders")
        assert (listed.returncode, listed.stderr) == (0, "")
        command = [sys.executable, "manage.py", "reconcile_orders", "--grace", "0", "--report", "json", *arguments]
        ran = subprocess.run(
            command,
            input=listed.stdout,
            cwd=processes.ROOT,
            env=self.shop_env,
            capture_output=True,
            text=True,
            check=False,
        )
        return [json.loads(line) for line in ran.stdout.splitlines()]

    def take_in(self, *customers: Mapping[str, object]) -> None:
        path = self.folder / "customers.json"
        path.write_text(json.dumps(customers))
        opened = self.manage("open_shop", str(path))
        assert (opened.returncode, opened.stderr) == (0, "")

    def silence(self) -> None:
        os.kill(self.web.process.pid, signal.SIGSTOP)

    def wake(self) -> None:
        os.kill(self.web.process.pid, signal.SIGCONT)

    def browser(self) -> Browser:
        return Browser(self.shop)


@pytest.fixture(scope="module")
def module_street(
    django_db_setup: None,
    django_db_blocker: DjangoDbBlocker,
    sandbox_session: Sandbox,
    service_account: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Street]:
    folder = tmp_path_factory.mktemp("street")
    notifier, shop = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    with django_db_blocker.unblock():
        env = processes.environment(sandbox_session, service_account)
        database, (key_row, key) = _database(), _key()
    shop_env = {
        **env,
        "NOTIFIER_URL": notifier,
        "NOTIFIER_API_KEY": key,
        "SHOP_DATABASE_URL": database,
        "PYTHONUNBUFFERED": "1",
    }
    redis.Redis.from_url(settings.REDIS_URL).flushdb()
    street = Street(notifier, shop, folder, shop_env, key_row)
    with ExitStack() as stack:
        street.web = stack.enter_context(started(uvicorn("config.asgi:application", notifier), env, folder / "web.log"))
        street.take_in()
        stack.enter_context(started(uvicorn("examples.shop.asgi:application", shop), shop_env, folder / "shop.log"))
        sweep = [*MANAGE, "sweep_outbox", "--every", "0.2"]
        stack.enter_context(started(sweep, shop_env, folder / "sweeper.log"))
        stack.enter_context(worker(env, folder / "worker.log"))
        for url in (f"{notifier}/health/live", f"{shop}/"):
            processes.wait_for(lambda url=url: Browser(url).answers(), f"{url} answers")  # type: ignore[misc] # its default
        yield street


def _database() -> str:
    """The address of an empty database beside the test's own."""
    worker_id = os.environ.get("PYTEST_XDIST_WORKER", "")
    name = f"{DATABASE}_{worker_id}"
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {name}")
        cursor.execute(f"CREATE DATABASE {name}")
    return urlsplit(processes.database_url())._replace(path=f"/{name}").geturl()


def _key() -> tuple[ApiKey, str]:
    """The shop's key. Each test writes its row, as each test's rows are deleted at its end."""
    with transaction.atomic():
        issued = ApiKey.issue("example-shop", ["trigger", "read"])
        transaction.set_rollback(True)
    return issued


@pytest.fixture
def street(transactional_db: None, sandbox: Sandbox, module_street: Street) -> Iterator[Street]:
    """Both sides, with the shop's key known to Notifier."""
    module_street.key.save(force_insert=True)
    yield module_street
    module_street.wake()
