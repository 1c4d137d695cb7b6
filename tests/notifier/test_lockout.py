"""Guessing passwords of the admin."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.conf import settings
from django.test import Client
from django.urls import reverse
from pytest_django.fixtures import Settings

from preferences.models import User

LOGIN = reverse("admin:login")


@pytest.fixture(autouse=True)
def _root(db: None, settings: Settings) -> None:
    settings.WHITENOISE_AUTOREFRESH = True  # no collectstatic in tests
    User.objects.create_superuser("root", password="right")


def log_in(password: str, *, name: str = "root", address: str = "192.0.2.1") -> Any:
    return Client().post(LOGIN, {"username": name, "password": password}, REMOTE_ADDR=address)


def guess(times: int, address: str = "192.0.2.1") -> Any:
    """The answer to the last of so many wrong passwords, of as many users."""
    return [log_in("wrong", name=f"staff{number}", address=address) for number in range(times)][-1]


def test_an_address_that_guesses_is_locked_out() -> None:
    assert guess(settings.AXES_FAILURE_LIMIT - 1).status_code == 200
    answer = guess(1)

    assert answer.status_code == 429
    assert answer["Retry-After"] == "900"
    assert "too many wrong passwords from your address" in answer.content.decode()
    assert log_in("right").status_code == 429


def test_no_other_address_is_locked_out_with_it() -> None:
    guess(settings.AXES_FAILURE_LIMIT)

    assert log_in("right", address="192.0.2.2").status_code == 302


def test_it_ends_though_the_guessing_goes_on() -> None:
    guess(settings.AXES_FAILURE_LIMIT)
    for attempt in AccessAttempt.objects.all():
        attempt.attempt_time -= settings.AXES_COOLOFF_TIME - timedelta(seconds=60)
        attempt.save()
    assert guess(3).status_code == 429

    for attempt in AccessAttempt.objects.all():
        attempt.attempt_time -= timedelta(seconds=61)
        attempt.save()
    assert log_in("right").status_code == 302


def test_a_right_password_begins_anew() -> None:
    guess(settings.AXES_FAILURE_LIMIT - 1)
    assert log_in("right").status_code == 302

    assert guess(1).status_code == 200
