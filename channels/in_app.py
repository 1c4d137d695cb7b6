"""IN_APP: a row in the person's inbox, on our own database."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from uuid import UUID

import orjson
from django.db import DataError, Error, IntegrityError, connection, transaction

from channels.base import AddressKind, Channel, Message, Outcome, Provider, Receipt
from channels.errors import ChannelError, MessageRejected, ProviderUnavailable
from channels.models import InboxMessage

COLUMNS = ("id", "user_id", "delivery_id", "event_type", "title", "body", "url")
INSERT = f"""
INSERT INTO notifier_channels_inboxmessage ({", ".join(COLUMNS)})
SELECT (row ->> 0)::uuid, (row ->> 1)::uuid, (row ->> 2)::uuid, row ->> 3, row ->> 4, row ->> 5, row ->> 6
FROM json_array_elements(%s::json) AS message(row)
ON CONFLICT DO NOTHING
"""  # noqa: S608 - names of columns


class InAppChannel(Channel):
    name = "IN_APP"
    address = AddressKind.USER
    parts = {"title": "text", "body": "text"}
    label = "In the app"
    slice_size = 250  # rows of one statement
    disturbs = False  # it lies in the inbox until somebody looks


class InboxProvider(Provider):
    """Inserts InboxMessages. Sending a delivery twice leaves one row, so trying again is always safe."""

    name = "inbox"
    remote = False  # our own database

    def send(self, messages: Sequence[Message]) -> list[Outcome]:
        """One statement for all; where the database refuses a value, one a message to find the culprit."""
        built = [self._build(message) for message in messages]
        rows = [row for row in built if isinstance(row, InboxMessage)]
        failure = self._insert(rows)
        if isinstance(failure, MessageRejected) and len(rows) > 1:
            return [self._outcome(row, self._insert([row])) for row in built]
        return [self._outcome(row, failure) for row in built]

    def _build(self, message: Message) -> InboxMessage | ChannelError:
        try:
            return InboxMessage(
                user_id=UUID(message.address),
                delivery_id=UUID(message.delivery_id),
                event_type=message.event_type,
                title=message.parts["title"],
                body=message.parts["body"],
                url=message.data.get("url", ""),
            )
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one message concerns that one alone
            return MessageRejected(f"could not be built: {type(error).__name__}", provider=self.name)

    def _write(self, rows: Iterable[InboxMessage]) -> None:
        values = [[getattr(row, name) for name in COLUMNS] for row in rows]
        # alone, the statement is a transaction of its own: three round trips less
        savepoint = transaction.atomic() if connection.in_atomic_block else nullcontext()
        with savepoint, connection.cursor() as cursor:
            cursor.execute(INSERT, [orjson.dumps(values).decode()])

    def _insert(self, rows: Iterable[InboxMessage | ChannelError]) -> ChannelError | None:
        try:
            self._write([row for row in rows if isinstance(row, InboxMessage)])
        except (DataError, IntegrityError, ValueError) as error:
            return MessageRejected(f"the database refused it: {type(error).__name__}", provider=self.name)
        except Error as error:
            return ProviderUnavailable(f"the database is away: {type(error).__name__}", provider=self.name)
        return None

    def _outcome(self, row: InboxMessage | ChannelError, failure: ChannelError | None) -> Outcome:
        if isinstance(row, ChannelError):
            return row
        return failure or Receipt(self.name, str(row.delivery_id))
