"""Every event says from where it came."""

from __future__ import annotations

from uuid import uuid4

import orjson
import pytest
from django.test import Client
from django.urls import reverse
from pytest_django.fixtures import Settings

from notifier import tasks
from notifier.models import ApiKey, NotificationEvent
from notifier.querysets.dead_letters import Filter
from notifier.replay import replay
from preferences.models import User
from tests.letters import make_refused

pytestmark = pytest.mark.django_db
GUEST = {"email": "guest@mail.example"}
BODY = {"eventType": "ORDER_PLACED", "recipient": GUEST, "metadata": {"orderId": "ORD1"}}


@pytest.fixture(autouse=True)
def _no_collected_files(settings: Settings) -> None:
    settings.WHITENOISE_AUTOREFRESH = True


@pytest.fixture
def headers() -> dict[str, str]:
    return {"Authorization": f"Api-Key {ApiKey.issue('counter', ApiKey.SCOPES)[1]}"}


def test_one_by_http_names_the_ip_and_the_request(client: Client, headers: dict[str, str]) -> None:
    headers |= {"X-Request-ID": "req-7"}
    answer = client.post("/notifications/trigger", BODY, "application/json", headers=headers)
    told = client.get(f"/notifications/events/{answer.json()['eventId']}", headers=headers).json()

    assert told["origin"] == {"ip": "127.0.0.1", "requestId": "req-7"}


def test_in_bulk_too(client: Client, headers: dict[str, str]) -> None:
    client.post("/notifications/trigger/bulk", {"events": [BODY, BODY]}, "application/json", headers=headers)

    assert list(NotificationEvent.objects.values_list("origin", flat=True)) == [{"ip": "127.0.0.1"}] * 2


@pytest.mark.django_db(transaction=True)
def test_one_by_celery_names_its_task() -> None:
    given = {"event_type": "ORDER_PLACED", "metadata": {"orderId": "ORD1"}, "recipient": GUEST}
    task_id = str(uuid4())
    tasks.trigger.apply(kwargs=given, task_id=task_id)

    assert NotificationEvent.objects.get().origin == {"task": task_id}


def test_a_refused_one_that_is_replayed_names_its_letter() -> None:
    letter = make_refused(orjson.dumps(BODY))
    assert replay(Filter(ids=[letter.id])).replayed == 1

    assert NotificationEvent.objects.get().origin == {"deadLetter": str(letter.id)}


def test_an_event_of_our_own_came_from_nowhere_and_the_admin_shows_both(
    client: Client, headers: dict[str, str]
) -> None:
    event_id = client.post("/notifications/trigger", BODY, "application/json", headers=headers).json()["eventId"]
    client.force_login(User.objects.create_superuser("root"))
    page = reverse("admin:notifier_notificationevent_change", args=[event_id])

    assert "ip 127.0.0.1" in client.get(page).content.decode()
    NotificationEvent.objects.update(origin=None)  # as of before there was one
    assert "ip 127.0.0.1" not in client.get(page).content.decode()
