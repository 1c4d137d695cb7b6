"""Searches that staff keep by a name."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from pytest_django.fixtures import Settings

from preferences import saved_searches
from preferences.models import SavedSearch, User

pytestmark = pytest.mark.django_db

PAGE = reverse("admin:notifier_notificationevent_changelist")
FAILED = f"{PAGE}?status=FAILED&event_type=ORDER_SHIPPED"


@pytest.fixture
def pages(settings: Settings, client: Client) -> Client:
    settings.WHITENOISE_AUTOREFRESH = True  # no collectstatic in tests
    return client


def staff(client: Client, name: str, *permissions: str) -> User:
    member = User.objects.create_user(name, is_staff=True)
    member.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client.force_login(member)
    return member


def save(client: Client, address: str = FAILED, name: str = "Failed parcels", **more: str) -> str:
    answer = client.post(address, {"saved-search": "save", "name": name, **more}, follow=True)
    return str(answer.content.decode())


def test_a_search_is_kept_offered_and_deleted(pages: Client) -> None:
    staff(pages, "ada", "view_notificationevent")
    assert "Failed parcels is saved." in save(pages, f"{FAILED}&older=01920000-0000-7000-8000-000000000001")
    row = SavedSearch.objects.get()
    assert row.query == "status=FAILED&event_type=ORDER_SHIPPED"
    shown = pages.get(PAGE).content.decode()
    assert 'href="?status=FAILED&amp;event_type=ORDER_SHIPPED"' in shown
    pages.post(PAGE, {"saved-search": "delete", "id": str(row.pk)})
    assert not SavedSearch.objects.exists()


def test_one_that_is_shared_is_everybodys_to_use_and_its_owners_to_delete(pages: Client) -> None:
    staff(pages, "ada", "view_notificationevent")
    save(pages, shared="on")
    save(pages, name="My own")
    shared = SavedSearch.objects.get(name="Failed parcels")
    staff(pages, "ben", "view_notificationevent")
    shown = pages.get(PAGE).content.decode()
    assert "Failed parcels" in shown
    assert "My own" not in shown
    assert "Delete the saved search" not in shown
    pages.post(PAGE, {"saved-search": "delete", "id": str(shared.pk)})
    assert SavedSearch.objects.count() == 2


def test_the_same_name_again_replaces_it(pages: Client) -> None:
    staff(pages, "ada", "view_notificationevent")
    save(pages)
    save(pages, f"{PAGE}?status=SENT")
    assert SavedSearch.objects.get().query == "status=SENT"


@pytest.mark.parametrize("term", ["ada@mail.example", "+4915112345678", "0151 123 456 78"])
def test_no_address_of_a_person_is_kept(pages: Client, term: str) -> None:
    user = staff(pages, "ada", "view_notificationevent")
    pages.post(f"{PAGE}?q={term.replace('+', '%2B')}", {"saved-search": "save", "name": "Her"})
    assert not saved_searches.offered(user, "notifier.notificationevent").exists()


@pytest.mark.parametrize(("address", "name"), [(PAGE, "Nothing"), (FAILED, ""), (FAILED, "x" * 61)])
def test_what_cannot_be_kept_is_told(pages: Client, address: str, name: str) -> None:
    staff(pages, "ada", "view_notificationevent")
    assert "is saved" not in save(pages, address, name)
    assert not SavedSearch.objects.exists()


def test_an_order_and_an_event_may_be_kept(pages: Client) -> None:
    staff(pages, "ada", "view_notificationevent")
    save(pages, f"{PAGE}?q=ORD123", "An order")
    save(pages, f"{PAGE}?q=01920000-0000-7000-8000-00000000000a", "An event")
    assert SavedSearch.objects.count() == 2


def test_who_may_not_see_a_list_keeps_nothing_of_it(pages: Client) -> None:
    staff(pages, "ada")
    assert pages.post(FAILED, {"saved-search": "save", "name": "Mine"}).status_code == 403
    assert not SavedSearch.objects.exists()
