"""A real Notifier to talk to: its web process, on the test's database."""

from __future__ import annotations

import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import DjangoDbBlocker

from notifier.models import ApiKey
from tests import processes
from tests.ports import free_port
from tests.sandbox_process import Sandbox


@pytest.fixture(scope="session")
def web(
    django_db_setup: None,
    django_db_blocker: DjangoDbBlocker,
    sandbox_session: Sandbox,
    service_account: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """Its address. Several tests use it, each with rows of its own."""
    url = f"http://127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "uvicorn", "config.asgi:application", "--no-access-log"]
    with django_db_blocker.unblock():
        env = processes.environment(sandbox_session, service_account)
    port = url.rpartition(":")[2]
    with processes.running({"web": [*command, "--port", port]}, env, tmp_path_factory.mktemp("web")):
        processes.wait_for(lambda: answers(f"{url}/health/live"), "web answers")
        yield url


@pytest.fixture
def notifier(transactional_db: None, web: str) -> str:
    """The address of a Notifier whose rows are the test's."""
    return web


@pytest.fixture
def key(transactional_db: None) -> str:
    return ApiKey.issue("shop", ["trigger", "read"])[1]


def answers(url: str) -> bool:
    """Whether a GET is answered with a success."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
