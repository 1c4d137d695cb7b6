"""The providers' page: how each is now, and the changes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import reverse
from pytest_django.fixtures import Settings

from channels import registry
from channels.base import Permit
from channels.errors import OutcomeUnknown, RateLimited
from channels.models import BreakerChange
from channels.testing import forget_gates
from tests.ports import free_port

pytestmark = pytest.mark.django_db
LIST = reverse("admin:notifier_channels_breakerchange_changelist")
REMOTE = {"PROVIDER": "channels.testing.RemoteProvider"}


@pytest.fixture(autouse=True)
def two_providers(settings: Settings) -> Iterator[None]:
    settings.CHANNELS = {
        "TOY": {"CHANNEL": "channels.testing.ToyChannel", "PROVIDERS": [{**REMOTE, "RATE": 70}, REMOTE]}
    }
    forget_gates()
    yield
    forget_gates()


@pytest.fixture
def staff(settings: Settings, client: Client) -> Client:
    settings.WHITENOISE_AUTOREFRESH = True  # no collectstatic in tests
    client.force_login(get_user_model().objects.create_superuser("root"))
    return client


def page(client: Client) -> str:
    answer = client.get(LIST)
    assert answer.status_code == 200
    return str(answer.content.decode())


def test_it_shows_how_each_provider_is_and_what_changed(staff: Client) -> None:
    first, second = registry.gates()
    first.record([OutcomeUnknown() for _ in range(6)], Permit(6))
    second.record([OutcomeUnknown(), RateLimited()], Permit(2))

    shown = page(staff)

    for text in ("OPEN", "6 of 6 calls failed in 10 s", "70 a second", "CLOSED", "1 of 2 failed, 1 rate limited"):
        assert text in shown
    assert shown.count("6 of 6 calls failed in 10 s") == 2  # now, and below as a change
    assert "remote-2" in shown


def test_nothing_has_happened_yet(staff: Client) -> None:
    assert "no calls" in page(staff)


def test_redis_is_away(staff: Client, settings: Settings) -> None:
    BreakerChange.objects.create(channel="TOY", provider="remote", state="OPEN", reason="a trial failed")
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    shown = page(staff)
    assert "unknown: Redis is away" in shown
    assert "a trial failed" in shown


def test_nobody_may_edit_it(staff: Client) -> None:
    change = BreakerChange.objects.create(channel="TOY", provider="remote", state="OPEN", reason="a trial failed")
    assert staff.get(reverse("admin:notifier_channels_breakerchange_add")).status_code == 403
    address = reverse("admin:notifier_channels_breakerchange_delete", args=[change.pk])
    assert staff.post(address, {"post": "yes"}).status_code == 403
    assert str(BreakerChange.objects.get()) == "TOY remote OPEN"
