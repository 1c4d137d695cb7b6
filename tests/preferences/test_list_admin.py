"""The admin's long lists: pages by key, forwards and back, and filters that look back only so far."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import Settings
from uuid_utils.compat import uuid7

from notifier.models import DeadLetter
from notifier.retention import first_id
from preferences.list_admin import LongListAdmin
from preferences.models import SuppressedAddress, User
from tests.letters import make_event

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff(settings: Settings, client: Client, monkeypatch: pytest.MonkeyPatch) -> Client:
    settings.WHITENOISE_AUTOREFRESH = True  # no collectstatic in tests
    monkeypatch.setattr(LongListAdmin, "list_per_page", 2)
    client.force_login(User.objects.create_superuser("root"), backend="django.contrib.auth.backends.ModelBackend")
    return client


def opened(client: Client, path: str) -> tuple[list[str], dict[str, str]]:
    """What the page lists, and the query strings of those beside it by "prev" and "next"."""
    page = client.get(path).content.decode()
    assert " results" not in page, "they are not counted"
    beside = {side: query.replace("&amp;", "&") for side, query in re.findall(r'rel="(\w+)" href="([^"]+)"', page)}
    return list(dict.fromkeys(re.findall(r"row-\d\d", page))), beside


def test_pages_go_on_and_back_whatever_is_added_meanwhile(staff: Client) -> None:
    path = reverse("admin:preferences_suppressedaddress_changelist")
    for number in range(5):
        SuppressedAddress.objects.create(kind="email", address=f"row-{number:02}@mail.example", reason="INVALID")

    first, beside = opened(staff, f"{path}?kind__exact=email")
    assert (first, list(beside)) == (["row-04", "row-03"], ["next"])
    SuppressedAddress.objects.create(kind="email", address="row-05@mail.example", reason="INVALID")
    second, beside = opened(staff, path + beside["next"])
    assert (second, list(beside)) == (["row-02", "row-01"], ["prev", "next"])
    assert "kind__exact=email" in beside["next"]
    assert opened(staff, path + beside["next"])[0] == ["row-00"]
    back, beside = opened(staff, path + beside["prev"])
    assert (back, list(beside)) == (["row-04", "row-03"], ["prev", "next"])
    assert opened(staff, path + beside["prev"])[0] == ["row-05"]


def test_letters_of_one_moment_all_come(staff: Client) -> None:
    path, now = reverse("admin:notifier_deadletter_changelist"), timezone.now()
    for number in range(5):
        DeadLetter.objects.create(cause=f"row-{number:02}", created_at=now)
    seen, query = [], "?"
    while query:
        rows, beside = opened(staff, path + query)
        seen += rows
        query = beside.get("next", "")

    assert sorted(seen) == [f"row-{number:02}" for number in range(5)]


@pytest.mark.parametrize("query", ["older=x", "newer=x", "older=0", "o=3", "p=9", "within=x", "older=%00"])
def test_a_query_of_ones_own_breaks_nothing(staff: Client, query: str) -> None:
    for model in ("preferences_suppressedaddress", "notifier_deadletter", "notifier_notificationevent"):
        assert staff.get(f"{reverse(f'admin:{model}_changelist')}?{query}").status_code in {200, 302}


def test_what_no_index_finds_is_looked_for_in_the_last_day(staff: Client) -> None:
    week_ago = timezone.now() - timedelta(days=6)
    old = str(first_id(week_ago))[:14] + str(uuid7())[14:]
    make_event(id=old, order_id="row-01", recorded_at=week_ago)
    make_event(order_id="row-02")
    path = reverse("admin:notifier_notificationevent_changelist")

    assert opened(staff, path)[0] == ["row-02", "row-01"]
    for query in ("?status__exact=FAILED", "?q=failed", "?event_type=ORDER_SHIPPED", "?within=24h"):
        assert opened(staff, path + query)[0] == ["row-02"], query
    assert opened(staff, f"{path}?status__exact=FAILED&within=7d")[0] == ["row-02", "row-01"]
    assert opened(staff, f"{path}?q=row-01")[0] == ["row-01"]
