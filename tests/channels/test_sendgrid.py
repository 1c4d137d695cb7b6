"""EMAIL by SendGrid: what a mail looks like on the wire, and what each answer means."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

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
from channels.providers.sendgrid import SendGridProvider
from sandbox import credentials
from tests.channels import wire as wires
from tests.channels.conftest import Sandbox
from tests.channels.wire import Wire

SENDER = "Example Shop <orders@shop.example>"


def provider(base_url: str, **options: Any) -> SendGridProvider:
    return SendGridProvider(
        **{"api_key": credentials.SENDGRID_API_KEY, "sender": SENDER, "base_url": base_url, "timeout": 5.0, **options}
    )


def test_mail_as_sendgrid_gets_it(wire: Wire, mail: Message) -> None:
    wire.act = wires.answer(202, b"", {"X-Message-Id": "abc"})
    outcome = provider(wire.url, reply_to="help@shop.example").send([mail])
    assert outcome == [Receipt("sendgrid", "abc", 202)]
    [call] = wire.calls
    assert call.path == "/v3/mail/send"
    assert call.headers["Authorization"] == f"Bearer {credentials.SENDGRID_API_KEY}"
    assert json.loads(call.body) == {
        "from": {"name": "Example Shop", "email": "orders@shop.example"},
        "reply_to": {"email": "help@shop.example"},
        "subject": "Your order",
        "categories": ["ORDER_SHIPPED"],
        "personalizations": [
            {
                "to": [{"email": "ada@example.com"}],
                "custom_args": {
                    "delivery_id": mail.delivery_id,
                    "attempt": "2",
                    "event_type": "ORDER_SHIPPED",
                },
            }
        ],
        "content": [
            {"type": "text/plain", "value": "On its way"},
            {"type": "text/html", "value": "<p>On its way</p>"},
        ],
    }


def test_without_reply_to_and_event_type(wire: Wire, mail: Message) -> None:
    wire.act = wires.answer(202)
    assert provider(wire.url).send([replace(mail, event_type="")]) == [Receipt("sendgrid", "", 202)]
    assert not {"reply_to", "categories"} & set(json.loads(wire.calls[0].body))


def errors(*fields: str | None) -> bytes:
    return json.dumps({"errors": [{"message": "wrong: ada@example.com", "field": field} for field in fields]}).encode()


@pytest.mark.parametrize(
    ("status", "body", "meaning", "code"),
    [
        (400, errors("personalizations.0.to.0.email"), InvalidRecipient, "personalizations.0.to.0.email"),
        (400, errors(None, "personalizations.0.to"), InvalidRecipient, "personalizations.0.to"),
        (400, errors("from.email"), CredentialsRejected, "from.email"),
        (400, errors("personalizations.0.to.0.email", "from.email"), CredentialsRejected, "from.email"),
        (400, errors("reply_to.email"), CredentialsRejected, "reply_to.email"),
        (400, errors("from_name"), MessageRejected, "from_name"),
        (400, errors("personalizations.0.to.0.name"), MessageRejected, "personalizations.0.to.0.name"),
        (400, errors(None), MessageRejected, ""),
        (400, b'{"errors": [{"message": "bad"}]}', MessageRejected, ""),
        (400, b'{"errors": null}', MessageRejected, ""),
        (400, b'{"errors": ["bad"]}', MessageRejected, ""),
        (400, b"<html>", MessageRejected, ""),
        (401, errors(None), CredentialsRejected, ""),
        (401, b'{"errors": [{"message": "Maximum credits exceeded", "field": null}]}', CredentialsRejected, ""),
        (415, errors(None), MessageRejected, ""),
        (403, errors("from"), CredentialsRejected, "from"),
        (413, b"", MessageRejected, ""),
        (429, errors(None), RateLimited, ""),
        (500, b"", OutcomeUnknown, ""),
        (502, b"<html>", OutcomeUnknown, ""),
        (503, b'{"errors": 7}', ProviderUnavailable, ""),
        (504, b"", OutcomeUnknown, ""),
    ],
)
def test_refusals(wire: Wire, mail: Message, status: int, body: bytes, meaning: type[ChannelError], code: str) -> None:
    wire.act = wires.answer(status, body)
    [error] = provider(wire.url).send([mail])
    assert type(error) is meaning
    assert (error.provider, error.status, error.code) == ("sendgrid", status, code)
    assert "ada@" not in str(error)


def test_waits_as_long_as_asked(wire: Wire, mail: Message) -> None:
    wire.act = wires.answer(429, b"", {"Retry-After": "7", "X-RateLimit-Reset": "99999999999"})
    [error] = provider(wire.url).send([mail])
    assert isinstance(error, RateLimited)
    assert error.retry_after == 7.0


@pytest.mark.parametrize(("ahead", "seconds"), [(90, 90), (-90, 0)])
def test_waits_until_the_limit_starts_anew(wire: Wire, mail: Message, ahead: int, seconds: int) -> None:
    wire.act = wires.answer(429, b"", {"X-RateLimit-Reset": str(int(time.time()) + ahead)})
    [error] = provider(wire.url).send([mail])
    assert isinstance(error, RateLimited)
    assert error.retry_after == pytest.approx(seconds, abs=5)


@pytest.mark.parametrize(
    "broken",
    [
        {"subject": "s", "text": "t"},
        {"subject": "s", "text": "SG.abcdef.ghijkl", "html": "h"},  # the SDK refuses to mail a key
    ],
)
def test_message_that_cannot_be_built_fails_alone(wire: Wire, mail: Message, broken: dict[str, str]) -> None:
    wire.act = wires.answer(202, b"", {"X-Message-Id": "abc"})
    good, bad, after = provider(wire.url).send([mail, replace(mail, parts=broken), mail])
    assert isinstance(good, Receipt)
    assert isinstance(bad, MessageRejected)
    assert bad.provider == "sendgrid"
    assert isinstance(after, Receipt)
    assert len(wire.calls) == 2


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"api_key": ""}, "api_key"),
        ({"sender": " "}, "sender"),
        ({"sender": "Example Shop"}, "sender"),
        ({"base_url": "sendgrid"}, "base_url"),
        ({"base_url": "https://host?query"}, "base_url"),
        ({"base_url": 7}, "base_url"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": "5"}, "timeout"),
        ({"timeout": True}, "timeout"),
    ],
)
def test_wrong_option_is_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"sendgrid: option '{named}'"):
        provider(**{"base_url": "http://127.0.0.1", **options})


def test_sandbox_takes_it(sandbox: Sandbox, mail: Message) -> None:
    [receipt] = provider(sandbox.url, reply_to="help@shop.example").send([mail])
    assert isinstance(receipt, Receipt)
    [row] = sandbox.accepted()
    assert (row["to"], row["subject"], row["deliveryId"]) == (mail.address, "Your order", mail.delivery_id)
    assert receipt.provider_message_id == row["providerMessageId"]


@pytest.mark.parametrize(
    ("address", "mode", "fault", "meaning"),
    [
        ("not an address", "", {}, InvalidRecipient),
        ("", "", {}, InvalidRecipient),
        ("ada@example.com", "status", {"status": 503}, ProviderUnavailable),
        ("ada@example.com", "rate_limit", {"retry_after": 3}, RateLimited),
        ("ada@example.com", "reset", {}, OutcomeUnknown),
        ("ada@example.com", "accept_then_drop", {}, OutcomeUnknown),
        ("ada@example.com", "timeout", {}, OutcomeUnknown),
    ],
)
def test_sandbox_refuses(
    sandbox: Sandbox, mail: Message, address: str, mode: str, fault: dict[str, Any], meaning: type[ChannelError]
) -> None:
    if mode:
        sandbox.fail("sendgrid", mode, **fault)
    [error] = provider(sandbox.url, timeout=0.5).send([replace(mail, address=address)])
    assert type(error) is meaning


def test_sandbox_refuses_a_wrong_key(sandbox: Sandbox, mail: Message) -> None:
    [error] = provider(sandbox.url, api_key="SG.other").send([mail])
    assert type(error) is CredentialsRejected
