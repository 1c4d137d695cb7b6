"""PUSH by FCM: the payload, the access token, and what each answer means."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from channels.base import Inquiry, Message, Receipt
from channels.errors import (
    ChannelError,
    CredentialsRejected,
    InvalidRecipient,
    MessageRejected,
    OutcomeUnknown,
    ProviderUnavailable,
    RateLimited,
)
from channels.providers.fcm import FcmProvider
from sandbox import credentials
from tests.channels import wire as wires
from tests.channels.conftest import Sandbox
from tests.channels.wire import Act, HttpHandler, Wire

SEND_PATH = f"/v1/projects/{credentials.FCM_PROJECT_ID}/messages:send"
ACCEPTED = wires.answer(200, b'{"name": "projects/p/messages/1"}')


def token(value: str = "t1", lifetime: int = 3600) -> Act:
    return wires.answer(200, json.dumps({"access_token": value, "expires_in": lifetime}).encode())


def routes(token_act: Act, send_act: Act = ACCEPTED) -> Act:
    def act(handler: HttpHandler) -> bool:
        return (token_act if handler.call.path == "/token" else send_act)(handler)

    return act


@pytest.fixture
def account(wire: Wire, sandbox_process: Sandbox, tmp_path: Path) -> Path:
    """The sandbox's service account, with the token endpoint on the wire."""
    found = json.loads(sandbox_process.account.read_text())
    path = tmp_path / "account.json"
    path.write_text(json.dumps({**found, "token_uri": f"{wire.url}/token"}))
    return path


def provider(base_url: str, account: Path, **options: Any) -> FcmProvider:
    return FcmProvider(
        **{
            "project_id": credentials.FCM_PROJECT_ID,
            "service_account_file": str(account),
            "base_url": base_url,
            **options,
        }
    )


def paths(wire: Wire) -> list[str]:
    return [call.path for call in wire.calls]


def test_push_as_fcm_gets_it(wire: Wire, account: Path, push: Message) -> None:
    wire.act = routes(token())
    assert provider(wire.url, account).send([push]) == [Receipt("fcm", "projects/p/messages/1", 200)]
    assert paths(wire) == ["/token", SEND_PATH]
    call = wire.calls[1]
    assert call.headers["Authorization"] == "Bearer t1"
    same = push.delivery_id
    assert json.loads(call.body) == {
        "validate_only": False,
        "message": {
            "token": "device-token",
            "notification": {"title": "Shipped", "body": "On its way"},
            "data": {
                "url": "https://shop.example/orders/1",
                "delivery_id": same,
                "attempt": "1",
                "event_type": "ORDER_SHIPPED",
            },
            "android": {"collapse_key": same, "notification": {"tag": same}},
            "apns": {"headers": {"apns-collapse-id": same}},
            "webpush": {"notification": {"tag": same}},
        },
    }


def test_token_serves_until_shortly_before_its_end(wire: Wire, account: Path, push: Message) -> None:
    wire.act = routes(token())
    sending = provider(wire.url, account)
    sending.send([push, push])
    sending.send([push])
    assert paths(wire).count("/token") == 1


def test_token_is_renewed_before_it_ends(wire: Wire, account: Path, push: Message) -> None:
    wire.act = routes(token(lifetime=60))
    sending = provider(wire.url, account)
    sending.send([push])
    wire.act = routes(token("t2"))
    sending.send([push])
    assert [call.headers["Authorization"] for call in wire.calls if call.path == SEND_PATH] == [
        "Bearer t1",
        "Bearer t2",
    ]


def test_token_near_its_end_serves_when_no_new_one_is_to_be_had(wire: Wire, account: Path, push: Message) -> None:
    wire.act = routes(token(lifetime=60))
    sending = provider(wire.url, account)
    sending.send([push])
    wire.act = routes(wires.answer(503))
    assert isinstance(sending.send([push])[0], Receipt)


def test_expired_token_does_not_serve(wire: Wire, account: Path, push: Message) -> None:
    wire.act = routes(token())
    sending = provider(wire.url, account)
    sending.send([push])
    sending._credentials.expiry = datetime.now(UTC).replace(tzinfo=None) - timedelta(seconds=1)
    wire.act = routes(wires.answer(503))
    assert type(sending.send([push])[0]) is ProviderUnavailable


def test_rejected_token_is_not_used_again(wire: Wire, account: Path, push: Message) -> None:
    wire.act = routes(token(), wires.answer(401, b'{"error": {"status": "UNAUTHENTICATED"}}'))
    sending = provider(wire.url, account)
    [error] = sending.send([push])
    assert type(error) is CredentialsRejected
    wire.act = routes(token("t2"))
    assert isinstance(sending.send([push])[0], Receipt)
    assert wire.calls[-1].headers["Authorization"] == "Bearer t2"


@pytest.mark.parametrize(
    ("act", "meaning"),
    [
        (wires.answer(400, b'{"error": "invalid_grant"}'), CredentialsRejected),
        (wires.answer(401, b'{"error": "invalid_client"}'), CredentialsRejected),
        (wires.answer(403), CredentialsRejected),
        (wires.answer(404), CredentialsRejected),
        (wires.answer(429, b"", {"Retry-After": "9"}), RateLimited),
        (wires.answer(500), ProviderUnavailable),
        (wires.answer(503), ProviderUnavailable),
        (wires.answer(200, b"{}"), ProviderUnavailable),
        (wires.answer(200, b"<html>"), ProviderUnavailable),
        (wires.answer(200, b'{"access_token": "t", "expires_in": "soon"}'), ProviderUnavailable),
        (wires.reset, ProviderUnavailable),
        (wires.never_answer, ProviderUnavailable),
    ],
)
def test_without_a_token_nothing_is_sent(
    wire: Wire, account: Path, push: Message, act: Act, meaning: type[ChannelError]
) -> None:
    wire.act = act
    first, second = provider(wire.url, account, timeout=0.6).send([push, push])
    assert type(first) is type(second) is meaning
    assert isinstance(first, ChannelError)
    assert first.provider == "fcm"
    assert first.retry_after == (9.0 if meaning is RateLimited else None)
    assert paths(wire) == ["/token"]  # asked once, not once a message, and without google-auth's own retries


def error(status: str, message: str = "", **detail: Any) -> bytes:
    return json.dumps({"error": {"status": status, "message": message, "details": [detail] if detail else []}}).encode()


def violation(field: str) -> bytes:
    return json.dumps(
        {
            "error": {
                "status": "INVALID_ARGUMENT",
                "message": "The registration token or another thing is wrong",
                "details": [
                    {"fieldViolations": [{"field": field, "description": "bad"}]},
                    {"errorCode": "INVALID_ARGUMENT"},
                ],
            }
        }
    ).encode()


@pytest.mark.parametrize(
    ("status", "body", "meaning"),
    [
        (404, error("NOT_FOUND", errorCode="UNREGISTERED"), InvalidRecipient),
        (404, error("NOT_FOUND", "project not found"), CredentialsRejected),
        (404, b"<html>", CredentialsRejected),
        (403, error("PERMISSION_DENIED", errorCode="SENDER_ID_MISMATCH"), MessageRejected),
        (403, error("PERMISSION_DENIED"), CredentialsRejected),
        (400, violation("message.token"), InvalidRecipient),
        (400, violation("message.data"), MessageRejected),
        (
            400,
            error(
                "INVALID_ARGUMENT",
                "The registration token is not a valid FCM registration token",
                errorCode="INVALID_ARGUMENT",
            ),
            InvalidRecipient,
        ),
        (400, error("INVALID_ARGUMENT", "Request contains an invalid argument."), MessageRejected),
        (400, b'{"error": {"details": 7}}', MessageRejected),
        (400, b'{"error": null}', MessageRejected),
        (401, error("UNAUTHENTICATED", errorCode="THIRD_PARTY_AUTH_ERROR"), CredentialsRejected),
        (429, error("RESOURCE_EXHAUSTED", errorCode="QUOTA_EXCEEDED"), RateLimited),
        (500, error("INTERNAL", errorCode="INTERNAL"), OutcomeUnknown),
        (502, b"<!DOCTYPE html>", OutcomeUnknown),
        (503, error("UNAVAILABLE", errorCode="UNAVAILABLE"), ProviderUnavailable),
        (200, b"{}", OutcomeUnknown),
    ],
)
def test_refusals(
    wire: Wire, account: Path, push: Message, status: int, body: bytes, meaning: type[ChannelError]
) -> None:
    wire.act = routes(token(), wires.answer(status, body))
    [outcome] = provider(wire.url, account).send([push])
    assert type(outcome) is meaning
    assert (outcome.provider, outcome.status) == ("fcm", status)


def test_message_that_cannot_be_built_fails_alone(wire: Wire, account: Path, push: Message) -> None:
    wire.act = routes(token())
    bad, good = provider(wire.url, account).send([replace(push, parts={}), push])
    assert type(bad) is MessageRejected
    assert isinstance(good, Receipt)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"type": "service_account"}'])
def test_file_that_holds_no_account_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "account.json"
    path.write_text(content)
    with pytest.raises(ImproperlyConfigured, match="fcm: option 'service_account_file'"):
        provider("http://127.0.0.1", path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"fcm: option 'service_account_file' .*FileNotFoundError"):
        provider("http://127.0.0.1", tmp_path / "none.json")


def test_missing_project_is_named(account: Path) -> None:
    with pytest.raises(ImproperlyConfigured, match="fcm: option 'project_id'"):
        provider("http://127.0.0.1", account, project_id="")


def test_sandbox_takes_it(sandbox: Sandbox, push: Message) -> None:
    [receipt] = provider(sandbox.url, sandbox.account).send([push])
    assert isinstance(receipt, Receipt)
    [row] = sandbox.accepted()
    assert (row["to"], row["title"], row["deliveryId"]) == ("device-token", "Shipped", push.delivery_id)
    assert row["attempt"] == push.attempt
    assert receipt.provider_message_id == row["providerMessageId"]


@pytest.mark.parametrize(
    ("address", "meaning"),
    [("unregistered-1", InvalidRecipient), ("mismatch-1", MessageRejected), ("", MessageRejected)],
)
def test_sandbox_refuses(sandbox: Sandbox, push: Message, address: str, meaning: type[ChannelError]) -> None:
    [outcome] = provider(sandbox.url, sandbox.account).send([replace(push, address=address)])
    assert type(outcome) is meaning


def test_fcm_cannot_be_asked(wire: Wire, account: Path, push: Message) -> None:
    assert provider(wire.url, account).ask([Inquiry(push, datetime.now(UTC))]) == [None]
    assert wire.calls == []


@pytest.mark.parametrize(
    ("service", "mode", "fault", "meaning"),
    [
        ("fcm", "status", {"status": 503}, ProviderUnavailable),
        ("fcm", "rate_limit", {"retry_after": 2}, RateLimited),
        ("fcm", "accept_then_drop", {}, OutcomeUnknown),
        ("google", "status", {"status": 503}, ProviderUnavailable),
        ("google", "reset", {}, ProviderUnavailable),
    ],
)
def test_sandbox_fails(
    sandbox: Sandbox, push: Message, service: str, mode: str, fault: dict[str, Any], meaning: type[ChannelError]
) -> None:
    sandbox.fail(service, mode, **fault)
    [outcome] = provider(sandbox.url, sandbox.account).send([push])
    assert type(outcome) is meaning
