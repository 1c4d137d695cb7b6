"""Brokers for all tests of the session, a topic or queue for each test, and the command as processes."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import pytest
import redis
from django.conf import settings

from tests import processes
from tests.chaos.servers import Postgres
from tests.events_in.brokers import Broker, mock_cluster, mock_topic, tansu, tansu_topic
from tests.events_in.consuming import Consuming, consuming
from tests.events_in.moto_sqs import SqsQueue, fifo_queue, moto
from tests.events_in.pubsub_emulator import PubSubTopic, emulator, jar
from tests.events_in.rabbitmq import RABBITMQ, AmqpQueue, rabbitmq
from tests.ports import free_port
from tests.servers import DATA_DIRS

BROKERS = ("kafka-tansu", "kafka-mock", "sqs", "amqp", "pubsub")
QUICK = ("kafka-mock", "sqs", "amqp", "pubsub")
ORDERED = ("kafka-mock", "sqs-fifo", "amqp", "pubsub")
#: by name, the fixture of the broker's address, and what makes a topic or queue there
STAGES: dict[str, tuple[str, Callable[[str], Broker]]] = {
    "kafka-tansu": ("tansu_address", tansu_topic),
    "kafka-mock": ("mock_address", mock_topic),
    "sqs": ("moto_address", SqsQueue),
    "sqs-fifo": ("moto_address", fifo_queue),
    "amqp": ("rabbitmq_address", AmqpQueue),
    "amqp-quorum": ("rabbitmq_address", partial(AmqpQueue, kind="quorum")),
    "pubsub": ("pubsub_address", PubSubTopic),
}

#: what every run tries on which broker, as each costs processes and sessions that run out; the rest is marked slow:
#: `script/test tests/events_in -m ""` runs all of it
EVERY_RUN: dict[str, tuple[str, ...]] = {
    "test_poison_stops_nothing": BROKERS,
    "test_a_kill_loses_and_doubles_nothing": ("kafka-tansu", "amqp"),
    "test_consumers_come_and_go_in_the_middle": (),
    "test_one_that_stood_still_and_comes_back_throws_nobody_back": (),
    "test_a_database_that_goes_away_is_waited_for_within_the_group": ("kafka-mock",),
    "test_the_events_of_an_order_keep_their_sequence": ("kafka-mock", "sqs-fifo"),
}


@pytest.hookimpl(tryfirst=True)  # before those that are not wanted are left out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and item.path.name == "test_buses.py" and hasattr(item, "callspec"):
            params = item.callspec.params
            name = next(params[kind] for kind in ("broker", "quick_broker", "ordered_broker") if kind in params)
            wanted = EVERY_RUN.get(item.originalname, ("kafka-mock",))
            if name not in wanted or (params.get("point") == "bus.read" and name != "kafka-tansu"):
                item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def tansu_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with tansu(tmp_path_factory.mktemp("tansu") / "tansu.log") as broker:
        yield broker.address


@pytest.fixture(scope="session")
def mock_address() -> Iterator[str]:
    with mock_cluster() as address:
        yield address


@pytest.fixture(scope="session")
def moto_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with moto(tmp_path_factory.mktemp("moto") / "moto.log") as address:
        yield address


@pytest.fixture(scope="session")
def rabbitmq_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if not RABBITMQ.exists():
        pytest.skip("RabbitMQ is not installed; on Debian and Ubuntu: apt-get install rabbitmq-server")
    with rabbitmq(tmp_path_factory.mktemp("rabbitmq")) as address:
        yield address


@pytest.fixture(scope="session")
def pubsub_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    program = jar()
    if program is None:
        pytest.skip(
            "the Pub/Sub emulator is not installed; with Google's SDK: gcloud components install pubsub-emulator"
        )
    with emulator(program, tmp_path_factory.mktemp("pubsub") / "emulator.log") as address:
        yield address


def stage(request: pytest.FixtureRequest) -> Broker:
    """With a topic or queue of the test's own."""
    address, make = STAGES[request.param]
    return make(request.getfixturevalue(address))


@pytest.fixture(params=BROKERS)
def broker(request: pytest.FixtureRequest) -> Broker:
    """Every bus in turn."""
    return stage(request)


@pytest.fixture(params=QUICK)
def quick_broker(request: pytest.FixtureRequest) -> Broker:
    """One of each bus, for what is not about the broker."""
    return stage(request)


@pytest.fixture(params=ORDERED)
def ordered_broker(request: pytest.FixtureRequest) -> Broker:
    """Those that keep the order of what has the same key."""
    return stage(request)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """With our tables, for a test that takes it away."""
    folder = DATA_DIRS / f"bus-{secrets.token_hex(4)}"  # pytest's own folders are closed to the server's user
    (folder / "logs").mkdir(parents=True)
    server = Postgres(folder, secrets.token_hex(4), fast=True)
    server.start()
    server.wait()
    environment = {**os.environ, "DATABASE_URL": server.url}
    migrate = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
    subprocess.run(migrate, env=environment, cwd=processes.ROOT, check=True)
    yield server
    server.child.end()
    shutil.rmtree(folder)


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
