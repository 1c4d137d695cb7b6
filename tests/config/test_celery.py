"""The Celery app as it is set up: what a setting can tell without a worker."""

from __future__ import annotations

import pytest
from django.conf import settings
from kombu.exceptions import OperationalError

from config.celery import app
from config.consumer import Connection
from tests.ports import free_port


def test_reconnecting_never_waits_longer_than_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the broker was away: a worker's and Beat's connection tries at this pace."""
    monkeypatch.setattr("kombu.utils.functional.sleep", lambda seconds: None)
    waits: list[float] = []
    connection = app.connection_for_read(url=f"redis://127.0.0.1:{free_port()}/0")
    with pytest.raises(OperationalError):
        connection.ensure_connection(lambda error, wait: waits.append(wait), 40)
    assert len(waits) == 40
    assert 0 < waits[0] <= max(waits) == 2


def test_every_connection_of_the_app_reconnects_so() -> None:
    for connection in (app.connection_for_read(), app.connection_for_write(), app.connection_for_read().clone()):
        assert isinstance(connection, Connection)


def test_every_setting_that_answers_a_failure_is_in_force() -> None:
    """The letters of docs/architecture.md that only a setting tells; the others are made to happen elsewhere."""
    conf = app.conf
    assert conf.broker_connection_max_retries is None  # R15
    assert conf.broker_connection_retry_on_startup  # R15
    assert conf.worker_prefetch_multiplier == 1  # R6
    assert not conf.worker_disable_prefetch  # R6
    assert conf.worker_eta_task_limit == 500  # R5
    assert not conf.worker_deduplicate_successful_tasks  # C6
    assert not conf.worker_cancel_long_running_tasks_on_connection_loss  # W7
    assert conf.task_acks_late  # W1, C5
    assert conf.task_reject_on_worker_lost  # W1
    assert not conf.task_retry_on_worker_lost  # W2
    assert conf.task_acks_on_failure  # W4
    assert conf.task_acks_on_timeout  # W4
    assert conf.task_ignore_result  # C7
    assert not conf.task_create_missing_queues


def test_the_visibility_timeout_is_in_all_three_places() -> None:
    """R2, R3: a killed worker's messages come back after it, at the first look."""
    places = (app.conf.broker_transport_options, app.conf.result_backend_transport_options)
    seconds = settings.VISIBILITY_TIMEOUT.total_seconds()
    assert {place["visibility_timeout"] for place in places} | {app.conf.visibility_timeout} == {seconds}
    options = app.conf.broker_transport_options
    assert (options["unacked_restore_interval"], options["unacked_restore_throttle"]) == (5, 1)
    assert options["unacked_mutex_expire"] < seconds


def test_one_redis_serves_one_notifier() -> None:
    """R17: no key is prefixed, since a prefix covers neither every command nor the backend."""
    for options in (app.conf.broker_transport_options, app.conf.result_backend_transport_options):
        assert "global_keyprefix" not in options


def test_nobody_waits_for_ever_for_redis() -> None:
    """R9, R10, R16, R19: each client of the broker and of the backend has its own limits."""
    with app.connection_for_read() as connection:
        options = connection.transport_options or {}
    assert {options["socket_timeout"], options["socket_connect_timeout"]} == {5}
    assert options["max_connections"] == 50
    assert (app.conf.redis_socket_timeout, app.conf.redis_socket_connect_timeout) == (5, 5)
    assert app.conf.broker_pool_acquire_timeout == 5
    assert 0 < app.conf.result_backend_max_retries < 20


def test_publishing_rides_over_a_restart_of_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """C9: a worker tries for about twenty seconds, never waiting for longer than two."""
    slept: list[float] = []
    monkeypatch.setattr("kombu.utils.functional.sleep", slept.append)
    with app.connection_for_write(url=f"redis://127.0.0.1:{free_port()}/0") as nobody, pytest.raises(OperationalError):
        app.send_task("notifier.dispatch", queue="control", connection=nobody, ignore_result=True)
    assert 15 < sum(slept) < 25


def test_ticks_alone_expire() -> None:
    """C14: a header that expired would break its chord."""
    ticks = {entry["task"]: entry["options"]["expires"] for entry in app.conf.beat_schedule.values()}
    assert ticks == {
        "notifier.dispatch": 1, "notifier.sweep": 5, "notifier.watch": 10, "notifier.synthetic": 60,
        "notifier.retention": 3600,
    }  # fmt: skip
    assert [name for name, task in app.tasks.items() if task.expires] == []


def test_chord_keys_outlive_every_retry_in_a_chord() -> None:
    """C8, and C5: the claim of a body, twice the join timeout, outlives its publishing."""
    assert app.conf.result_chord_expires > app.conf.result_expires
    assert 2 * app.conf.result_chord_join_timeout >= 19


def test_a_worker_stops_within_what_a_deployment_gives_it() -> None:
    """W6: SIGTERM waits for running tasks, which the hard limit ends; Compose then waits ten seconds more."""
    assert "stop_grace_period: 70s" in (settings.BASE_DIR / "docker-compose.yml").read_text()
    assert settings.TASK_TIME_LIMIT.total_seconds() <= 60


def test_children_are_replaced_before_they_grow() -> None:
    """W8: and a child has the templates from the fork."""
    assert app.conf.worker_max_tasks_per_child == 10_000
    assert app.conf.worker_max_memory_per_child == 400_000
