"""What `manage.py doctor` prints, and how it ends."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from django.conf import settings as django_settings
from django.core.management import call_command
from pytest_django.fixtures import Settings

from notifier import liveness
from notifier.doctor import POSTGRES
from notifier.doctor.of_postgres import durability
from sandbox import credentials
from tests import processes
from tests.sandbox_process import Sandbox

pytestmark = pytest.mark.django_db


@pytest.fixture
def working(sandbox: Sandbox, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Workers and Beat live. The tests' own PostgreSQL is not durable, so that check is left out."""
    settings.DEBUG = True
    monkeypatch.setattr("notifier.doctor.POSTGRES", tuple(check for check in POSTGRES if check is not durability))
    with redis.Redis.from_url(django_settings.REDIS_URL) as client:
        client.flushdb()
        liveness.alive("worker@here#1", [queue.name for queue in django_settings.CELERY_TASK_QUEUES])
        liveness.ticked()
        yield
        client.flushdb()


def run(*arguments: str) -> tuple[int, str]:
    out = io.StringIO()
    try:
        call_command("doctor", *arguments, stdout=out)
    except SystemExit as end:
        return int(end.code or 0), out.getvalue()
    return 0, out.getvalue()


def test_one_line_a_check_and_nothing_wrong(working: None) -> None:
    code, shown = run()
    *lines, summary = shown.splitlines()
    assert code == 0
    assert {line.split()[0] for line in lines} == {"ok", "warning"}
    assert all((" → " in line) is line.startswith("warning") for line in lines)
    assert "0 problem" in summary
    assert credentials.SENDGRID_API_KEY not in shown


def test_a_problem_ends_it_with_1(working: None, sandbox: Sandbox) -> None:
    sandbox.fault("twilio", mode="status", status=401)
    code, shown = run()
    [line] = [line for line in shown.splitlines() if line.startswith("problem")]
    assert code == 1
    assert line.startswith("problem SMS by twilio: It refuses us")


def test_for_machines(working: None, sandbox: Sandbox) -> None:
    sandbox.fault("twilio", mode="status", status=401)
    code, shown = run("--json")
    told = json.loads(shown)
    assert (code, told["status"]) == (1, "problem")
    [beat] = [each for each in told["checks"] if each["check"] == "beat"]
    assert (beat["status"], beat["found"][:10], beat["advice"]) == ("ok", "It ticked ", "")
    assert {each["check"] for each in told["checks"] if each["status"] == "problem"} == {"SMS by twilio"}


@pytest.mark.processes
@pytest.mark.django_db(transaction=True)
def test_as_an_operator_calls_it(sandbox: Sandbox, service_account: Path, tmp_path: Path) -> None:
    """With a wrong setting, which stops other commands, and with no server to be reached."""
    env = processes.environment(sandbox, service_account)
    env |= {"NOTIFIER_RETENTION_DAYS": "1", "REDIS_URL": "redis://:topsecret@127.0.0.1:1/0"}
    env |= {"DATABASE_URL": "postgresql://notifier:topsecret@127.0.0.1:1/notifier", "NO_COLOR": "1"}
    command = [sys.executable, "manage.py", "doctor"]
    done = subprocess.run(command, env=env, cwd=processes.ROOT, capture_output=True, text=True, check=False)
    problems = [line for line in done.stdout.splitlines() if line.startswith("problem")]
    assert done.returncode == 1
    assert [line.split(":")[0] for line in problems] == ["problem settings", "problem postgres", "problem redis"]
    assert "NOTIFIER_RETENTION_DAYS" in problems[0]
    assert "topsecret" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
