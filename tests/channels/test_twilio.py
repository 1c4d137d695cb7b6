"""SMS by Twilio: what a message looks like on the wire, and what each answer means."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
import requests
from django.core.exceptions import ImproperlyConfigured
from twilio.http.response import Response  # type: ignore[import-untyped]
from twilio.rest import Client  # type: ignore[import-untyped]

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
from channels.providers import http
from channels.providers.http_provider import redacted
from channels.providers.twilio import CLOCK_ALLOWANCE, CODES, PAGE_SIZE, PAGES, TwilioProvider
from sandbox import credentials
from tests.channels import wire as wires
from tests.channels.conftest import Sandbox
from tests.channels.wire import HttpHandler, Wire


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


class Sdk:
    """The SDK's transport: keeps the request that it would have sent."""

    is_async = False

    def request(self, method: str, url: str, **call: Any) -> Response:
        session = requests.Session()
        self.prepared = session.prepare_request(
            requests.Request(
                method, url, params=call["params"], data=call["data"], headers=call["headers"], auth=call["auth"]
            )
        )
        return Response(201, "{}")


@pytest.mark.parametrize("sender", [credentials.TWILIO_FROM, "MG123", "Shop"])
@pytest.mark.parametrize("public_url", ["", "https://shop.example"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"address": "", "parts": {"text": ""}},
        {"address": "+49 (30) 1", "attempt": 12, "parts": {"text": "a b+c&d=e%\n\u20ac\U0001f600\"'~"}},
    ],
)
def test_request_is_the_sdks(sms: Message, changes: dict[str, Any], sender: str, public_url: str) -> None:
    sending, sdk = provider("https://api.twilio.com", sender=sender, public_url=public_url), Sdk()
    client = Client(credentials.TWILIO_ACCOUNT_SID, credentials.TWILIO_AUTH_TOKEN, http_client=sdk)
    for message in (sms, replace(sms, **changes), sms):  # one message leaves nothing behind in the next
        callback = f"{public_url}/webhooks/twilio?d={message.delivery_id}&a={message.attempt}"
        client.messages.create(
            to=message.address,
            body=message.parts["text"],
            **{"messaging_service_sid" if sender.startswith("MG") else "from_": sender},
            **({"status_callback": callback} if public_url else {}),
        )
        built = sending.build(message)
        assert (built.method, built.url, built.body.decode()) == (
            sdk.prepared.method,
            sdk.prepared.url,
            sdk.prepared.body,
        )
        own = {"Connection", "Accept-Encoding", "Content-Length"}  # of the carrier
        assert built.headers.items() >= {name: h for name, h in sdk.prepared.headers.items() if name not in own}.items()


@pytest.mark.parametrize(("patience", "timeout"), [(2.0, 2.0), (60.0, 5.0)])
def test_a_call_lasts_no_longer_than_its_answer_is_worth(sms: Message, patience: float, timeout: float) -> None:
    request = provider("http://127.0.0.1:1").try_build(replace(sms, patience=patience))
    assert isinstance(request, http.Request)
    assert request.timeout == timeout


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


NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
LIST = f"/2010-04-01/Accounts/{credentials.TWILIO_ACCOUNT_SID}/Messages.json"


def listed(sms: Message, sid: str = "SM1", age: float = 0.0, **fields: Any) -> dict[str, Any]:
    """A message as Twilio lists it, created and sent `age` seconds before NOW."""
    date = format_datetime(NOW - timedelta(seconds=age))
    return {
        "sid": sid,
        "to": sms.address,
        "from": credentials.TWILIO_FROM,
        "messaging_service_sid": None,
        "body": sms.parts["text"],
        "direction": "outbound-api",
        "status": "delivered",
        "date_created": date,
        "date_sent": date,
        **fields,
    }


def pages(*contents: list[dict[str, Any]]) -> wires.Act:
    """Answers with the page that the request asks for, by Twilio's token."""

    def act(handler: HttpHandler) -> bool:
        number = int(dict(parse_qsl(urlsplit(handler.call.path).query)).get("PageToken", "0"))
        following = f"{LIST}?PageSize=100&PageToken={number + 1}" if number + 1 < len(contents) else None
        body = {"messages": contents[number], "next_page_uri": following}
        return wires.answer(200, json.dumps(body).encode())(handler)

    return act


def sids(finding: object) -> list[str]:
    assert isinstance(finding, list)
    assert all(isinstance(receipt, Receipt) and receipt.provider == "twilio" for receipt in finding)
    return [receipt.provider_message_id for receipt in finding]


def test_asking_as_twilio_gets_it(wire: Wire, sms: Message) -> None:
    wire.act = pages([listed(sms)])
    assert provider(wire.url).ask([Inquiry(sms, NOW)]) == [[Receipt("twilio", "SM1")]]
    [call] = wire.calls
    assert urlsplit(call.path).path == LIST
    # no DateSent: a message that is still queued has none
    assert dict(parse_qsl(urlsplit(call.path).query)) == {"To": sms.address, "PageSize": str(PAGE_SIZE)}
    signature = base64.b64decode(call.headers["Authorization"].removeprefix("Basic ")).decode()
    assert signature == f"{credentials.TWILIO_ACCOUNT_SID}:{credentials.TWILIO_AUTH_TOKEN}"


def test_nothing_to_ask_calls_nobody(wire: Wire) -> None:
    assert provider(wire.url).ask([]) == []
    assert wire.calls == []


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"status": "queued", "date_sent": None}, id="queued"),
        pytest.param({"status": "accepted", "date_sent": None}, id="accepted"),
        pytest.param({"status": "failed"}, id="failed"),
        pytest.param({"status": "undelivered"}, id="undelivered"),
        pytest.param({"status": "canceled", "date_sent": None}, id="canceled"),
        pytest.param({"messaging_service_sid": "MG9"}, id="also-in-a-service"),
        pytest.param({"date_created": "Tue, 24 Nov 2026 11:59:30 -0000"}, id="a-clock-behind-ours"),
        pytest.param({"body": "Gr\u00fc\u00dfe\u00a0& mehr"}, id="smart-encoding"),
    ],
)
def test_message_was_taken(wire: Wire, sms: Message, fields: dict[str, Any]) -> None:
    wire.act = pages([listed(sms, **fields)])
    [finding] = provider(wire.url).ask([Inquiry(sms, NOW)])
    assert sids(finding) == ["SM1"]


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"to": "+12025550124"}, id="another-number"),
        pytest.param({"body": "Another text"}, id="another-text"),
        pytest.param({"from": "+12025550199"}, id="another-sender"),
        pytest.param({"direction": "outbound-reply"}, id="a-reply"),
        pytest.param({"direction": "inbound"}, id="inbound"),
        pytest.param({"age": CLOCK_ALLOWANCE.total_seconds() + 1}, id="before"),
    ],
)
def test_another_message_is_not_the_one(wire: Wire, sms: Message, fields: dict[str, Any]) -> None:
    wire.act = pages([listed(sms, **fields)])
    assert provider(wire.url).ask([Inquiry(sms, NOW)]) == [[]]


def test_messaging_service_as_sender_is_asked_for(wire: Wire, sms: Message) -> None:
    fields: dict[str, Any] = {"from": None, "messaging_service_sid": "MG123"}
    taken = listed(sms, **fields)
    wire.act = pages([listed(sms, "SM0"), taken])
    [finding] = provider(wire.url, sender="MG123").ask([Inquiry(sms, NOW)])
    assert sids(finding) == ["SM1"]


def test_same_texts_come_oldest_first(wire: Wire, sms: Message) -> None:
    """Dates know whole seconds alone; within one, the list's own order counts."""
    wire.act = pages([listed(sms, "SM3", -1), listed(sms, "SM2"), listed(sms, "SM1"), listed(sms, "SM0", 1)])
    [finding] = provider(wire.url).ask([Inquiry(sms, NOW)])
    assert sids(finding) == ["SM0", "SM1", "SM2", "SM3"]


def test_number_is_asked_once_for_several_messages(wire: Wire, sms: Message) -> None:
    other = replace(sms, delivery_id="other", parts={"text": "Delivered"})
    elsewhere = replace(sms, address="+12025550124")
    wire.act = pages([listed(other, "SM2", 300), listed(sms, "SM1", 500)])
    asked = [
        Inquiry(sms, NOW - timedelta(seconds=500)),
        Inquiry(other, NOW - timedelta(seconds=300)),
        Inquiry(elsewhere, NOW),
        Inquiry(sms, NOW),
    ]
    found = provider(wire.url).ask(asked)
    assert [sids(finding) for finding in found] == [["SM1"], ["SM2"], [], []]
    assert len(wire.calls) == 2


def test_pages_are_followed_until_the_time_is_reached(wire: Wire, sms: Message) -> None:
    other = replace(sms, parts={"text": "Another"})
    wire.act = pages(
        # those that wait have no date of sending, and say nothing of those that follow
        [listed(other, "SM4"), listed(other, "SM3", 900, date_sent=None)],
        [listed(other, "SM3", 900, date_sent=None), listed(sms, "SM2", 5)],
        [listed(sms, "SM1", 10), listed(other, "SM0", 900)],
        [listed(sms, "SM-1", 9000)],
    )
    [finding] = provider(wire.url).ask([Inquiry(sms, NOW - timedelta(seconds=20))])
    assert sids(finding) == ["SM1", "SM2"]
    assert len(wire.calls) == 3


def test_too_many_pages_leave_it_open(wire: Wire, sms: Message) -> None:
    other = replace(sms, parts={"text": "Another"})
    wire.act = pages(*[[listed(other, f"SM{n}")] for n in range(PAGES + 1)])
    [finding] = provider(wire.url).ask([Inquiry(sms, NOW)])
    assert type(finding) is OutcomeUnknown
    assert finding.provider == "twilio"
    assert len(wire.calls) == PAGES


def test_asking_ends_in_time(wire: Wire, sms: Message) -> None:
    other = replace(sms, parts={"text": "Another"})
    page = pages(*[[listed(other, f"SM{n}")] for n in range(PAGES)])

    def slowly(handler: HttpHandler) -> bool:
        handler.server.released.wait(0.2)
        return page(handler)

    wire.act = slowly
    began = time.monotonic()
    [finding] = provider(wire.url, timeout=0.5).ask([Inquiry(sms, NOW)])
    assert isinstance(finding, ChannelError)
    assert time.monotonic() - began < 0.2 * PAGES


def test_hidden_text_leaves_it_open(wire: Wire, sms: Message) -> None:
    """An account may have Twilio keep no texts."""
    wire.act = pages([listed(sms, body="")])
    [finding] = provider(wire.url).ask([Inquiry(sms, NOW)])
    assert type(finding) is OutcomeUnknown


@pytest.mark.parametrize(
    ("status", "body", "meaning"),
    [
        (401, b'{"code": 20003}', CredentialsRejected),
        (404, b'{"code": 20404}', CredentialsRejected),
        (429, b'{"code": 20429}', RateLimited),
        (500, b"<html>", OutcomeUnknown),
        (503, b'{"code": 20503}', ProviderUnavailable),
        (200, b"<html>", OutcomeUnknown),
        (200, b'{"messages": null, "next_page_uri": null}', OutcomeUnknown),
        (200, b'{"messages": [{"sid": "SM1"}], "next_page_uri": null}', OutcomeUnknown),
        (200, b'{"messages": [], "next_page_uri": "https://elsewhere.example/"}', OutcomeUnknown),
    ],
)
def test_answer_that_is_no_list(
    wire: Wire, sms: Message, status: int, body: bytes, meaning: type[ChannelError]
) -> None:
    wire.act = wires.answer(status, body)
    [finding] = provider(wire.url).ask([Inquiry(sms, NOW)])
    assert type(finding) is meaning
    assert (finding.provider, finding.status) == ("twilio", status)


@pytest.mark.parametrize("act", [wires.reset, wires.stop_half_way], ids=["reset", "half"])
def test_list_without_an_answer(wire: Wire, sms: Message, act: wires.Act) -> None:
    wire.act = act
    [finding] = provider(wire.url).ask([Inquiry(sms, NOW)])
    assert type(finding) is OutcomeUnknown


def test_list_out_of_reach(sms: Message) -> None:
    [finding] = provider(wires.unused()).ask([Inquiry(sms, NOW)])
    assert type(finding) is ProviderUnavailable


def test_failure_later_in_the_list_takes_nothing_back(wire: Wire, sms: Message) -> None:
    other = replace(sms, parts={"text": "Another"})
    first = pages([listed(sms)], [])

    def act(handler: HttpHandler) -> bool:
        return wires.reset(handler) if "PageToken" in handler.call.path else first(handler)

    wire.act = act
    found, unclear = provider(wire.url).ask([Inquiry(sms, NOW), Inquiry(other, NOW)])
    assert sids(found) == ["SM1"]
    assert type(unclear) is OutcomeUnknown


def ask_sandbox(sandbox: Sandbox, *messages: Message) -> list[Any]:
    since = datetime.now(UTC) - timedelta(seconds=5)
    return provider(sandbox.url, timeout=0.5).ask([Inquiry(message, since) for message in messages])


@pytest.mark.parametrize(
    ("mode", "fault", "taken"),
    [
        ("accept_then_drop", {}, True),
        ("timeout", {"accept": True}, True),
        ("status", {"status": 500, "accept": True}, True),
        ("status", {"status": 503}, False),
        ("timeout", {}, False),
        ("reset", {}, False),
    ],
)
def test_sandbox_knows_what_it_took(
    sandbox: Sandbox, sms: Message, mode: str, fault: dict[str, Any], taken: bool
) -> None:
    sandbox.fail("twilio", mode, **fault)
    [error] = provider(sandbox.url, timeout=0.5).send([sms])
    assert isinstance(error, ChannelError)
    [finding] = ask_sandbox(sandbox, sms)
    assert sids(finding) == [row["providerMessageId"] for row in sandbox.accepted()]
    assert bool(finding) is taken


def test_sandbox_took_two_of_the_same_text(sandbox: Sandbox, sms: Message) -> None:
    sent = provider(sandbox.url).send([sms])
    sent += provider(sandbox.url).send([replace(sms, delivery_id="another", attempt=2)])
    [finding] = ask_sandbox(sandbox, sms)
    assert sids(finding) == [receipt.provider_message_id for receipt in sent if isinstance(receipt, Receipt)]


def test_sandbox_lists_in_pages(sandbox: Sandbox, sms: Message) -> None:
    other = replace(sms, parts={"text": "Another"})
    [first] = provider(sandbox.url).send([sms])
    for _ in range(3):
        provider(sandbox.url).send([other] * (PAGE_SIZE // 2))
    [finding] = ask_sandbox(sandbox, sms)
    assert isinstance(first, Receipt)
    assert finding == [replace(first, status=None)]


@pytest.mark.parametrize(
    ("mode", "fault", "meaning"),
    [
        ("status", {"status": 503}, ProviderUnavailable),
        ("rate_limit", {}, RateLimited),
        ("timeout", {}, OutcomeUnknown),
        ("reset", {}, OutcomeUnknown),
    ],
)
def test_sandbox_cannot_list(
    sandbox: Sandbox, sms: Message, mode: str, fault: dict[str, Any], meaning: type[ChannelError]
) -> None:
    sandbox.fail("twilio", mode, operation="list", address=sms.address, **fault)
    finding, other = ask_sandbox(sandbox, sms, replace(sms, address="+12025550124"))
    assert type(finding) is meaning
    assert other == []
