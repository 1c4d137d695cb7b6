"""A worker and Beat, running for a test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from django.conf import settings as django_settings

from tests import processes
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
