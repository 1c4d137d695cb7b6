"""Providers are asked whether they know us, and nothing is sent: by the sandbox, and by answers on the wire."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from channels.base import Provider, Welcome
from channels.errors import ChannelError, CredentialsRejected, OutcomeUnknown, ProviderUnavailable
from channels.in_app import InboxProvider
from channels.providers.fcm import FcmProvider
from channels.providers.sendgrid import SendGridProvider
from channels.providers.smtp import DjangoEmailProvider
from channels.providers.twilio import TwilioProvider
from sandbox import credentials
from sandbox.sendgrid import READ_ONLY_KEY
from tests.channels import wire as wires
from tests.channels.conftest import Sandbox
from tests.channels.wire import Smtp, Wire

SENDER = "Example Shop <orders@shop.example>"
PROVIDERS = ("sendgrid", "twilio", "fcm")


def sendgrid(url: str, key: str = credentials.SENDGRID_API_KEY) -> SendGridProvider:
    return SendGridProvider(api_key=key, sender=SENDER, base_url=url)


def twilio(url: str, token: str = credentials.TWILIO_AUTH_TOKEN) -> TwilioProvider:
    return TwilioProvider(
        account_sid=credentials.TWILIO_ACCOUNT_SID, auth_token=token, sender=credentials.TWILIO_FROM, base_url=url
    )


def fcm(url: str, account: Path, project: str = credentials.FCM_PROJECT_ID) -> FcmProvider:
    return FcmProvider(project_id=project, service_account_file=str(account), base_url=url)


@pytest.fixture
def providers(sandbox: Sandbox) -> dict[str, Provider]:
    return {
        "sendgrid": sendgrid(sandbox.url),
        "twilio": twilio(sandbox.url),
        "fcm": fcm(sandbox.url, sandbox.account),
    }


@pytest.mark.parametrize("name", PROVIDERS)
def test_good_credentials_are_welcome_and_nothing_is_sent(
    sandbox: Sandbox, providers: dict[str, Provider], name: str
) -> None:
    assert providers[name].introduce() == Welcome()
    assert sandbox.call("GET", "/messages")["results"] == []


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda sandbox: sendgrid(sandbox.url, "SG.wrong"), "authorization required"),
        (lambda sandbox: sendgrid(sandbox.url, READ_ONLY_KEY), "the key lacks the scope mail.send"),
        (lambda sandbox: twilio(sandbox.url, "wrong"), "Authenticate"),
        (lambda sandbox: fcm(sandbox.url, sandbox.account, "another"), "Permission 'cloudmessaging.messages.create'"),
    ],
    ids=["sendgrid", "sendgrid, without the scope", "twilio", "fcm"],
)
def test_bad_credentials_are_refused(sandbox: Sandbox, make: Callable[[Sandbox], Provider], said: str) -> None:
    refusal = make(sandbox).introduce()
    assert isinstance(refusal, CredentialsRejected)
    assert said in str(refusal)


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_provider_that_is_away_says_nothing_of_credentials(
    sandbox: Sandbox, providers: dict[str, Provider], name: str
) -> None:
    sandbox.fail(name, "status", status=503)
    assert isinstance(providers[name].introduce(), ProviderUnavailable)


def test_without_an_access_token_fcm_is_not_asked(sandbox: Sandbox, providers: dict[str, Provider]) -> None:
    sandbox.fail("google", "status", status=401)
    assert isinstance(providers["fcm"].introduce(), CredentialsRejected)


@pytest.mark.parametrize(
    ("status", "kind", "means"),
    [
        ("active", "Full", Welcome()),
        ("active", "Trial", Welcome("a trial account reaches verified numbers only")),
        ("suspended", "Full", "the account is suspended"),
        ("closed", "Full", "the account is closed"),
    ],
)
def test_a_twilio_account_must_be_active(wire: Wire, status: str, kind: str, means: Any) -> None:
    body = {"status": status, "type": kind, "auth_token": credentials.TWILIO_AUTH_TOKEN}
    wire.act = wires.answer(200, json.dumps(body).encode())
    found = twilio(wire.url).introduce()
    assert (found.detail if isinstance(found, ChannelError) else found) == means
    assert credentials.TWILIO_AUTH_TOKEN not in repr(found)


@pytest.mark.parametrize("make", [sendgrid, twilio], ids=["sendgrid", "twilio"])
def test_an_answer_of_somebody_else_is_no_welcome(wire: Wire, make: Callable[[str], Provider]) -> None:
    wire.act = wires.answer(200, b"<html>Welcome to our proxy</html>")
    assert isinstance(make(wire.url).introduce(), OutcomeUnknown)


def test_a_mail_server_is_called_and_left(smtp: Smtp) -> None:
    options = {"host": "127.0.0.1", "port": smtp.port}
    assert DjangoEmailProvider(sender=SENDER, backend_options=options).introduce() == Welcome()
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        options["port"] = nobody.getsockname()[1]
        found = DjangoEmailProvider(sender=SENDER, backend_options=options).introduce()
    assert isinstance(found, ProviderUnavailable)
    assert found.provider == "smtp"


def test_the_inbox_is_nobody_to_ask() -> None:
    assert InboxProvider().introduce() is None
