"""SQS, by boto3: messages are hidden from others while they are stored, and deleted after the database's commit.

What SQS promises is in its developer guide and API reference (ReceiveMessage, DeleteMessageBatch,
ChangeMessageVisibilityBatch; read 2026-11-25): ten messages a call, a message that is not deleted in time comes again,
with the same MessageId. In a FIFO queue nothing of a group comes while something of it is hidden: it keeps its order.
"""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError
from django.core.exceptions import ImproperlyConfigured

from notifier.events_in.bus import Bus, BusError, Incoming, Refused
from notifier.events_in.copies import Copies, told
from notifier.events_in.hold import Hold
from notifier.events_in.seldom import SeldomLog
from notifier.events_in.sns import unwrapped

log = logging.getLogger(__name__)

AT_ONCE = 10  # messages a call
PARALLEL = 8  # calls at a time
GATHER = 0.5  # seconds in which a batch is filled, while there is more
TRIES = 3  # at deleting what SQS reports as failed
LAG_EVERY = 5.0  # seconds between two questions
REQUEST_BYTES = 200_000  # of dead letters in one call; SQS took 262,144 before it took 1 MiB
ATTRIBUTES = 10  # of a message
NETWORK = Config(
    connect_timeout=5, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 2},
    max_pool_connections=PARALLEL + 2,
)  # fmt: skip

Entry = dict[str, Any]


class SqsBus(Bus):
    """One of a queue's consumers.

    `dead_letters` is the URL of their queue; empty: there is none. `visibility`: seconds that a message is hidden from
    others; it is renewed while the batch is stored. Raises ImproperlyConfigured where boto3 knows no region.
    """

    def __init__(self, *, queue_url: str, dead_letters: str = "", visibility: int = 60) -> None:
        self._url, self._queue, self._visibility = queue_url, queue_url.rpartition("/")[2], visibility
        self._client = _client(queue_url)
        self._pool = ThreadPoolExecutor(PARALLEL, thread_name_prefix="sqs")
        self._hold = Hold(lambda handles: self._hide(handles, visibility), visibility / 3)
        self._copies = Copies(dead_letters, self._send_copies)
        self._seldom = SeldomLog(log)
        self._connected = False
        self._lag: int | None = None
        self._lag_at = 0.0

    # --- messages ----------------------------------------------------------------------------------------------
    def fetch(self, limit: int, wait: float) -> Sequence[Incoming]:
        """One long poll, of whole seconds; while it comes full, several at a time, without waiting for more."""
        if self.paused:
            time.sleep(wait)
            return ()
        try:
            found = self._receive(min(limit, AT_ONCE), math.ceil(wait))
            if len(found) == AT_ONCE:
                found += self._more(limit - AT_ONCE)
        except (ClientError, BotoCoreError) as error:
            self._unreachable(error)
            time.sleep(wait)
            return ()
        self._connected = True
        self._hold.take([message["ReceiptHandle"] for message in found])
        return [_incoming(message, self._queue) for message in found]

    def commit(self, batch: Sequence[Incoming]) -> None:
        """What SQS reports as failed is tried again; what stays comes again, and is known by its key."""
        handles = [message.raw["ReceiptHandle"] for message in batch]
        for again in range(TRIES):
            time.sleep(0.1 * again)
            handles = self._each(handles, self._delete)
            if not handles:
                break
        else:
            self._seldom.warning("%d messages not deleted; they come again", len(handles))
        self._hold.let_go()

    def give_back(self, batch: Sequence[Incoming]) -> None:
        self._hold.let_go()
        self._hide([message.raw["ReceiptHandle"] for message in batch], 0)

    def dead_letter(self, refused: Sequence[Refused]) -> None:
        """With the body and attributes as they came, and attributes that say where from and why."""
        self._copies.add(refused)

    # --- the queue ---------------------------------------------------------------------------------------------
    def close(self) -> None:
        self._hold.close()
        self._pool.shutdown()
        self._client.close()

    def is_connected(self) -> bool:
        return self._connected

    def lag(self) -> int | None:
        """Of the whole queue, as SQS guesses it: what waits and what is in hand somewhere."""
        now = time.monotonic()
        if not self._connected:
            return None
        if now >= self._lag_at:
            self._lag_at = now + LAG_EVERY
            self._lag = self._ask_lag()
        return self._lag

    def _ask_lag(self) -> int | None:
        try:
            answer = self._client.get_queue_attributes(
                QueueUrl=self._url,
                AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
            )
        except (ClientError, BotoCoreError) as error:
            self._seldom.warning("the queue's length is not known: %s", _words(error))
            return None
        return sum(int(number) for number in answer["Attributes"].values())

    # --- inside ------------------------------------------------------------------------------------------------
    def _receive(self, limit: int, wait: int) -> list[Mapping[str, Any]]:
        answer = self._client.receive_message(
            QueueUrl=self._url,
            MaxNumberOfMessages=limit,
            WaitTimeSeconds=wait,
            VisibilityTimeout=self._visibility,
            MessageSystemAttributeNames=["SentTimestamp", "MessageGroupId"],
            MessageAttributeNames=["All"],
        )
        return list(answer.get("Messages", ()))

    def _more(self, limit: int) -> list[Mapping[str, Any]]:
        """Rounds of several calls, until one brings less than all its calls could, or it takes too long."""
        found: list[Mapping[str, Any]] = []
        ends = time.monotonic() + GATHER
        full = True
        while full and len(found) < limit and time.monotonic() < ends:
            calls = [AT_ONCE] * min(PARALLEL, (limit - len(found)) // AT_ONCE) or [limit - len(found)]
            came = [message for part in self._pool.map(self._receive_more, calls) for message in part]
            full = len(came) == sum(calls)
            found += came
        return found

    def _receive_more(self, limit: int) -> list[Mapping[str, Any]]:
        """One that fails takes nothing from the others."""
        try:
            return self._receive(limit, 0)
        except (ClientError, BotoCoreError) as error:
            self._seldom.warning("SQS gave fewer messages than asked for: %s", _words(error))
            return []

    def _each(self, handles: Sequence[str], call: Callable[[Sequence[str]], list[str]]) -> list[str]:
        """The handles that `call` gives back, over tens of them."""
        tens = [handles[place : place + AT_ONCE] for place in range(0, len(handles), AT_ONCE)]
        return [left for part in self._pool.map(call, tens) for left in part]

    def _delete(self, handles: Sequence[str]) -> list[str]:
        """Those that are worth another try; a handle that is no longer valid is none: its message comes again."""
        entries: Any = [{"Id": str(place), "ReceiptHandle": handle} for place, handle in enumerate(handles)]
        try:
            answer = self._client.delete_message_batch(QueueUrl=self._url, Entries=entries)
        except (ClientError, BotoCoreError) as error:
            self._seldom.warning("messages not deleted, trying again: %s", _words(error))
            return list(handles)
        return [handles[int(one["Id"])] for one in answer.get("Failed", ()) if not one.get("SenderFault")]

    def _hide(self, handles: Sequence[str], seconds: int) -> None:
        """From now on for so long. What does not succeed comes when its time is over."""

        def change(ten: Sequence[str]) -> list[str]:
            entries: Any = [
                {"Id": str(place), "ReceiptHandle": handle, "VisibilityTimeout": seconds}
                for place, handle in enumerate(ten)
            ]
            try:
                self._client.change_message_visibility_batch(QueueUrl=self._url, Entries=entries)
            except (ClientError, BotoCoreError) as error:
                self._seldom.warning("the time of messages in hand not changed: %s", _words(error))
            return []

        self._each(handles, change)

    def _unreachable(self, error: ClientError | BotoCoreError) -> None:
        """Raises BusError where waiting helps nobody: the queue is not there, or is not for us."""
        self._connected = False
        if isinstance(error, NoCredentialsError):
            raise BusError("SQS: boto3 finds no credentials; docs/event-bus.md says what to set.") from error
        if isinstance(error, ClientError) and not _passes(error):
            raise BusError(f"SQS refuses {self._url}: {_words(error)}") from error
        self._seldom.warning("SQS cannot be reached, trying again: %s", _words(error))

    def _send_copies(self, refused: Sequence[Refused]) -> list[str]:
        return [problem for part in self._pool.map(self._send, _parcels(refused)) for problem in part]

    def _send(self, refused: Sequence[Refused]) -> list[str]:
        entries: Any = [self._copy(place, one) for place, one in enumerate(refused)]
        try:
            answer = self._client.send_message_batch(QueueUrl=self._copies.name, Entries=entries)
        except (ClientError, BotoCoreError) as error:
            return [_words(error)] * len(refused)
        return [f"{one['Code']} {one.get('Message', '')}" for one in answer.get("Failed", ())]

    def _copy(self, place: int, one: Refused) -> Entry:
        raw: Mapping[str, Any] = one.message.raw
        ours = {name: {"DataType": "String", "StringValue": value} for name, value in told(one).items()}
        theirs = list(raw.get("MessageAttributes", {}).items())[: ATTRIBUTES - len(ours)]
        entry: Entry = {"Id": str(place), "MessageBody": raw["Body"], "MessageAttributes": {**dict(theirs), **ours}}
        if self._copies.name.endswith(".fifo"):
            group = raw["Attributes"].get("MessageGroupId", self._queue)
            entry.update(MessageGroupId=group, MessageDeduplicationId=raw["MessageId"])
        return entry


def _client(queue_url: str) -> Any:
    """In the region that the queue's address names, else boto3's own."""
    named = re.match(r"https://(?:sqs\.([a-z0-9-]+)\.|([a-z0-9-]+)\.queue\.)amazonaws\.com", queue_url)
    region = (named[1] or named[2]) if named else None
    try:
        return boto3.client("sqs", region_name=region, config=NETWORK)
    except NoRegionError as error:
        raise ImproperlyConfigured("SQS_QUEUE_URL names no region: set AWS_DEFAULT_REGION.") from error
    except (BotoCoreError, ValueError) as error:
        raise ImproperlyConfigured(f"boto3 refuses the settings: {error}") from error


def _incoming(message: Mapping[str, Any], queue: str) -> Incoming:
    headers = {name.lower(): _text(value) for name, value in message.get("MessageAttributes", {}).items()}
    sent = message.get("Attributes", {}).get("SentTimestamp")
    return unwrapped(
        Incoming(
            body=message["Body"].encode("utf-8", "surrogatepass"),
            key=f"{queue}-{message['MessageId']}",
            place={"queue": queue, "messageId": message["MessageId"]},
            headers=headers,
            published_at=int(sent) / 1000 if sent else None,
            raw=message,
        )
    )


def _text(attribute: Mapping[str, Any]) -> str:
    if "BinaryValue" in attribute:
        return bytes(attribute["BinaryValue"]).decode("utf-8", "replace")
    return str(attribute.get("StringValue", ""))


def _parcels(refused: Iterable[Refused]) -> Iterator[list[Refused]]:
    """As many as fit in a call."""
    parcel: list[Refused] = []
    size = 0
    for one in refused:
        length = len(one.message.raw["Body"].encode("utf-8", "surrogatepass"))
        if parcel and (len(parcel) == AT_ONCE or size + length > REQUEST_BYTES):
            yield parcel
            parcel, size = [], 0
        parcel.append(one)
        size += length
    if parcel:
        yield parcel


def _passes(error: ClientError) -> bool:
    """Whether it may be another answer soon: SQS is ill, or had too much of us."""
    answer = error.response
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
    code = str(answer.get("Error", {}).get("Code", ""))
    return status >= 500 or status == 429 or "Throttl" in code or "OverLimit" in code


def _words(error: ClientError | BotoCoreError) -> str:
    """Without the request, which may hold a message."""
    if isinstance(error, ClientError):
        found = error.response.get("Error", {})
        return f"{found.get('Code', '')} {found.get('Message', '')}".strip()
    return str(error)
