"""A pytest plugin, loaded by `-p tests.servers` before Django reads its settings: real servers for each run.

Where DATABASE_URL or REDIS_URL is unset, it starts the embedded servers in a data folder of the run's own, so
that two runs at once never meet. Workers of pytest-xdist inherit the addresses; each has its own Redis
database, as it has its own test database.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from config import embedded_servers

REDIS_DATABASES = 16  # Valkey's default
DATA_DIRS = Path(__file__).resolve().parent.parent / ".data"
_data_dir = pytest.StashKey[Path]()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Iterator[None]:
    """A wrapper runs before pytest-django's own hook, which reads the settings."""
    os.environ["DEBUG"] = "1"
    os.environ["NOTIFIER_ADDRESS_RATE"] = "0"  # all tests come from one address
    os.environ["NOTIFIER_DAILY_CAP"] = "60000"  # many tests write to the same few
    os.environ["NOTIFIER_CUSTOMER_RATE"] = "0"  # and the access matrix from one customer
    if not (os.environ.get("DATABASE_URL") and os.environ.get("REDIS_URL")):
        early_config.stash[_data_dir] = _start()
    _take_own_redis_database(os.environ.get("PYTEST_XDIST_WORKER", ""))
    return (yield)


def _start() -> Path:
    data_dir = DATA_DIRS / f"test-{secrets.token_hex(4)}"
    servers = embedded_servers.ensure(data_dir, durable=False)
    # empty counts as unset
    os.environ["DATABASE_URL"] = os.environ.get("DATABASE_URL") or servers.database_url
    os.environ["REDIS_URL"] = os.environ.get("REDIS_URL") or servers.redis_url
    return data_dir


def _take_own_redis_database(worker: str) -> None:
    if worker:
        number = int(worker.removeprefix("gw")) % (REDIS_DATABASES - 1) + 1
        os.environ["REDIS_URL"] = f"{os.environ['REDIS_URL'].rpartition('/')[0]}/{number}"


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the servers, which also removes their folder. A run that is killed leaves that to the guardian."""
    if data_dir := config.stash.get(_data_dir, None):
        embedded_servers.stop(data_dir)
