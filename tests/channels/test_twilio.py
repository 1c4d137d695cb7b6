"""SMS by Twilio: what a message looks like on the wire, and what each answer means."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

import pytest
from django.core.exceptions import ImproperlyConfigured

from channels.base import Message, Receipt
from channels.errors import (
    ChannelError,
    CredentialsRejected,
    InvalidRecipient,
    MessageRejected,
    OutcomeUnknown,
    ProviderUnavailable,
    RateLimited,
)
from channels.providers.http_provider import redacted
from channels.providers.twilio import CODES, TwilioProvider
from sandbox import credentials
from tests.channels import wire as wires
from tests.channels.conftest import Sandbox
from tests.channels.wire import Wire


def provider(base_url: str, **options: Any) -> TwilioProvider:
    return TwilioProvider(
        **{
            "account_sid": credentials.TWILIO_ACCOUNT_SID,
            "auth_token": credentials.TWILIO_AUTH_TOKEN,
            "sender": credentials.TWILIO_FROM,
            "base_url": base_url,
            **options,
        }
    )


def created(sid: str = "SM1") -> wires.Act:
    return wires.answer(201, json.dumps({"sid": sid, "status": "queued"}).encode())


def test_message_as_twilio_gets_it(wire: Wire, sms: Message) -> None:
    wire.act = created()
    sending = provider(wire.url, public_url="http://127.0.0.1:8000/")
    assert sending.send([sms]) == [Receipt("twilio", "SM1", 201)]
    [call] = wire.calls
    assert call.path == f"/2010-04-01/Accounts/{credentials.TWILIO_ACCOUNT_SID}/Messages.json"
    signature = base64.b64decode(call.headers["Authorization"].removeprefix("Basic ")).decode()
    assert signature == f"{credentials.TWILIO_ACCOUNT_SID}:{credentials.TWILIO_AUTH_TOKEN}"
    assert parse_qs(call.body.decode()) == {
        "To": ["+12025550123"],
        "From": [credentials.TWILIO_FROM],
        "Body": ["Grüße & mehr"],
        "StatusCallback": [f"http://127.0.0.1:8000/webhooks/twilio?d={sms.delivery_id}&a=1"],
    }


def test_without_public_url_no_receipts_are_asked_for(wire: Wire, sms: Message) -> None:
    wire.act = created()
    provider(wire.url).send([sms])
    assert "StatusCallback" not in parse_qs(wire.calls[0].body.decode())


def test_messaging_service_as_sender(wire: Wire, sms: Message) -> None:
    wire.act = created()
    provider(wire.url, sender="MG123").send([sms])
    form = parse_qs(wire.calls[0].body.decode())
    assert form["MessagingServiceSid"] == ["MG123"]
    assert "From" not in form


def test_region_in_the_environment_does_not_redirect_us(
    wire: Wire, sms: Message, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWILIO_REGION", "ie1")
    wire.act = created()
    assert isinstance(provider(wire.url).send([sms])[0], Receipt)


@pytest.mark.parametrize(("code", "meaning"), CODES.items())
def test_own_code_goes_before_the_status(wire: Wire, sms: Message, code: str, meaning: type[ChannelError]) -> None:
    wire.act = wires.answer(418, json.dumps({"code": int(code), "message": "no"}).encode())
    [error] = provider(wire.url).send([sms])
    assert type(error) is meaning
    assert (error.provider, error.code, error.status, error.detail) == ("twilio", code, 418, "no")


@pytest.mark.parametrize(
    ("status", "body", "meaning"),
    [
        (400, b'{"code": 29999, "message": "new"}', MessageRejected),
        (400, b'{"code": {"odd": 1}}', MessageRejected),
        (400, b"", MessageRejected),
        (401, b'{"code": 29999}', CredentialsRejected),
        (429, b"<html>", RateLimited),
        (500, b"[]", OutcomeUnknown),
        (503, b'{"code": null}', ProviderUnavailable),
    ],
)
def test_unknown_code_means_what_the_status_means(
    wire: Wire, sms: Message, status: int, body: bytes, meaning: type[ChannelError]
) -> None:
    wire.act = wires.answer(status, body)
    [error] = provider(wire.url).send([sms])
    assert type(error) is meaning


@pytest.mark.parametrize("body", [b"", b"<html>welcome</html>", b"[]", b'{"status": "queued"}'])
def test_success_that_is_not_twilios_is_unknown(wire: Wire, sms: Message, body: bytes) -> None:
    wire.act = wires.answer(200, body)
    [error] = provider(wire.url).send([sms])
    assert type(error) is OutcomeUnknown
    assert (error.provider, error.status) == ("twilio", 200)


def test_retry_after_is_read(wire: Wire, sms: Message) -> None:
    wire.act = wires.answer(429, b'{"code": 20429, "message": "Too Many Requests"}', {"Retry-After": "4"})
    [error] = provider(wire.url).send([sms])
    assert isinstance(error, RateLimited)
    assert error.retry_after == 4.0


def test_error_does_not_tell_the_number(wire: Wire, sms: Message) -> None:
    text = "The 'To' number +12025550123 (+1 202-555-0199) is not a valid phone number."
    wire.act = wires.answer(400, json.dumps({"code": 21211, "message": text}).encode())
    [error] = provider(wire.url).send([sms])
    assert isinstance(error, InvalidRecipient)
    assert error.detail == "The 'To' number (address) ((address)) is not a valid phone number."


@pytest.mark.parametrize(
    ("words", "address", "shown"),
    [
        ("<ada@example.com> is unknown", "", "<(address)> is unknown"),
        ("no device tok-1", "tok-1", "no device (address)"),
        ("code 21211, at most 1600 characters", "", "code 21211, at most 1600 characters"),
    ],
)
def test_redacted(words: str, address: str, shown: str) -> None:
    assert redacted(words, address) == shown


def test_message_that_cannot_be_built_fails_alone(wire: Wire, sms: Message) -> None:
    wire.act = created()
    bad, good = provider(wire.url).send([replace(sms, parts={}), sms])
    assert type(bad) is MessageRejected
    assert bad.detail == "could not be built: KeyError"
    assert isinstance(good, Receipt)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"account_sid": ""}, "account_sid"),
        ({"auth_token": ""}, "auth_token"),
        ({"sender": ""}, "sender"),
        ({"public_url": "shop.example"}, "public_url"),
        ({"base_url": ""}, "base_url"),
        ({"timeout": -1}, "timeout"),
    ],
)
def test_wrong_option_is_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"twilio: option '{named}'"):
        provider(**{"base_url": "http://127.0.0.1", **options})


def test_sandbox_takes_a_slice(sandbox: Sandbox, sms: Message) -> None:
    messages = [replace(sms, delivery_id=f"delivery-{n}", address=f"+120255501{n:02}") for n in range(60)]
    outcomes = provider(sandbox.url, public_url="http://127.0.0.1:8000").send(messages)
    by_id = {row["providerMessageId"]: row for row in sandbox.accepted()}
    assert len(by_id) == 60
    for message, receipt in zip(messages, outcomes, strict=True):
        assert isinstance(receipt, Receipt)
        row = by_id[receipt.provider_message_id]
        assert (row["to"], row["deliveryId"]) == (message.address, message.delivery_id)


@pytest.mark.parametrize(
    ("address", "meaning"),
    [
        ("+15005550001", InvalidRecipient),
        ("+15005550002", MessageRejected),
        ("+15005550003", MessageRejected),
        ("+15005550004", InvalidRecipient),
        ("+15005550009", InvalidRecipient),
        ("12", InvalidRecipient),
    ],
)
def test_sandbox_refuses(sandbox: Sandbox, sms: Message, address: str, meaning: type[ChannelError]) -> None:
    [error] = provider(sandbox.url).send([replace(sms, address=address)])
    assert type(error) is meaning


@pytest.mark.parametrize(
    ("mode", "fault", "meaning"),
    [
        ("status", {"status": 503}, ProviderUnavailable),
        ("status", {"status": 500}, OutcomeUnknown),
        ("rate_limit", {"retry_after": 3}, RateLimited),
        ("reset", {}, OutcomeUnknown),
        ("accept_then_drop", {}, OutcomeUnknown),
        ("timeout", {}, OutcomeUnknown),
    ],
)
def test_sandbox_fails(
    sandbox: Sandbox, sms: Message, mode: str, fault: dict[str, Any], meaning: type[ChannelError]
) -> None:
    sandbox.fail("twilio", mode, **fault)
    [error] = provider(sandbox.url, timeout=0.5).send([sms])
    assert type(error) is meaning


@pytest.mark.parametrize("wrong", [{"auth_token": "x"}, {"account_sid": "ACother"}, {"sender": "+12025550199"}])
def test_sandbox_refuses_wrong_credentials(sandbox: Sandbox, sms: Message, wrong: dict[str, str]) -> None:
    [error] = provider(sandbox.url, **wrong).send([sms])
    assert type(error) is CredentialsRejected
