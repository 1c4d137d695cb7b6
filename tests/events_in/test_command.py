"""How the command starts and does not: what is wrong is one readable line."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests import processes

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]

SERVERS = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}


def refused(*arguments: str, **environment: str) -> str:
    """The one line that it says."""
    done = subprocess.run(
        [sys.executable, "manage.py", "consume_events", *arguments],
        env={**os.environ, "DEBUG": "1", "DATABASE_URL": processes.database_url(), **environment},
        cwd=processes.ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode in {1, 2}, done.stderr
    (line,) = done.stderr.strip().splitlines()
    return line


def test_a_bus_that_is_not_configured() -> None:
    line = refused("--bus", "kafka")
    assert line == "CommandError: The bus 'kafka' is not configured; there is none. docs/event-bus.md says what to set."


def test_a_client_that_is_not_installed(tmp_path: Path) -> None:
    (tmp_path / "confluent_kafka.py").write_text("raise ModuleNotFoundError(\"No module named 'confluent_kafka'\")")
    line = refused("--bus", "kafka", **SERVERS, PYTHONPATH=str(tmp_path))
    assert "needs a client that is not installed: pip install confluent-kafka" in line


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("enable.auto.commit=true", "KAFKA_OPTIONS may not set enable.auto.commit"),
        ("no.such.option=1", "Kafka's client refuses the settings: No such configuration property"),
    ],
)
def test_options_that_cannot_be(options: str, problem: str) -> None:
    assert problem in refused("--bus", "kafka", **SERVERS, KAFKA_OPTIONS=options)


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("KAFKA_OPTIONS", "session.timeout.ms", "write it as name=value;name=value."),
        ("KAFKA_TOPIC", "t" * 201, "KAFKA_TOPIC has more than 200 characters."),
        ("KAFKA_USERNAME", "shop", "KAFKA_USERNAME and KAFKA_PASSWORD go together"),
        ("KAFKA_DEAD_LETTER_TOPIC", "order-events", "its messages would go round for ever"),
    ],
)
def test_settings_that_cannot_be(name: str, value: str, problem: str) -> None:
    line = refused("--bus", "kafka", **{**SERVERS, name: value})
    assert line.startswith("Notifier cannot start: ")
    assert problem in line


def test_a_port_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = refused("--bus", "kafka", "--port", str(port), **SERVERS)
    assert line == f"CommandError: Port {port} cannot be served: Address already in use."
