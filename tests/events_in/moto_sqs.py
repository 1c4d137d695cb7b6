"""SQS by moto, a process of its own, and a foreign producer that knows nothing of Notifier."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import EndpointConnectionError

from tests.events_in.brokers import Message
from tests.ports import free_port
from tests.processes import wait_for

ACCOUNT = {"AWS_ACCESS_KEY_ID": "moto", "AWS_SECRET_ACCESS_KEY": "moto", "AWS_DEFAULT_REGION": "eu-central-1"}


@contextmanager
def moto(log: Path) -> Iterator[str]:
    """Its address."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    program = [sys.executable, "-c", "from moto.server import main; main()", "-H", "127.0.0.1", "-p", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(program, env={**os.environ, **ACCOUNT}, stdout=output, stderr=subprocess.STDOUT)
    try:
        client = sqs(address)
        wait_for(lambda: process.poll() is None and _answers(client), "moto ready", 60)
        client.close()
        yield address
    finally:
        process.kill()
        process.wait()


def sqs(address: str) -> Any:
    return boto3.client(
        "sqs",
        endpoint_url=address,
        region_name=ACCOUNT["AWS_DEFAULT_REGION"],
        aws_access_key_id=ACCOUNT["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=ACCOUNT["AWS_SECRET_ACCESS_KEY"],
    )


def _answers(client: Any) -> bool:
    try:
        client.list_queues()
    except EndpointConnectionError:
        return False
    return True


class SqsQueue:
    bus, tells_lag, messages = "sqs", True, 80  # moto takes some forty a second
    left = came_back = b""  # nobody tells a consumer that its time was over

    def __init__(self, address: str, *, fifo: bool = False) -> None:
        self.keeps_order = fifo
        self._client = sqs(address)
        self.source = f"order-events-{secrets.token_hex(4)}" + (".fifo" if fifo else "")
        attributes = {"FifoQueue": "true", "ContentBasedDeduplication": "false"} if fifo else {}
        name = self.source.removesuffix(".fifo")
        self.url, self.dead_letter_url = (
            self._client.create_queue(QueueName=made, Attributes=attributes)["QueueUrl"]
            for made in (self.source, f"{name}-dlq" + (".fifo" if fifo else ""))
        )
        self.environment: Mapping[str, str] = {
            **ACCOUNT,
            "AWS_ENDPOINT_URL_SQS": address,
            "SQS_QUEUE_URL": self.url,
            "SQS_VISIBILITY": "6",
        }

    def publish(self, messages: Iterable[Message]) -> None:
        entries = [self._entry(place, message) for place, message in enumerate(messages)]
        for place in range(0, len(entries), 10):
            answer = self._client.send_message_batch(QueueUrl=self.url, Entries=entries[place : place + 10])
            assert not answer.get("Failed"), answer

    def dead_letters(self, number: int) -> list[bytes]:
        found: list[bytes] = []

        def read() -> bool:
            answer = self._client.receive_message(
                QueueUrl=self.dead_letter_url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
            )
            for message in answer.get("Messages", ()):
                assert message["MessageAttributes"]["notifier-cause"]["StringValue"]
                found.append(message["Body"].encode())
            return len(found) >= number

        wait_for(read, f"{number} messages in {self.dead_letter_url}", 30)
        return found

    def _entry(self, place: int, message: Message) -> dict[str, Any]:
        attributes = {name: {"DataType": "String", "StringValue": value} for name, value in message.headers.items()}
        entry = {"Id": str(place), "MessageBody": message.body.decode(), "MessageAttributes": attributes}
        if self.keeps_order:
            entry.update(MessageGroupId=message.key, MessageDeduplicationId=secrets.token_hex(8))
        return entry


def fifo_queue(address: str) -> SqsQueue:
    return SqsQueue(address, fifo=True)
