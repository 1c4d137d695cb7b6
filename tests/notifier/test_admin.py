from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import Settings

from channels.models import InboxMessage
from notifier.models import ApiKey, Attempt, DeadLetter, Delivery, NotificationEvent
from preferences.models import User

pytestmark = pytest.mark.django_db
LIST = reverse("admin:notifier_notificationevent_changelist")


@pytest.fixture
def staff(settings: Settings, client: Client) -> Client:
    settings.WHITENOISE_AUTOREFRESH = True  # no collectstatic in tests
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.fixture
def ada() -> User:
    return User.objects.create_user(email="ada@mail.example", phone="+4915112345678")


def make_event(**fields: Any) -> NotificationEvent:
    given: dict[str, Any] = {"order_id": "ORD1", "event_type": "ORDER_SHIPPED", "status": "PARTIAL"} | fields
    return NotificationEvent.objects.create(
        source="shop",
        body_hash=b"x" * 32,
        priority=1,
        recipient_key="x",
        expires_at=timezone.now() + timedelta(hours=1),
        **given,
    )


@pytest.fixture
def event(ada: User) -> NotificationEvent:
    event = make_event(user=ada)
    now = timezone.now()
    sms = Delivery.objects.create(event=event, channel="SMS", status="FAILED", detail="gave up", finished_at=now)
    Attempt.objects.create(
        delivery=sms,
        number=1,
        started_at=now,
        finished_at=now + timedelta(milliseconds=120),
        outcome="REJECTED",
        code="30007",
        maybe_duplicate=True,
    )
    Attempt.objects.create(delivery=sms, number=2, started_at=now, outcome="UNKNOWN")
    Delivery.objects.create(
        event=event, channel="EMAIL", status="SENT", sent_at=now, provider="sendgrid", fallback_of="SMS"
    )
    Delivery.objects.create(event=event, channel="PUSH", status="SKIPPED", skip_reason="OPTED_OUT")
    Delivery.objects.create(event=event, channel="IN_APP", status="RETRYING")
    DeadLetter.objects.create(delivery=sms, event_type="ORDER_SHIPPED", channel="SMS", cause="REJECTED")
    return event


def text(client: Client, path: str, **query: str) -> str:
    answer = client.get(path, query)
    assert answer.status_code == 200
    return str(answer.content.decode())


def test_an_event_shows_its_deliveries_attempts_and_timeline(staff: Client, event: NotificationEvent) -> None:
    page = text(staff, reverse("admin:notifier_notificationevent_change", args=[event.id]))

    for shown in (
        "ada@mail.example",
        "gave up",
        "30007",
        "120 ms",
        "maybe a duplicate",
        "SMS to +49•••78 was not delivered: the provider gave no clear answer at ",
        "EMAIL to a•••@mail.example was accepted by sendgrid at ",
        "in place of SMS",
        "PUSH was not sent: its recipient turned it off",
        "OPTED_OUT",
    ):
        assert shown in page
    assert "Timeline" in page
    assert 'name="_save"' not in page


def test_an_event_that_is_not_there_is_not_shown(staff: Client) -> None:
    for wrong in (uuid4(), "7"):
        answer = staff.get(reverse("admin:notifier_notificationevent_change", args=[wrong]))
        assert answer.status_code == 302


@pytest.mark.parametrize(
    "term",
    ["ORD1", "partial", "order_shipped", "ada@mail.example", "+49 151 12345678", "{event.id}", "{event.user_id}", " "],
)
def test_an_event_is_found_by(staff: Client, event: NotificationEvent, term: str) -> None:
    make_event(order_id="ORD2", event_type="ORDER_PACKED", status="SENT", recipient={"email": "b@mail.example"})

    page = text(staff, LIST, q=term.format(event=event))

    assert "ORD1" in page
    assert ("ORD2" in page) is (term == " ")


def test_the_list_says_who_it_was_for(staff: Client, event: NotificationEvent) -> None:
    erased = uuid4()
    make_event(user_id=erased)
    make_event(recipient={"email": "b@mail.example"}, order_id="")

    page = text(staff, LIST)

    for shown in ("ada@mail.example", f"{erased} (erased)", "a guest", "SMS"):
        assert shown in page


def test_the_list_takes_few_queries_and_counts_nothing(
    staff: Client, ada: User, django_assert_max_num_queries: Callable[..., Any]
) -> None:
    for _ in range(20):
        Delivery.objects.create(event=make_event(user=ada), channel="SMS")

    with django_assert_max_num_queries(6) as queries:
        text(staff, LIST, event_type="ORDER_SHIPPED")

    assert not [query for query in queries.captured_queries if "COUNT(" in query["sql"]]


def test_events_are_filtered_by_type(staff: Client, event: NotificationEvent) -> None:
    assert "ORD1" not in text(staff, LIST, event_type="ORDER_PLACED")
    assert "ORD1" in text(staff, LIST, event_type="ORDER_SHIPPED")


def test_what_the_engine_writes_is_read_only(staff: Client, event: NotificationEvent) -> None:
    InboxMessage.objects.create(user_id=uuid4(), delivery_id=uuid4(), title="Hello")
    ApiKey.issue("shop", ["read"])
    for model in (NotificationEvent, DeadLetter, ApiKey, InboxMessage):
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        row = model._default_manager.get()
        assert staff.get(reverse(f"{name}_add")).status_code == 403
        assert staff.post(reverse(f"{name}_change", args=[row.pk]), {}).status_code == 403
        assert staff.post(reverse(f"{name}_delete", args=[row.pk]), {"post": "yes"}).status_code == 403
        assert staff.get(reverse(f"{name}_change", args=[row.pk])).status_code == 200
        assert staff.get(reverse(f"{name}_changelist")).status_code == 200


def act(client: Client, path: str, name: str, *rows: Any) -> str:
    answer = client.post(path, {"action": name, "_selected_action": [str(row.pk) for row in rows]}, follow=True)
    return str(answer.content.decode())


def test_dead_letters_are_sent_again(staff: Client, event: NotificationEvent) -> None:
    letter = DeadLetter.objects.get()
    event.deliveries.filter(channel="EMAIL").delete()
    unread = DeadLetter.objects.create(source="celery", cause="INVALID_TRIGGER", payload=b'{"eventType": 1}')
    path = reverse("admin:notifier_deadletter_changelist")

    page = act(staff, path, "replay", letter, unread)
    assert "1 of 2 will be sent again. 1 INVALID: a refused trigger that is still not valid." in page
    assert "0 of 1 will be sent again. 1 REPLAYED" in act(staff, path, "replay", letter)
    letter.refresh_from_db()
    assert letter.status == "REPLAYED"
    assert event.deliveries.get(channel="SMS").status == "QUEUED"


def test_who_was_reached_is_told_again_only_when_forced(staff: Client, event: NotificationEvent) -> None:
    letter, path = DeadLetter.objects.get(), reverse("admin:notifier_deadletter_changelist")

    assert "0 of 1 will be sent again. 1 REACHED" in act(staff, path, "replay", letter)
    assert "1 of 1 will be sent again." in act(staff, path, "replay_forced", letter)
    assert event.deliveries.get(channel="SMS").forced


def test_a_payload_is_on_the_letters_own_page_alone(staff: Client, event: NotificationEvent) -> None:
    NotificationEvent.objects.update(metadata={"orderId": "ORD1", "carrier": "Pigeon"})
    unread = DeadLetter.objects.create(
        source="celery", cause="INVALID_TRIGGER", last_error="Unknown event type.", payload=b'{"eventType": "Pigeon"}'
    )

    listed = text(staff, reverse("admin:notifier_deadletter_changelist"))
    assert "Unknown event type." in listed
    assert "Pigeon" not in listed
    for letter in DeadLetter.objects.all():
        page = text(staff, reverse("admin:notifier_deadletter_change", args=[letter.pk]))
        assert "Pigeon" in page
        assert letter.cause in page
    reader = Client()
    reader.force_login(User.objects.create_user("reader", is_staff=True))
    assert reader.get(reverse("admin:notifier_deadletter_change", args=[unread.pk])).status_code == 403


def test_a_key_is_revoked(staff: Client) -> None:
    row, key = ApiKey.issue("shop", ["read"])

    assert "1 revoked" in act(staff, reverse("admin:notifier_apikey_changelist"), "revoke", row)

    assert ApiKey.find(key) is None


def test_actions_need_a_permission(settings: Settings, event: NotificationEvent) -> None:
    settings.WHITENOISE_AUTOREFRESH = True
    client = Client()
    client.force_login(User.objects.create_user("reader", is_staff=True))

    assert client.get(reverse("admin:notifier_deadletter_changelist")).status_code == 403
    act(client, reverse("admin:notifier_deadletter_changelist"), "replay", DeadLetter.objects.get())
    assert DeadLetter.objects.get().status == "OPEN"


def test_the_inbox_is_searched_by_user(staff: Client) -> None:
    user_id = uuid4()
    InboxMessage.objects.create(user_id=user_id, delivery_id=uuid4(), title="Hello Ada")
    path = reverse("admin:notifier_channels_inboxmessage_changelist")

    assert "Hello Ada" in text(staff, path, q=str(user_id))
    assert "Hello Ada" in text(staff, path, q=" ")
    assert "Hello Ada" not in text(staff, path, q=str(uuid4()))
    assert "Hello Ada" not in text(staff, path, q="ada")
