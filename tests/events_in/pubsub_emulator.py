"""Pub/Sub by the emulator of Google's SDK, where it is installed, and a foreign producer."""

from __future__ import annotations

import secrets
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from google.api_core.exceptions import GoogleAPICallError
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient
from google.cloud.pubsub_v1.types import PublisherOptions
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from tests.events_in.brokers import Message
from tests.ports import free_port
from tests.processes import wait_for

PROJECT = "projects/shop"
FOLDERS = ("/usr/lib/google-cloud-sdk", "/usr/share/google-cloud-sdk", "/opt/google-cloud-sdk")


def jar() -> Path | None:
    """The emulator, where the SDK has it."""
    found = [jar for folder in FOLDERS for jar in Path(folder).glob("platform/pubsub-emulator/lib/*-all.jar")]
    return found[0] if found and shutil.which("java") else None


@contextmanager
def emulator(program: Path, log: Path) -> Iterator[str]:
    """Its address."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["java", "-Xmx256m", "-jar", program, "--host=127.0.0.1", f"--port={port}"],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for(lambda: process.poll() is None and _answers(address), "the Pub/Sub emulator ready", 90)
        yield address
    finally:
        process.kill()
        process.wait()


def _answers(address: str) -> bool:
    with PublisherClient(transport=PublisherGrpcTransport(channel=grpc.insecure_channel(address))) as client:
        try:
            client.list_topics(project=PROJECT, timeout=2, retry=None)
        except GoogleAPICallError:
            return False
    return True


class PubSubTopic:
    bus, tells_lag, messages = "pubsub", False, 400
    left = came_back = b""  # nobody tells a consumer that its time was over

    def __init__(self, address: str) -> None:
        self.source = f"order-events-{secrets.token_hex(4)}"
        self._topic, self._dead_letters = f"{PROJECT}/topics/{self.source}", f"{PROJECT}/topics/{self.source}.dlq"
        self._subscription, self._kept = (
            f"{PROJECT}/subscriptions/{self.source}", f"{PROJECT}/subscriptions/{self.source}.dlq"
        )  # fmt: skip
        self.environment: Mapping[str, str] = {
            "PUBSUB_EMULATOR_HOST": address,
            "PUBSUB_SUBSCRIPTION": self._subscription,
            "PUBSUB_ACK_DEADLINE": "10",
        }
        channel = grpc.insecure_channel(address)
        self._publisher: Any = PublisherClient(
            publisher_options=PublisherOptions(enable_message_ordering=True),
            transport=PublisherGrpcTransport(channel=channel),
        )
        self._subscriber: Any = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
        for topic, subscription in ((self._topic, self._subscription), (self._dead_letters, self._kept)):
            self._publisher.create_topic(name=topic)
            self._subscriber.create_subscription(
                request={"name": subscription, "topic": topic, "ack_deadline_seconds": 10,
                         "enable_message_ordering": True}
            )  # fmt: skip

    def publish(self, messages: Iterable[Message]) -> None:
        sent = [
            self._publisher.publish(self._topic, message.body, ordering_key=message.key, **message.headers)
            for message in messages
        ]
        for one in sent:
            one.result(30)

    def dead_letters(self, number: int) -> list[bytes]:
        found: list[bytes] = []

        def read() -> bool:
            answer = self._subscriber.pull(subscription=self._kept, max_messages=100, timeout=5)
            for received in answer.received_messages:
                assert received.message.attributes["notifier-cause"]
                found.append(received.message.data)
            if ids := [received.ack_id for received in answer.received_messages]:
                self._subscriber.acknowledge(subscription=self._kept, ack_ids=ids)
            return len(found) >= number

        wait_for(read, f"{number} messages in {self._dead_letters}", 30)
        return found
