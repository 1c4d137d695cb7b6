"""Flower is behind a login whatever the environment says, and leaves task events off where they are off."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from config.celery_settings import celery_settings

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> Any:
    def run(**environment: str) -> dict[str, Any]:
        for name in ("BASIC_AUTH", "READ_ONLY", "TASKS_COLUMNS", "ENABLE_EVENTS"):
            monkeypatch.delenv(f"FLOWER_{name}", raising=False)
        monkeypatch.delenv("NOTIFIER_TASK_EVENTS", raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return runpy.run_path(str(ROOT / "flowerconfig.py"))

    return run


def test_a_login_is_made_where_none_is_set(configured: Any, capsys: pytest.CaptureFixture[str]) -> None:
    (first,), (second,) = configured()["basic_auth"], configured()["basic_auth"]
    assert first != second
    assert first in capsys.readouterr().err


def test_what_the_environment_says_is_left_to_flower(configured: Any, capsys: pytest.CaptureFixture[str]) -> None:
    found = configured(FLOWER_BASIC_AUTH="a:b", FLOWER_READ_ONLY="0", FLOWER_ENABLE_EVENTS="1")
    assert not {"basic_auth", "read_only", "enable_events"} & set(found)
    assert capsys.readouterr().err == ""


def test_who_looks_cannot_stop_workers(configured: Any) -> None:
    assert configured()["read_only"] is True


@pytest.mark.parametrize(("value", "on"), [("", True), ("1", True), ("0", False), ("off", False)])
def test_flower_turns_no_events_on_that_are_off(configured: Any, value: str, on: bool) -> None:
    assert configured(NOTIFIER_TASK_EVENTS=value)["enable_events"] is on


def test_task_events_can_be_left_off() -> None:
    assert settings.CELERY_WORKER_SEND_TASK_EVENTS is True
    chain = {"soft": settings.TASK_SOFT_TIME_LIMIT, "hard": settings.TASK_TIME_LIMIT}
    made = celery_settings(
        redis_url="", channels=(), visibility_timeout=settings.VISIBILITY_TIMEOUT, task_events=False, **chain
    )
    assert made["CELERY_WORKER_SEND_TASK_EVENTS"] is False
