"""People from the cache: what it gives is what the database holds, whoever writes and whoever reads meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import time
from threading import Thread
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.cache import caches
from django.db import connection
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase
from pytest_django.fixtures import Settings

from channels import resting_cache
from notifier.quick_redis import quick_redis
from preferences import people, resolve
from preferences.models import Change, Device, Preference, SuppressedAddress, User
from preferences.resolve import CACHE, Recipient
from tests.ports import free_port

pytestmark = pytest.mark.django_db

KEYS = "notifier:person:*"


def read(user: User) -> Recipient:
    return resolve.load([user.id], whole=False)[user.id]


@pytest.fixture
def ada() -> User:
    return User.objects.create_user(email="ada@mail.example", phone="+4915112345678", time_zone="Europe/Berlin")


@pytest.fixture
def counted(django_assert_num_queries: Callable[..., Any]) -> Callable[..., Any]:
    return django_assert_num_queries


def test_who_was_read_once_is_read_from_the_cache(ada: User, counted: Callable[..., Any]) -> None:
    with counted(2):
        first = read(ada)
    with counted(1):
        again = read(ada)
    assert first == again == resolve.load([ada.id])[ada.id]


def _sql(text: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(text)


WRITES: dict[str, Callable[[User], object]] = {
    "a choice": lambda user: people.choose(user, {("", "SMS"): False}),
    "a choice by SQL": lambda user: _sql(
        "INSERT INTO preferences_preference (id, user_id, event_type, channel, enabled, updated_at) "
        "SELECT gen_random_uuid(), id, 'ORDER_SHIPPED', '', false, now() FROM preferences_user"
    ),
    "all choices changed by SQL": lambda user: _sql("UPDATE preferences_preference SET enabled = NOT enabled"),
    "a choice taken back": lambda user: Preference.objects.filter(user=user).delete(),
    "all choices emptied": lambda user: _sql("SET CONSTRAINTS ALL IMMEDIATE; TRUNCATE preferences_preference"),
    "a new address": lambda user: User.objects.filter(id=user.id).update(email="new@mail.example"),
    "an address by SQL": lambda user: _sql("UPDATE preferences_user SET phone = '+4915100000000'"),
    "quiet hours": lambda user: User.objects.filter(id=user.id).update(quiet_from=time(22), quiet_until=time(7)),
    "another language": lambda user: User.objects.filter(id=user.id).update(locale="de"),
    "a device": lambda user: Device.objects.create(user=user, token="second"),
    "a device forgotten": lambda user: resolve.mark_invalid("device", "first"),
    "a device given away": lambda user: Device.objects.update(user=User.objects.create_user()),
    "an address suppressed": lambda user: resolve.mark_invalid("email", "ADA@mail.example"),
    "an opt-out": lambda user: resolve.opt_out("phone", "+4915112345678"),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_whoever_writes_is_seen_at_once(ada: User, write: Callable[[User], object]) -> None:
    Device.objects.create(user=ada, token="first")
    people.choose(ada, {("", "EMAIL"): False})
    before = read(ada)

    write(ada)

    assert read(ada) != before
    assert read(ada) == resolve.load([ada.id])[ada.id]


def test_who_gets_a_device_is_seen_anew(ada: User) -> None:
    Device.objects.create(user=ada, token="moved")
    bob = User.objects.create_user()
    read(bob)

    Device.objects.update(user=bob)

    assert [device.value for device in read(bob).addresses["device"]] == ["moved"]


def test_who_is_deactivated_or_deleted_is_nobody(ada: User) -> None:
    read(ada)
    User.objects.filter(id=ada.id).update(is_active=False)
    assert resolve.load([ada.id], whole=False) == {}
    ada.delete()
    assert resolve.load([ada.id], whole=False) == {}


def test_an_old_copy_that_is_saved_brings_no_old_version_back(ada: User) -> None:
    old = deepcopy(ada)
    read(ada)
    User.objects.filter(id=ada.id).update(email="new@mail.example")
    read(ada)

    old.save()

    assert read(ada).addresses["email"][0].value == "ada@mail.example"
    assert len(versions_of(ada)) == 3


def versions_of(user: User) -> list[str]:
    with quick_redis.client() as client:
        return [key.decode() for key in client.scan_iter(f"notifier:person:*{user.id.hex}*")]


def test_who_is_made_anew_with_the_same_id_is_another(ada: User) -> None:
    read(ada)
    user_id = ada.id
    ada.delete()

    User.objects.create_user(id=user_id, email="other@mail.example")

    assert resolve.load([user_id], whole=False)[user_id].addresses["email"][0].value == "other@mail.example"


def test_the_history_takes_no_version_for_a_change(ada: User) -> None:
    people.choose(ada, {("", "SMS"): False})

    assert "version" not in str(list(Change.objects.exclude(kind="GROUP_PERMISSION").values("before", "after")))
    assert [(c.action, c.kind) for c in Change.objects.filter(person_id=ada.id).order_by("id")] == [
        ("INSERT", "PERSON"),
        ("INSERT", "PREFERENCE"),
    ]


def test_what_is_kept_goes_away_by_itself(ada: User, settings: Settings) -> None:
    read(ada)

    with quick_redis.client() as client:
        (key,) = versions_of(ada)
        assert 0 < client.ttl(key) <= settings.PEOPLE_CACHE_SECONDS


def test_few_people_come_whole_and_many_by_the_cache(settings: Settings) -> None:
    assert resolve.comes_whole(resolve.FEW - 1)
    assert not resolve.comes_whole(resolve.FEW)
    settings.PEOPLE_CACHE_SECONDS = 0
    assert resolve.comes_whole(500)


# --- Redis away ----------------------------------------------------------------------------------------------------
@pytest.fixture
def no_redis(settings: Settings) -> Iterator[None]:
    dead = deepcopy(settings.CACHES)
    dead[CACHE]["LOCATION"] = f"redis://127.0.0.1:{free_port()}/0"
    settings.CACHES = dead
    yield
    resting_cache.redis_of_people.rests_until = 0.0


@pytest.mark.usefixtures("no_redis")
def test_without_redis_people_come_from_the_database(
    ada: User, counted: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        with counted(2):
            found = read(ada)
        assert found == resolve.load([ada.id])[ada.id]

    assert len([record for record in caplog.records if "people are read" in record.message]) == 1


# --- races ---------------------------------------------------------------------------------------------------------
def elsewhere(work: Callable[[], object]) -> None:
    """In another thread, and so on another connection."""

    def run() -> None:
        try:
            work()
        finally:
            connection.close()

    thread = Thread(target=run)
    thread.start()
    thread.join()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("at", ["get_many", "set_many"])
def test_a_reader_that_fills_the_cache_while_a_writer_commits_leaves_nothing_old(
    at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = User.objects.create_user(email="ada@mail.example")
    step = getattr(caches[CACHE], at)

    def meanwhile(*arguments: Any) -> Any:
        monkeypatch.undo()
        elsewhere(lambda: people.choose(ada, {("", "EMAIL"): False}))
        return step(*arguments)

    monkeypatch.setattr(caches[CACHE], at, meanwhile)
    read(ada)

    assert not read(ada).allows("ORDER_SHIPPED", "EMAIL")
    assert not read(ada).allows("ORDER_SHIPPED", "EMAIL")


@pytest.mark.django_db(transaction=True)
def test_two_devices_that_change_places_wait_for_each_other_and_no_longer() -> None:
    ada, bob = (User.objects.create_user() for _ in range(2))
    errors: list[BaseException] = []

    def swap(token: str, one: UUID, other: UUID) -> None:
        try:
            for number in range(100):
                Device.objects.filter(token=token).update(user_id=other if number % 2 else one)
        except BaseException as error:  # noqa: BLE001 - for the thread that waits
            errors.append(error)
        finally:
            connection.close()

    for token, user in (("a", ada), ("b", bob)):
        Device.objects.create(user=user, token=token)
    threads = [Thread(target=swap, args=("a", bob.id, ada.id)), Thread(target=swap, args=("b", ada.id, bob.id))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []


# --- any person ----------------------------------------------------------------------------------------------------
clock = st.builds(time, st.integers(0, 23), st.integers(0, 59))
choices = st.dictionaries(
    st.tuples(st.sampled_from(["", "ORDER_SHIPPED", "INVOICE"]), st.sampled_from(["", "EMAIL", "SMS"])), st.booleans()
)
persons = st.fixed_dictionaries(
    {
        "email": st.sampled_from(["", "a@mail.example", "Ünal@müller.example"]),
        "phone": st.sampled_from(["", "+4915112345678"]),
        "locale": st.sampled_from(["en", "de-AT"]),
        "time_zone": st.sampled_from(["UTC", "Europe/Berlin"]),
        "quiet": st.none() | st.tuples(clock, clock).filter(lambda pair: pair[0] != pair[1]),
        "devices": st.integers(0, 2),
        "choices": choices,
        "suppressed": st.sets(st.sampled_from([("email", "a@mail.example"), ("phone", "+4915112345678")])),
    }
)


def make(drawn: dict[str, Any]) -> UUID:
    start, end = drawn["quiet"] or (None, None)
    fields = {name: drawn[name] for name in ("email", "phone", "locale", "time_zone")}
    user = User.objects.create(**fields, quiet_from=start, quiet_until=end)
    Device.objects.bulk_create(Device(user=user, token=str(uuid4())) for _ in range(drawn["devices"]))
    people.choose(user, drawn["choices"])
    for kind, address in drawn["suppressed"]:
        SuppressedAddress.objects.get_or_create(kind=kind, address=address, reason="INVALID")
    return user.id


class AnyPerson(TestCase):
    @hypothesis_settings(max_examples=30, deadline=None)
    @given(st.lists(persons, min_size=1, max_size=4))
    def test_alone_in_a_batch_from_the_cache_and_whole_are_the_same(self, drawn: list[dict[str, Any]]) -> None:
        ids = [make(each) for each in drawn]
        whole = resolve.load(ids)

        assert resolve.load(ids, whole=False) == whole
        assert resolve.load(ids, whole=False) == whole
        assert {user_id: resolve.load([user_id], whole=False)[user_id] for user_id in ids} == whole
