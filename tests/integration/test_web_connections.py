"""The web process shares a few database connections, however many requests there are."""

from __future__ import annotations

import json
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.db import connection

from notifier.models import ApiKey, NotificationEvent
from tests import processes
from tests.ports import free_port
from tests.sandbox_process import Sandbox

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.processes]

POOL = 20  # config/asgi.py
NAME = "web of the pool's test"


def test_many_triggers_at_once_share_the_pool(sandbox: Sandbox, service_account: Path, tmp_path: Path) -> None:
    port = free_port()
    _, key = ApiKey.issue("shop", ["trigger"])
    command = [sys.executable, "-m", "uvicorn", "config.asgi:application", "--port", str(port), "--no-access-log"]
    url = f"http://127.0.0.1:{port}"
    environment = {**processes.environment(sandbox, service_account), "PGAPPNAME": NAME}
    with processes.running({"web": command}, environment, tmp_path):
        processes.wait_for(lambda: _answers(f"{url}/health/live"), "web answers")
        with ThreadPoolExecutor(60) as callers:
            statuses = list(callers.map(lambda number: _trigger(url, key, number), range(300)))
        sessions = _sessions()
    assert set(statuses) == {202}
    assert NotificationEvent.objects.count() == 300
    assert 0 < sessions <= POOL


def _answers(url: str) -> bool:
    try:
        return bool(urllib.request.urlopen(url, timeout=5).status == 200)
    except OSError:
        return False


def _trigger(url: str, key: str, number: int) -> int:
    guest = {"email": f"guest{number}@shop.example"}
    body = {"eventType": "ORDER_PLACED", "recipient": guest, "metadata": {"orderId": f"ORD{number}"}}
    headers = {"Authorization": f"Api-Key {key}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/notifications/trigger", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return int(answer.status)


def _sessions() -> int:
    """The web process's on the test's database; others' may be there, of tests before."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = %s", [NAME]
        )
        return int(cursor.fetchone()[0])
