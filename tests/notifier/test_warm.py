"""A worker that starts has the people of the latest events in the cache."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django.fixtures import Settings

from config.celery import app, warm_cache
from notifier.quick_redis import quick_redis
from notifier.warm import warm
from preferences import resolve
from preferences.models import User
from tests.letters import make_event

pytestmark = pytest.mark.django_db

CACHED = "notifier:person:*"


def forget() -> None:
    client = quick_redis.client()
    for key in client.scan_iter(CACHED):
        client.delete(key)


def test_the_people_of_the_latest_events_are_in_the_cache(settings: Settings) -> None:
    settings.PEOPLE_CACHE_SECONDS = 60
    forget()
    people = [User.objects.create_user(email=f"{n}@mail.example") for n in range(3)]
    for user in (*people[:2], people[0]):
        make_event(user=user)
    assert warm() == 2
    assert len(list(quick_redis.client().scan_iter(CACHED))) == 2
    with CaptureQueriesContext(
        connection,
    ) as asked:
        resolve.load([user.id for user in people[:2]], whole=False)
    assert len(asked) == 1  # the versions; the people themselves are there
    forget()


def test_without_a_cache_nobody_is_read(settings: Settings) -> None:
    settings.PEOPLE_CACHE_SECONDS = 0
    make_event(user=User.objects.create_user())
    assert warm() == 0


def test_a_worker_that_starts_asks_for_it(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    sent: list[str] = []
    settings.PEOPLE_CACHE_SECONDS = 0
    monkeypatch.setattr(app, "send_task", lambda name, **_: sent.append(name))
    warm_cache()
    assert sent == []
    settings.PEOPLE_CACHE_SECONDS = 60
    warm_cache()
    assert sent == ["notifier.warm"]
    assert "notifier.warm" in app.tasks
