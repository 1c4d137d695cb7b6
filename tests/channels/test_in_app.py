"""IN_APP: rows in the inbox."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from django.db import OperationalError, connection

from channels.base import Message, Receipt
from channels.errors import MessageRejected, ProviderUnavailable
from channels.in_app import InboxProvider
from channels.models import InboxMessage

pytestmark = pytest.mark.django_db


@pytest.fixture
def message() -> Message:
    return Message(
        delivery_id=str(uuid4()),
        attempt=1,
        address=str(uuid4()),
        parts={"title": "Shipped", "body": "On its way"},
        event_type="ORDER_SHIPPED",
        data={"url": "https://shop.example/orders/1"},
    )


def test_message_lands_in_the_inbox(message: Message) -> None:
    assert InboxProvider().send([message]) == [Receipt("inbox", message.delivery_id)]
    row = InboxMessage.objects.get()
    assert (row.user_id, row.delivery_id) == (UUID(message.address), UUID(message.delivery_id))
    assert (row.title, row.body, row.url) == ("Shipped", "On its way", "https://shop.example/orders/1")
    assert (row.event_type, row.read_at, row.id.version) == ("ORDER_SHIPPED", None, 7)
    assert row.created_at is not None
    assert str(row) == f"ORDER_SHIPPED {message.delivery_id}"


def test_second_send_of_a_delivery_changes_nothing(message: Message) -> None:
    InboxProvider().send([message])
    again = replace(message, attempt=2, parts={"title": "Other", "body": ""}, data={})
    assert InboxProvider().send([again, again]) == [Receipt("inbox", message.delivery_id)] * 2
    assert InboxMessage.objects.get().title == "Shipped"


def test_many_go_in_one_statement(message: Message, django_assert_num_queries: pytest.FixtureRequest) -> None:
    messages = [replace(message, delivery_id=str(uuid4())) for _ in range(50)]
    with django_assert_num_queries(3):  # type: ignore[operator]  # savepoint, insert, release
        InboxProvider().send(messages)
    assert InboxMessage.objects.count() == 50


@pytest.mark.parametrize(
    "broken",
    [
        {"address": "nobody"},
        {"delivery_id": "7"},
        {"parts": {"title": "no body"}},
        {"parts": {"title": "a NUL \x00", "body": ""}},
        {"event_type": "X" * 65},
    ],
)
def test_bad_message_fails_alone(message: Message, broken: dict[str, object]) -> None:
    bad = replace(message, delivery_id=str(uuid4()))
    bad = replace(bad, **broken)  # type: ignore[arg-type]
    last = replace(message, delivery_id=str(uuid4()))
    first, second, third = InboxProvider().send([message, bad, last])
    assert isinstance(first, Receipt)
    assert type(second) is MessageRejected
    assert second.provider == "inbox"
    assert isinstance(third, Receipt)
    assert InboxMessage.objects.count() == 2


def test_bad_message_alone(message: Message) -> None:
    [error] = InboxProvider().send([replace(message, parts={"title": "\x00", "body": ""})])
    assert type(error) is MessageRejected


def test_database_that_is_away_may_be_tried_again(message: Message) -> None:
    def fail(*_: object) -> None:
        raise OperationalError("the connection is lost")

    with connection.execute_wrapper(fail):
        [error] = InboxProvider().send([message])
    assert type(error) is ProviderUnavailable
    assert error.provider == "inbox"
