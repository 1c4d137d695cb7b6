"""The sandbox misbehaves on request, and really does."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
import urllib3

from sandbox import credentials
from tests.sandbox.conftest import ACCOUNT, MAIL, PUSH, TEXT, Client, twilio_login


async def _post_mail(url: str, patience: float = 5) -> int:
    timeout = aiohttp.ClientTimeout(total=patience)
    headers = {"Authorization": f"Bearer {credentials.SENDGRID_API_KEY}"}
    async with (
        aiohttp.ClientSession(timeout=timeout, headers=headers) as session,
        session.post(f"{url}/v3/mail/send", json=dict(MAIL)) as answer,
    ):
        return answer.status


@pytest.mark.parametrize(("mode", "kept"), [("reset", 0), ("accept_then_drop", 1)])
def test_the_connection_is_really_reset(sandbox: Client, mode: str, kept: int) -> None:
    sandbox.fault("sendgrid", mode=mode)
    with pytest.raises((ConnectionResetError, aiohttp.ClientOSError)):
        asyncio.run(_post_mail(sandbox.url))
    assert len(sandbox.messages()) == kept


def test_a_timeout_never_answers(sandbox: Client) -> None:
    sandbox.fault("sendgrid", mode="timeout")
    with pytest.raises(TimeoutError):
        asyncio.run(_post_mail(sandbox.url, patience=0.2))
    assert sandbox.messages() == []


def test_a_timeout_may_hide_an_acceptance(sandbox: Client) -> None:
    sandbox.fault("sendgrid", mode="timeout", accept=True)
    with pytest.raises(TimeoutError):
        asyncio.run(_post_mail(sandbox.url, patience=0.2))
    assert len(sandbox.messages()) == 1


def test_latency_answers_rightly_but_late(sandbox: Client) -> None:
    sandbox.fault("twilio", mode="latency", latency=0.2)
    began = time.monotonic()
    assert sandbox.text().status == 201
    assert time.monotonic() - began >= 0.2


def test_a_fault_heals_after_its_times(sandbox: Client) -> None:
    sandbox.fault("twilio", status=503, times=2)
    assert [sandbox.text().status for _ in range(3)] == [503, 503, 201]
    assert sandbox.json("GET", "/faults")["faults"] == []
    assert [text["status"] for text in sandbox.messages("accepted=all")] == [201, 503, 503]


def test_rate_limits_say_when_to_come_back(sandbox: Client) -> None:
    for provider in ("sendgrid", "twilio", "fcm"):
        sandbox.fault(provider, mode="rate_limit", retry_after=7)
    answers = [sandbox.mail(), sandbox.text(), sandbox.push()]
    assert [(answer.status, answer.headers["Retry-After"]) for answer in answers] == [(429, "7")] * 3
    assert answers[0].json()["errors"][0]["message"] == "too many requests"
    assert answers[1].json()["code"] == 20429
    assert answers[2].json()["error"]["details"][0]["errorCode"] == "QUOTA_EXCEEDED"


def test_a_fault_may_name_an_address_and_a_code(sandbox: Client) -> None:
    sandbox.fault("twilio", address=TEXT["To"], status=400, code="21610")
    sandbox.fault("fcm", address="device-1", status=500)
    assert sandbox.text().json()["code"] == 21610
    assert sandbox.text({**TEXT, "To": "+12025550123"}).status == 201
    assert [sandbox.push().status, sandbox.push({**PUSH, "token": "device-2"}).status] == [500, 200]


def _listing(sandbox: Client, to: str = TEXT["To"]) -> Any:
    path = f"{ACCOUNT}/Messages.json?{urlencode({'To': to})}"
    return sandbox.call("GET", path, Authorization=twilio_login())


def test_a_fault_hits_the_calls_that_it_names(sandbox: Client) -> None:
    sandbox.fault("twilio", status=503)
    assert (sandbox.text().status, _listing(sandbox).status) == (503, 200)
    sandbox.fault("twilio", status=500, operation="list")
    assert (sandbox.text().status, _listing(sandbox).status) == (503, 500)
    sandbox.json("DELETE", "/faults?provider=twilio")
    sandbox.fault("twilio", mode="rate_limit", operation="all")
    assert (sandbox.text().status, _listing(sandbox).status) == (429, 429)


def test_a_listing_fails_in_every_way_and_for_one_number(sandbox: Client) -> None:
    sandbox.fault("twilio", mode="reset", operation="list", address=TEXT["To"], times=1)
    with pytest.raises(urllib3.exceptions.HTTPError):
        _listing(sandbox)
    assert _listing(sandbox).status == 200
    sandbox.fault("twilio", mode="timeout", latency=0.01, operation="list", address=TEXT["To"])
    with pytest.raises(urllib3.exceptions.HTTPError):
        _listing(sandbox)
    assert _listing(sandbox, "+12025550123").status == 200
    sandbox.fault("twilio", mode="latency", latency=0.1, operation="list", address=TEXT["To"])
    began = time.monotonic()
    assert _listing(sandbox).status == 200
    assert time.monotonic() - began >= 0.1


def test_an_error_rate_of_nothing_hits_nobody(sandbox: Client) -> None:
    sandbox.fault("sendgrid", error_rate=0)
    assert sandbox.mail().status == 202


def test_faults_are_listed_and_cleared_by_provider(sandbox: Client) -> None:
    sandbox.fault("twilio")
    sandbox.fault("fcm")
    assert [fault["provider"] for fault in sandbox.json("DELETE", "/faults?provider=fcm")["faults"]] == ["twilio"]
    assert sandbox.json("DELETE", "/faults") == {"faults": [], "deduplicate": False}


@pytest.mark.parametrize(
    "body",
    [
        {"provider": "pigeon"},
        {"provider": "fcm", "mode": "odd"},
        {"provider": "fcm", "status": 200},
        {"provider": "fcm", "operation": "read"},
        {"provider": "fcm", "error_rate": 2},
        {"provider": "fcm", "times": 0},
        {"provider": "fcm", "latency": "soon"},
        {"provider": "fcm", "colour": "red"},
        [],
    ],
)
def test_nonsense_is_no_fault(sandbox: Client, body: Any) -> None:
    answer = sandbox.json("PUT", "/faults", body)
    assert answer["error"]["message"]
    assert sandbox.json("GET", "/faults")["faults"] == []


def test_a_key_is_recorded_and_deduplicates_only_on_request(sandbox: Client) -> None:
    assert [sandbox.mail(Idempotency_Key="k").status for _ in range(2)] == [202, 202]
    assert len(sandbox.messages("idempotencyKey=k")) == 2
    sandbox.json("PUT", "/faults", {"deduplicate": True})
    answers = [sandbox.mail(Idempotency_Key="other") for _ in range(2)]
    assert answers[0].headers["X-Message-Id"] == answers[1].headers["X-Message-Id"]
    assert len(sandbox.messages("idempotencyKey=other")) == 1


def test_google_can_fail_too(sandbox: Client) -> None:
    sandbox.fault("google", status=503)
    assert sandbox.call("POST", "/token", b"").status == 503
