"""Brokers for all tests of the session, a topic or queue for each test, and the command as processes."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import redis
from django.conf import settings

from tests import processes
from tests.chaos.servers import Postgres
from tests.events_in.brokers import Broker, mock_cluster, mock_topic, tansu, tansu_topic
from tests.events_in.consuming import Consuming, consuming
from tests.ports import free_port

BROKERS = {"kafka-tansu": "tansu_address", "kafka-mock": "mock_address"}
QUICK = ("kafka-mock",)
TOPICS: dict[str, Callable[[str], Broker]] = {"kafka-tansu": tansu_topic, "kafka-mock": mock_topic}


@pytest.fixture(scope="session")
def tansu_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with tansu(tmp_path_factory.mktemp("tansu") / "tansu.log") as broker:
        yield broker.address


@pytest.fixture(scope="session")
def mock_address() -> Iterator[str]:
    with mock_cluster() as address:
        yield address


@pytest.fixture(params=BROKERS)
def broker(request: pytest.FixtureRequest) -> Broker:
    """Every bus in turn, with a topic or queue of the test's own."""
    return TOPICS[request.param](request.getfixturevalue(BROKERS[request.param]))


@pytest.fixture(params=QUICK)
def quick_broker(request: pytest.FixtureRequest) -> Broker:
    """One of each bus, for what is not about the broker."""
    return TOPICS[request.param](request.getfixturevalue(BROKERS[request.param]))


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """With our tables, for a test that takes it away."""
    folder = tmp_path_factory.mktemp("postgres")
    (folder / "logs").mkdir()
    server = Postgres(folder, secrets.token_hex(4), fast=True)
    server.start()
    server.wait()
    environment = {**os.environ, "DATABASE_URL": server.url}
    migrate = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
    subprocess.run(migrate, env=environment, cwd=processes.ROOT, check=True)
    yield server
    server.child.end()


Start = Callable[..., AbstractContextManager[Consuming]]


@pytest.fixture
def start(transactional_db: None, tmp_path: Path) -> Iterator[Start]:
    """Starts `manage.py consume_events` on the test's database, with more environment by keyword."""
    points = tmp_path / "failpoints"
    points.mkdir()
    base = {
        **os.environ,
        "DEBUG": "1",
        "DATABASE_URL": processes.database_url(),
        "NOTIFIER_DATA_DIR": str(tmp_path),
        "NOTIFIER_FAILPOINTS": str(points),
        "PYTHONUNBUFFERED": "1",
    }

    @contextmanager
    def run(broker: Broker, name: str = "consumer", **more: str) -> Iterator[Consuming]:
        port = free_port()
        command = [sys.executable, "manage.py", "consume_events", "--bus", broker.bus, "--port", str(port)]
        with consuming(command, {**base, **broker.environment, **more}, tmp_path / f"{name}.log", port) as one:
            yield one

    yield run
    redis.Redis.from_url(settings.REDIS_URL).flushdb()  # the doorbells that were rung
