"""RabbitMQ as Debian packs it, with folders, ports and a node name of its own, and a foreign producer."""

from __future__ import annotations

import os
import secrets
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import amqp
from kombu import Connection

from tests.events_in.brokers import Message
from tests.ports import free_port
from tests.processes import wait_for

#: what the package's wrappers call; those start it as another user, on the machine's own ports
RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


@contextmanager
def rabbitmq(folder: Path) -> Iterator[str]:
    """Its address. Erlang's port mapper is the test's own, too: another node's would outlive it."""
    port, mapper_port = free_port(), free_port()
    environment = {**os.environ, **_environment(folder, port, mapper_port)}
    (folder / "plugins").write_text("[].")
    with (folder / "rabbitmq.log").open("wb") as output:
        mapper = subprocess.Popen(
            ["epmd", "-port", str(mapper_port), "-address", "127.0.0.1"], stdout=output, stderr=subprocess.STDOUT
        )
        node = subprocess.Popen([RABBITMQ], env=environment, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
    address = f"amqp://guest:guest@127.0.0.1:{port}//"
    try:
        wait_for(lambda: node.poll() is None and _answers(address), "rabbitmq ready", 90)
        yield address
    finally:
        for process in (node, mapper):
            process.kill()
            process.wait()


def _environment(folder: Path, port: int, mapper_port: int) -> dict[str, str]:
    return {
        "HOME": str(folder),  # where Erlang keeps its cookie
        "RABBITMQ_NODENAME": f"test-{secrets.token_hex(4)}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "ERL_EPMD_PORT": str(mapper_port),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_CONFIG_FILE": str(folder / "none"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
        "RUNNING_UNDER_SYSTEMD": "1",  # the script becomes the node, so that a kill reaches it
    }


def _answers(address: str) -> bool:
    try:
        with Connection(address, connect_timeout=2) as connection:
            connection.connect()
    except OSError:
        return False
    return True


class AmqpQueue:
    bus, tells_lag, messages = "amqp", True, 400
    left, came_back = b"connection lost", b"consumes order-events"

    def __init__(self, address: str, kind: str = "classic") -> None:
        self.address = address
        self.source = f"order-events-{secrets.token_hex(4)}"
        self.environment: Mapping[str, str] = {
            "AMQP_URL": address,
            "AMQP_QUEUE": self.source,
            "AMQP_HEARTBEAT": "2",
        }
        with self._channel() as channel:
            for name in (self.source, f"{self.source}.dlq"):
                channel.queue_declare(name, durable=True, auto_delete=False, arguments={"x-queue-type": kind})

    def publish(self, messages: Iterable[Message]) -> None:
        """As JSON, as every AMQP client writes it; only some give their messages a name."""
        with self._channel() as channel:
            for place, message in enumerate(messages):
                properties: dict[str, Any] = {
                    "content_type": "application/json",
                    "content_encoding": "utf-8",
                    "timestamp": int(time.time()),
                    "application_headers": dict(message.headers),
                }
                if place % 2:
                    properties["message_id"] = secrets.token_hex(8)
                body = amqp.Message(message.body, **properties)
                channel.basic_publish(body, routing_key=self.source)

    def dead_letters(self, number: int) -> list[bytes]:
        found: list[bytes] = []
        with self._channel() as channel:
            channel.auto_decode = False

            def read() -> bool:
                message = channel.basic_get(f"{self.source}.dlq", no_ack=True)
                if message is not None:
                    assert message.headers["notifier-cause"]
                    found.append(bytes(message.body))
                return len(found) >= number

            wait_for(read, f"{number} messages in {self.source}.dlq", 30)
        return found

    @contextmanager
    def _channel(self) -> Iterator[Any]:
        """Each publish is confirmed."""
        with Connection(self.address, transport_options={"confirm_publish": True}) as connection:
            yield connection.channel()
