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
QUEUE = {"SQS_QUEUE_URL": "https://sqs.eu-central-1.amazonaws.com/123456789012/order-events"}
SUBSCRIPTION = {"PUBSUB_SUBSCRIPTION": "projects/shop/subscriptions/order-events"}
RABBIT = {"AMQP_URL": "amqp://guest:secret@127.0.0.1:1"}
HIDES = """
import sys
from importlib.abc import MetaPathFinder

class Hides(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "{module}":
            raise ModuleNotFoundError("No module named " + repr(name), name=name)

sys.meta_path.insert(0, Hides())
"""


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


@pytest.mark.parametrize(
    ("bus", "module", "package", "environment"),
    [
        ("kafka", "confluent_kafka", "confluent-kafka", SERVERS),
        ("sqs", "boto3", "boto3", QUEUE),
        ("pubsub", "google/cloud/pubsub_v1", "google-cloud-pubsub", SUBSCRIPTION),
    ],
)
def test_a_client_that_is_not_installed(
    tmp_path: Path, bus: str, module: str, package: str, environment: dict[str, str]
) -> None:
    """A path that comes first hides the one that is."""
    (tmp_path / "sitecustomize.py").write_text(HIDES.format(module=module.replace("/", ".")))
    line = refused("--bus", bus, **environment, PYTHONPATH=str(tmp_path))
    assert f"The bus {bus} needs a client that is not installed: pip install {package}" in line


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
    ("environment", "problem"),
    [
        ({**SERVERS, "KAFKA_OPTIONS": "session.timeout.ms"}, "write it as name=value;name=value."),
        ({**SERVERS, "KAFKA_TOPIC": "t" * 201}, "KAFKA_TOPIC has more than 200 characters."),
        ({**SERVERS, "KAFKA_USERNAME": "shop"}, "KAFKA_USERNAME and KAFKA_PASSWORD go together"),
        ({**SERVERS, "KAFKA_DEAD_LETTER_TOPIC": "order-events"}, "its messages would go round for ever"),
        ({"SQS_QUEUE_URL": "order-events"}, "SQS_QUEUE_URL='order-events' is no queue's address"),
        ({**QUEUE, "SQS_VISIBILITY": "1"}, "SQS_VISIBILITY='1' is too small; use 3 or more."),
        ({**QUEUE, "SQS_DEAD_LETTER_QUEUE_URL": QUEUE["SQS_QUEUE_URL"]}, "its messages would go round for ever"),
        ({"PUBSUB_SUBSCRIPTION": "order-events"}, "write it as projects/shop/subscriptions/order-events."),
        ({**SUBSCRIPTION, "PUBSUB_ACK_DEADLINE": "601"}, "PUBSUB_ACK_DEADLINE is at most 600."),
        ({"AMQP_URL": "rabbit.example"}, "AMQP_URL is no broker's address"),
        ({**RABBIT, "AMQP_DEAD_LETTER_QUEUE": "order-events"}, "its messages would go round for ever"),
    ],
)
def test_settings_that_cannot_be(environment: dict[str, str], problem: str) -> None:
    line = refused("--bus", "kafka", **environment)
    assert line.startswith("Notifier cannot start: ")
    assert problem in line
    assert "secret" not in line


def test_sqs_in_no_region() -> None:
    line = refused("--bus", "sqs", SQS_QUEUE_URL="http://127.0.0.1:1/1/orders", AWS_CONFIG_FILE=os.devnull)
    assert line == "CommandError: SQS_QUEUE_URL names no region: set AWS_DEFAULT_REGION."


def test_sqs_without_credentials() -> None:
    nobody = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    line = refused("--bus", "sqs", **QUEUE, **nobody, AWS_EC2_METADATA_DISABLED="true")
    assert line == "CommandError: SQS: boto3 finds no credentials; docs/event-bus.md says what to set."


def test_pubsub_without_credentials(tmp_path: Path) -> None:
    line = refused("--bus", "pubsub", **SUBSCRIPTION, HOME=str(tmp_path), NO_GCE_CHECK="true")
    assert line.startswith("CommandError: Pub/Sub: Google's library finds no credentials")


def test_a_port_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = refused("--bus", "kafka", "--port", str(port), **SERVERS)
    assert line == f"CommandError: Port {port} cannot be served: Address already in use."
