"""STOP and START by SMS, signed as Twilio signs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.conf import settings
from django.http import HttpResponse
from django.test import Client
from pytest_django.fixtures import Settings
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped] # the SDK is

from preferences.models import SuppressedAddress, User
from sandbox import credentials
from tests import engine
from tests.sandbox_process import Sandbox

pytestmark = pytest.mark.django_db

PATH = "/webhooks/twilio"
PHONE = "+4915112345678"


@pytest.fixture(autouse=True)
def _no_collected_files(settings: Settings) -> None:
    """Tests run without collectstatic, as development does."""
    settings.WHITENOISE_AUTOREFRESH = True


def says(text: str, *, token: str = credentials.TWILIO_AUTH_TOKEN, path: str = PATH, **more: str) -> HttpResponse:
    form = {"From": PHONE, "To": "+15005550006", "Body": text, "MessageSid": "SM1", **more}
    signature = RequestValidator(token).compute_signature(f"{settings.PUBLIC_URL}{path}", form)
    return Client().post(path, form, headers={"X-Twilio-Signature": signature})  # type: ignore[return-value] # its subclass for tests


def opted_out() -> list[tuple[str, str, str]]:
    return list(SuppressedAddress.objects.values_list("kind", "address", "reason"))


@pytest.mark.parametrize("word", ["STOP", "stop", " Stop \n", "UNSUBSCRIBE", "optout"])
def test_stop_ends_sms_to_the_number(sandbox: Sandbox, customer: Callable[..., User], word: str) -> None:
    answer = says(word)
    assert (answer.status_code, answer.content, answer["Content-Type"]) == (200, b"<Response/>", "text/xml")
    assert opted_out() == [("phone", PHONE, "OPTED_OUT")]
    event = engine.trigger("ORDER_DELIVERED", customer(device="").id)
    engine.run()
    assert engine.states(event)["SMS"] == "SKIPPED SUPPRESSED"


def test_start_brings_it_back(sandbox: Sandbox) -> None:
    says("STOP")
    says("STOP")  # Twilio may call twice
    assert says("start").status_code == 200
    assert opted_out() == []
    assert says("START").status_code == 200


def test_start_does_not_make_a_wrong_number_right(sandbox: Sandbox) -> None:
    SuppressedAddress.objects.create(kind="phone", address=PHONE, reason="INVALID")
    says("START")
    assert opted_out() == [("phone", PHONE, "INVALID")]


def test_twilio_itself_may_say_what_a_word_meant(sandbox: Sandbox) -> None:
    says("ARRET", OptOutType="STOP")
    assert opted_out() == [("phone", PHONE, "OPTED_OUT")]
    says("Stop", OptOutType="HELP")
    assert len(opted_out()) == 1


def test_other_words_change_nothing(sandbox: Sandbox) -> None:
    assert says("Please do not stop!").status_code == 200
    assert opted_out() == []


def test_a_query_belongs_to_what_is_signed(sandbox: Sandbox) -> None:
    assert says("STOP", path=f"{PATH}?d=1&a=2").status_code == 200


def test_who_cannot_sign_is_refused(sandbox: Sandbox) -> None:
    assert says("STOP", token="another").status_code == 403
    assert Client().post(PATH, {"From": PHONE, "Body": "STOP"}).status_code == 403
    assert opted_out() == []


def test_a_provider_that_does_not_call_is_not_there(sandbox: Sandbox) -> None:
    assert [Client().post(f"/webhooks/{name}").status_code for name in ("nobody", "fcm")] == [404, 404]
    assert Client().get(PATH).status_code == 405
