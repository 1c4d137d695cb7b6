"""Who asks too often is told when to come back; Redis away, or hanging, refuses nobody and holds nobody up."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile
from typing import Any
from uuid import uuid4

import pytest
import redis
from django.conf import settings as django_settings
from pytest_django.fixtures import Settings

from notifier import throttle
from notifier.models import NotificationEvent
from notifier.quick_redis import quick_redis
from notifier.throttle import Count, Grant, take
from preferences import tokens
from preferences.models import User
from preferences.tokens import Purpose
from tests.api.conftest import Caller
from tests.ports import free_port

LETTERS, TRIGGER, BULK = "/notifications/dead-letters", "/notifications/trigger", "/notifications/trigger/bulk"
ADDRESS = {"REMOTE_ADDR": "192.0.2.1"}


@pytest.fixture(autouse=True)
def client() -> Iterator[redis.Redis]:
    quick_redis.forget()
    found = redis.Redis.from_url(django_settings.REDIS_URL)
    found.flushdb()
    yield found
    found.close()
    quick_redis.forget()


def allow(settings: Settings, **rates: str) -> None:
    settings.API_RATES = {"key": "", "address": "", "customer": "", "recipient": "", **rates}


def placed(**whom: Any) -> dict[str, Any]:
    return {"eventType": "ORDER_PLACED", "metadata": {"orderId": "ORD1"}, **whom}


def test_a_key_over_its_rate_is_told_to_wait(api: Caller, settings: Settings) -> None:
    allow(settings, key="2/minute")
    answers = [api("GET", LETTERS) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[2].code == "RATE_LIMITED"
    assert 50 <= int(answers[2].headers["Retry-After"]) <= 60


def test_keys_are_counted_apart(caller: Any, settings: Settings) -> None:
    allow(settings, key="1/minute")
    assert [caller()("GET", LETTERS).status for _ in range(3)] == [200, 200, 200]


@pytest.mark.parametrize(("body", "status"), [(placed(), 400), (b"{", 400), (b'{"a": "' + b"x" * 70_000 + b'"}', 413)])
def test_a_trigger_that_is_refused_counts_too(api: Caller, settings: Settings, body: Any, status: int) -> None:
    allow(settings, key="1/minute")
    given = {"raw": body} if isinstance(body, bytes) else {"body": body}
    assert [api("POST", TRIGGER, **given).status for _ in range(2)] == [status, 429]


@pytest.mark.parametrize("guest", [True, False])
def test_a_recipient_who_is_named_too_often_is_spared(api: Caller, ada: User, settings: Settings, guest: bool) -> None:
    allow(settings, recipient="2/minute")
    whom = {"recipient": {"email": "guest@mail.example"}} if guest else {"userId": str(ada.id)}
    answers = [api("POST", TRIGGER, placed(**whom)) for _ in range(3)]
    assert [answer.status for answer in answers] == [202, 202, 429]
    assert list(answers[2].fields) == list(whom)
    assert "2/minute" in answers[2].body["error"]["message"]
    assert int(answers[2].headers["Retry-After"]) > 50
    other = User.objects.create_user(email="bea@mail.example")
    assert api("POST", TRIGGER, placed(userId=str(other.id))).status == 202


def test_however_an_id_is_written_it_is_one_user(api: Caller, ada: User, settings: Settings) -> None:
    allow(settings, recipient="1/minute")
    ways = [str(ada.id), str(ada.id).upper(), ada.id.hex]
    assert [api("POST", TRIGGER, placed(userId=way)).status for way in ways] == [202, 429, 429]


def test_in_bulk_the_first_ones_of_a_recipient_are_taken(api: Caller, ada: User, settings: Settings) -> None:
    allow(settings, recipient="2/minute")
    guest = {"recipient": {"email": "guest@mail.example"}}
    events = [
        placed(userId=str(ada.id)),
        {"eventType": "NO_SUCH"},
        placed(userId=str(ada.id)),
        placed(**guest),
        placed(userId=str(ada.id)),
        {"eventType": "FRAUD_ALERT", "metadata": {}},
    ]
    answer = api("POST", BULK, {"events": events})
    results = answer.body["results"]
    assert [result["status"] for result in results] == ["QUEUED", "REFUSED", "QUEUED", "QUEUED", "REFUSED", "QUEUED"]
    assert results[4]["error"]["code"] == "RATE_LIMITED"
    assert "userId" in results[4]["error"]["fields"]
    assert NotificationEvent.objects.count() == 3


def test_bulk_counts_once_by_its_key(api: Caller, ada: User, settings: Settings) -> None:
    allow(settings, key="2/minute")
    body = {"events": [placed(userId=str(ada.id))] * 5}
    assert [api("POST", BULK, body).status for _ in range(3)] == [202, 202, 429]


@pytest.mark.parametrize("key", [None, "nk_wrong"])
def test_an_address_without_a_valid_key_is_told_to_wait(
    db: None, api: Caller, settings: Settings, key: str | None
) -> None:
    allow(settings, address="2/minute")
    answers = [Caller(key)("GET", LETTERS) for _ in range(3)]
    assert [answer.status for answer in answers] == [401, 401, 429]
    assert answers[2].code == "RATE_LIMITED"
    assert int(answers[2].headers["Retry-After"]) > 50
    assert api("GET", LETTERS).status == 200  # who has a key may be behind the same address


def test_a_key_from_elsewhere_counts_by_its_address(caller: Any, settings: Settings) -> None:
    allow(settings, address="1/minute")
    elsewhere = caller(networks=["10.0.0.0/8"])
    assert [elsewhere("GET", LETTERS).status for _ in range(2)] == [403, 429]


def test_a_customer_counts_alone_wherever_they_are(db: None, settings: Settings) -> None:
    allow(settings, address="1/minute", customer="1/minute")
    own = [f"Bearer {tokens.make(str(uuid4()), Purpose.API)}" for _ in range(2)]
    calls = [Caller(None)("GET", "/notifications/inbox", Authorization=who) for who in (*own, own[0])]
    assert [answer.status for answer in calls][2] == 429
    assert 429 not in [answer.status for answer in calls][:2]
    wrong = [Caller(None)("GET", LETTERS, Authorization="Bearer x").status for _ in range(2)]
    assert wrong == [401, 429]


def test_what_needs_no_key_counts_by_address_and_health_counts_not(db: None, settings: Settings) -> None:
    allow(settings, address="1/minute")
    nobody = Caller(None)
    assert [nobody("GET", "/api/schema?format=json").status for _ in range(2)] == [200, 429]
    assert [nobody("GET", "/health/ready").status for _ in range(3)] == [200, 200, 200]


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),  # who has one has a whole network
        ("", None),
    ],
)
def test_an_address_is_counted_as_what_it_is(address: str, counted: str | None) -> None:
    assert [count.name for count in throttle.by_address(address)] == ([counted] if counted else [])


def test_all_processes_count_together_and_no_more_pass(settings: Settings) -> None:
    allow(settings, key="50/minute")
    name = str(uuid4())
    with ThreadPoolExecutor(8) as callers:
        grants = list(callers.map(lambda _: take([Count("key", name, 2)])[0], range(40)))
    assert sum(grant.granted for grant in grants) == 50


def test_a_part_is_granted(settings: Settings) -> None:
    allow(settings, recipient="10/minute", key="5/minute")
    grants = take([Count("recipient", "a", 7), Count("key", "a"), Count("recipient", "a", 7), Count("address", "a", 9)])
    assert [grant.granted for grant in grants] == [7, 1, 3, 9]
    assert grants[2].rate == "10/minute"


def test_one_round_trip_at_most(api: Caller, ada: User, settings: Settings, client: redis.Redis) -> None:
    allow(settings, key="100/minute", recipient="100/minute")
    take([Count("key", "x")])  # the script is there
    with client.monitor() as monitor:  # type: ignore[no-untyped-call] # redis-py types it not
        api("POST", TRIGGER, placed(userId=str(ada.id)))
        client.echo("done")
        ours = client.connection_pool.connection_kwargs["db"]
        came = [found for found in takewhile(_not_done, monitor.listen()) if found["db"] == ours]
    asked = [
        found["command"] for found in came if found["client_type"] != "lua" and "notifier:limit" in found["command"]
    ]
    assert [command.split()[0] for command in asked] == ["EVALSHA"]


def _not_done(found: Any) -> bool:
    return "ECHO" not in found["command"]


def test_without_a_rate_nobody_is_asked(settings: Settings) -> None:
    allow(settings)
    settings.REDIS_URL = "redis://host.invalid:1/0"
    quick_redis.forget()
    assert take([Count("key", "x", 3)]) == [Grant(3)]
    assert quick_redis.rests_until == 0


def test_windows_end(settings: Settings, client: redis.Redis) -> None:
    allow(settings, key="1/minute")
    take([Count("key", "x")])
    take([Count("key", "x")])
    assert [0 < client.ttl(key) <= 60 for key in client.keys("*")] == [True]
    client.flushdb()  # as if it had
    assert take([Count("key", "x")])[0].granted == 1


@pytest.mark.parametrize("answer", ["refuses", "hangs"])
def test_redis_away_refuses_no_trigger_and_is_left_alone(
    api: Caller, ada: User, settings: Settings, answer: str
) -> None:
    allow(settings, key="1/minute", recipient="1/minute")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1] if answer == "hangs" else free_port()
        settings.REDIS_URL = f"redis://127.0.0.1:{port}/0"
        quick_redis.forget()
        began = time.monotonic()
        assert take([Count("key", "x")])[0].granted == 1
        assert time.monotonic() - began < 0.35
        began = time.monotonic()
        assert [api("POST", TRIGGER, placed(userId=str(ada.id))).status for _ in range(3)] == [202, 202, 202]
        assert quick_redis.rests_until > began + 3


def test_a_redis_that_is_full_refuses_nobody(settings: Settings, client: redis.Redis) -> None:
    allow(settings, key="1/minute")
    client.config_set("maxmemory", 1)
    try:
        assert take([Count("key", "x")])[0].granted == 1
        assert quick_redis.rests_until > time.monotonic()
    finally:
        client.config_set("maxmemory", 0)
