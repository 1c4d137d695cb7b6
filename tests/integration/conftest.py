"""Workers, running for a test or for all tests of a module."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from django.conf import settings as django_settings
from pytest_django.plugin import DjangoDbBlocker

from tests import processes
from tests.chaos.servers import Valkey
from tests.integration.stage import Stage
from tests.sandbox_process import Sandbox


@pytest.fixture
def workers(
    transactional_db: None, sandbox: Sandbox, service_account: Path, tmp_path: Path
) -> Iterator[dict[str, Path]]:
    """The Procfile's worker-control and worker in one, and Beat. Redis starts empty."""
    redis.Redis.from_url(django_settings.REDIS_URL).flushdb()
    commands = {
        "worker": processes.celery("worker", "--concurrency", "2", "--loglevel", "INFO"),
        "beat": processes.celery("beat", "--loglevel", "INFO", "--schedule", str(tmp_path / "beat")),
    }
    with processes.running(commands, processes.environment(sandbox, service_account), tmp_path) as logs:
        processes.wait_for(lambda: b"ready." in logs["worker"].read_bytes(), "worker ready")
        yield logs


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    """A server that the test may kill."""
    (tmp_path / "logs").mkdir()
    server = Valkey(tmp_path, secrets.token_hex(4))
    server.start()
    server.wait()
    yield server
    server.child.end()


@pytest.fixture
def env(valkey: Valkey, sandbox: Sandbox, service_account: Path) -> dict[str, str]:
    """Of processes on a Redis that the test may kill."""
    return {**processes.environment(sandbox, service_account), "REDIS_URL": valkey.url}


@pytest.fixture(scope="module")
def module_stage(
    django_db_setup: None,
    django_db_blocker: DjangoDbBlocker,
    sandbox_session: Sandbox,
    service_account: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("stage")
    for name in ("logs", "failpoints"):
        (folder / name).mkdir()
    valkey = Valkey(folder, secrets.token_hex(4))
    valkey.start()
    with django_db_blocker.unblock():
        env = processes.environment(sandbox_session, service_account)
    stage = Stage(valkey, {**env, "REDIS_URL": valkey.url, "NOTIFIER_FAILPOINTS": str(folder / "failpoints")}, folder)
    valkey.wait()
    stage.empty()
    yield stage
    stage.end_crew()
    valkey.child.end()


@pytest.fixture
def bare_stage(transactional_db: None, sandbox: Sandbox, module_stage: Stage) -> Iterator[Stage]:
    """No worker runs but those that the test starts; no message of an earlier test is left."""
    module_stage.end_crew()
    module_stage.empty()
    yield module_stage
    module_stage.disarm()
    module_stage.end_crew()  # one that the test began may be at its rows, which are deleted next
    module_stage.empty()  # what it held is nobody's now, and the next test would wait for it


@pytest.fixture
def stage(transactional_db: None, sandbox: Sandbox, module_stage: Stage) -> Iterator[Stage]:
    """With the module's worker, which has nothing left to do when the test's rows are deleted."""
    module_stage.ensure_crew()
    yield module_stage
    module_stage.disarm()
    try:
        processes.wait_for(module_stage.is_calm, "no message left", 30)
    except AssertionError:  # of a killed child's message the broker may keep a copy until the visibility timeout
        module_stage.end_crew()
        module_stage.empty()
