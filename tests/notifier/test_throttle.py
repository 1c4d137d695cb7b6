"""Pages and webhooks, which no key counts: who sends many without a good link or signature is told to wait."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import redis
from django.conf import settings as django_settings
from django.test import Client
from pytest_django.fixtures import Settings
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped] # the SDK is

from notifier import links
from notifier.catalogue import event_types
from notifier.quick_redis import quick_redis
from preferences.models import Preference, SuppressedAddress, User
from sandbox import credentials
from tests import engine
from tests.ports import free_port
from tests.sandbox_process import Sandbox

pytestmark = pytest.mark.django_db
WEBHOOK = "/webhooks/twilio"
ONE, OTHER = "192.0.2.1", "192.0.2.2"


@pytest.fixture(autouse=True)
def _own_counts(settings: Settings) -> Iterator[None]:
    settings.WHITENOISE_AUTOREFRESH = True  # no collectstatic in tests
    settings.API_RATES = {"key": "", "recipient": "", "address": "2/minute", "customer": ""}
    quick_redis.forget()
    with redis.Redis.from_url(django_settings.REDIS_URL) as client:
        client.flushdb()
    yield
    quick_redis.forget()


@pytest.fixture
def ada(db: None) -> User:
    return User.objects.create_user(email="ada@mail.example", locale="de")


def path(url: str) -> str:
    return url.removeprefix(django_settings.PUBLIC_URL)


def unsubscribe(user: User) -> str:
    return path(links.links(event_types()["ORDER_PACKED"], "EMAIL", user.id, uuid4()).unsubscribe)


def says(text: str, *, token: str = credentials.TWILIO_AUTH_TOKEN, address: str = ONE) -> Any:
    form = {"From": "+4915112345678", "Body": text, "MessageSid": "SM1"}
    signature = RequestValidator(token).compute_signature(f"{django_settings.PUBLIC_URL}{WEBHOOK}", form)
    caller = Client(REMOTE_ADDR=address, headers={"X-Twilio-Signature": signature})
    return caller.post(WEBHOOK, form)


def statuses(*answers: Any) -> list[int]:
    return [answer.status_code for answer in answers]


def check_told_to_wait(answer: Any) -> None:
    assert answer.status_code == 429
    assert 50 <= int(answer.headers["Retry-After"]) <= 60


def test_forged_webhooks_are_told_to_wait(sandbox: Sandbox) -> None:
    first, second, third = (says("STOP", token="another") for _ in range(3))

    assert statuses(first, second) == [403, 403]
    check_told_to_wait(third)
    assert says("STOP", token="another", address=OTHER).status_code == 403


def test_a_provider_may_call_as_often_as_it_likes_also_from_an_address_that_forged(sandbox: Sandbox) -> None:
    assert statuses(*(says("STOP") for _ in range(5))) == [200] * 5
    assert statuses(*(says("STOP", token="another") for _ in range(3))) == [403, 403, 429]
    assert says("START").status_code == 200
    assert not SuppressedAddress.objects.exists()


def test_a_webhook_that_is_too_large_counts_too(sandbox: Sandbox, settings: Settings) -> None:
    settings.DATA_UPLOAD_MAX_NUMBER_FIELDS = 2
    answers = [says("STOP", token="another") for _ in range(3)]

    assert statuses(*answers) == [413, 413, 429]


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("page", ["preferences", "unsubscribe"])
def test_dead_links_are_told_to_wait_and_good_ones_work(ada: User, sandbox: Sandbox, page: str, method: str) -> None:
    one, good = Client(REMOTE_ADDR=ONE), path(links.preferences_url(ada.id))
    ask = getattr(one, method)

    first, second, third = (ask(f"/{page}/x{number}") for number in range(3))

    assert statuses(first, second) == [404, 404]
    check_told_to_wait(third)
    assert third.headers["Referrer-Policy"] == "no-referrer"
    assert statuses(*(one.get(link) for link in (good, good, unsubscribe(ada)) for _ in range(2))) == [200] * 6
    assert Client(REMOTE_ADDR=OTHER).get(f"/{page}/x").status_code == 404


def test_a_link_whose_person_is_gone_counts_as_dead(ada: User, sandbox: Sandbox) -> None:
    good = [path(links.preferences_url(ada.id)), unsubscribe(ada)]
    guest = path(links.links(event_types()["ORDER_PACKED"], "EMAIL", None, uuid4()).unsubscribe)
    ada.delete()

    assert statuses(*(Client(REMOTE_ADDR=ONE).get(link) for link in (*good, guest))) == [404, 404, 429]


def test_all_that_shows_no_proof_counts_together(sandbox: Sandbox) -> None:
    one = Client(REMOTE_ADDR=ONE)

    assert says("STOP", token="another").status_code == 403
    assert one.get("/preferences/x").status_code == 404
    assert one.get("/notifications/dead-letters").status_code == 429


@pytest.mark.parametrize(("language", "told"), [("de", "Zu viele Anfragen"), ("en", "Too many requests")])
def test_the_page_says_so_in_the_readers_language(settings: Settings, language: str, told: str) -> None:
    settings.API_RATES = {**settings.API_RATES, "address": "1/minute"}
    answers = [Client().get("/preferences/x", headers={"Accept-Language": language}) for _ in range(2)]

    assert told in answers[1].content.decode()


class TestACustomersOwnRequests:
    """Counted by who they are, wherever they come from."""

    @pytest.fixture(autouse=True)
    def _rates(self, settings: Settings) -> None:
        settings.API_RATES = {**settings.API_RATES, "customer": "2/minute", "address": "1/minute"}

    def test_each_has_a_rate_of_their_own(self, ada: User, sandbox: Sandbox) -> None:
        bea = User.objects.create_user(email="bea@mail.example")
        pages = [path(links.preferences_url(user.id)) for user in (ada, bea)]

        answers = [Client(REMOTE_ADDR=address).get(pages[0]) for address in (ONE, OTHER, ONE)]

        assert statuses(*answers[:2]) == [200, 200]
        check_told_to_wait(answers[2])
        assert Client(REMOTE_ADDR=ONE).get(pages[1]).status_code == 200

    def test_what_is_refused_changes_nothing(self, ada: User, sandbox: Sandbox) -> None:
        for _ in range(2):
            Client().get(unsubscribe(ada))

        check_told_to_wait(Client().post(unsubscribe(ada), {"List-Unsubscribe": "One-Click"}))
        check_told_to_wait(Client().post(path(links.preferences_url(ada.id)), {"seen": "ORDER_SHIPPED.SMS"}))
        assert not Preference.objects.exists()

    def test_guests_count_by_the_mail_whose_link_it_is(self, sandbox: Sandbox) -> None:
        for order in ("ORD1", "ORD2"):
            guest = {"email": "guest@mail.example"}
            engine.trigger("ORDER_CONFIRMED", recipient=guest, metadata={"orderId": order})
        engine.run()
        one, other = (path(mail["headers"]["List-Unsubscribe"].strip("<>")) for mail in sandbox.messages())

        assert statuses(*(Client().get(one) for _ in range(3))) == [200, 200, 429]
        assert Client().get(other).status_code == 200


def test_redis_away_refuses_nobody(ada: User, sandbox: Sandbox, settings: Settings) -> None:
    settings.API_RATES = {**settings.API_RATES, "customer": "1/minute"}
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    quick_redis.forget()

    assert statuses(*(says("STOP", token="another") for _ in range(4))) == [403] * 4
    assert statuses(*(Client().get("/preferences/x") for _ in range(4))) == [404] * 4
    assert statuses(*(Client().get(path(links.preferences_url(ada.id))) for _ in range(3))) == [200] * 3
