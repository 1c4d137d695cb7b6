"""What happens on the wire, over real sockets."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from channels.errors import (
    ChannelError,
    CredentialsRejected,
    MessageRejected,
    OutcomeUnknown,
    ProviderUnavailable,
    RateLimited,
)
from channels.providers import fcm, http, twilio
from tests.channels import wire as wires
from tests.channels.wire import Act, Wire

SHORT = 0.4  # seconds: a timeout that a test waits for


def to(url: str, timeout: float = 5.0) -> http.Request:
    return http.Request(url, {"X-Kind": "test"}, b"body", timeout=timeout)


def test_page_about_errors_shows_the_tables() -> None:
    """docs/errors.md has one row a class, with every code that leads to it."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "errors.md").read_text()
    rows = {row.split("`")[1]: row for row in page.splitlines() if row.startswith("| `") and "`" in row}
    for code, meaning in {**twilio.CODES, **fcm.CODES}.items():
        assert f"`{code}`" in rows[meaning.__name__], code
    shown = re.findall(r"`(\d{5})`", "".join(rows[meaning.__name__] for meaning in set(twilio.CODES.values())))
    assert sorted(shown) == sorted(twilio.CODES)
    for status in (401, 402, 403, 404, 405, 407, 408, 425, 429, 503):
        assert f"`{status}`" in rows[http.error_class(status).__name__], status


@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        (301, ProviderUnavailable),
        (400, MessageRejected),
        (401, CredentialsRejected),
        (403, CredentialsRejected),
        (402, CredentialsRejected),
        (404, CredentialsRejected),
        (405, CredentialsRejected),
        (415, MessageRejected),
        (407, CredentialsRejected),
        (408, ProviderUnavailable),
        (413, MessageRejected),
        (422, MessageRejected),
        (425, ProviderUnavailable),
        (429, RateLimited),
        (500, OutcomeUnknown),
        (501, OutcomeUnknown),
        (502, OutcomeUnknown),
        (503, ProviderUnavailable),
        (504, OutcomeUnknown),
        (520, OutcomeUnknown),
    ],
)
def test_status_has_one_meaning(status: int, meaning: type[ChannelError]) -> None:
    assert http.error_class(status) is meaning


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        (" 1.5 ", 1.5),
        ("0", 0.0),
        ("-3", 0.0),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("Mon, 01 Jan 2024 00:00:00 GMT", 0.0),
        ("Mon, 01 Jan 2024 00:00:00 -0000", 0.0),
    ],
)
def test_retry_after(header: str, seconds: float | None) -> None:
    assert http.retry_after({"Retry-After": header}) == seconds


def test_retry_after_as_a_date_counts_from_now() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert http.retry_after({"Retry-After": date}) == pytest.approx(90, abs=5)
    assert http.retry_after({}) is None


def test_carries_the_request_and_brings_the_answer(wire: Wire) -> None:
    wire.act = wires.answer(418, b'{"tea": true}', {"Retry-After": "7"})
    answer = http.post(to(f"{wire.url}/path?q=1"))
    assert isinstance(answer, http.Response)
    assert (answer.status, answer.json(), answer.headers["retry-after"]) == (418, {"tea": True}, "7")
    [call] = wire.calls
    assert (call.path, call.body, call.headers["X-Kind"]) == ("/path?q=1", b"body", "test")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b"\xff"])
def test_body_that_is_no_object_reads_as_an_empty_one(body: bytes) -> None:
    assert http.Response(200, {}, body).json() == {}


@pytest.mark.parametrize(
    ("act", "meaning"),
    [
        (wires.reset, OutcomeUnknown),
        (wires.hang_up, OutcomeUnknown),
        (wires.stop_half_way, OutcomeUnknown),
        (wires.never_answer, OutcomeUnknown),
    ],
)
def test_no_answer_to_a_request_that_went_out_is_unknown(wire: Wire, act: Act, meaning: type[ChannelError]) -> None:
    wire.act = act
    assert type(http.post(to(wire.url, SHORT))) is meaning
    assert len(wire.calls) == 1  # and it is not sent again


def test_nobody_listens_is_surely_not_sent() -> None:
    assert type(http.post(to(wires.unused()))) is ProviderUnavailable


def test_connection_that_is_never_made_is_surely_not_sent() -> None:
    with wires.deaf() as url:
        assert type(http.post(to(url, SHORT))) is ProviderUnavailable


def test_failed_tls_is_surely_not_sent(wire: Wire) -> None:
    wire.act = wires.hang_up
    assert type(http.post(to(wire.url.replace("http", "https"), SHORT))) is ProviderUnavailable


def test_redirection_is_not_followed(wire: Wire) -> None:
    wire.act = wires.answer(302, b"", {"Location": "/elsewhere"})
    answer = http.post(to(wire.url))
    assert isinstance(answer, http.Response)
    assert (answer.status, len(wire.calls)) == (302, 1)


def test_fifty_go_at_once_and_no_more(wire: Wire) -> None:
    together = threading.Barrier(http.CONCURRENCY, timeout=wires.DEADLINE)
    under_way, most = 0, 0
    counting = threading.Lock()

    def act(handler: wires.HttpHandler) -> bool:
        nonlocal under_way, most
        with counting:
            under_way += 1
            most = max(most, under_way)
        together.wait()  # breaks, which fails the test, unless fifty are here at once
        with counting:
            under_way -= 1
        return wires.answer(200)(handler)

    wire.act = act
    answers = http.post_all([to(wire.url, 15.0) for _ in range(2 * http.CONCURRENCY)])
    assert [type(answer) for answer in answers] == [http.Response] * 2 * http.CONCURRENCY
    assert most == http.CONCURRENCY


def test_answers_are_in_the_order_of_the_requests(wire: Wire) -> None:
    wire.act = wires.echo
    first, second, third = http.post_all([to(f"{wire.url}/1"), to(wires.unused()), to(f"{wire.url}/3")])
    assert isinstance(first, http.Response)
    assert isinstance(second, ProviderUnavailable)
    assert isinstance(third, http.Response)
    assert (first.body, third.body) == (b"/1", b"/3")


def test_connection_is_kept_for_the_next_call(wire: Wire) -> None:
    for _ in range(3):
        http.post(to(wire.url))
    assert len({call.port for call in wire.calls}) == 1


def test_kept_connection_that_breaks_is_not_used_to_send_again(wire: Wire) -> None:
    """The provider may have taken what it read before it went; libcurl by itself would send a text once more."""
    http.post(to(wire.url))
    wire.act = wires.hang_up
    assert type(http.post(to(wire.url))) is OutcomeUnknown
    assert len(wire.calls) == 2
    assert len({call.port for call in wire.calls}) == 1


def test_connection_that_the_provider_closed_meanwhile_is_not_used(wire: Wire) -> None:
    wire.act = wires.answer(200, b"", {"Connection": "close"})
    assert [type(http.post(to(wire.url))) for _ in range(3)] == [http.Response] * 3
    assert len({call.port for call in wire.calls}) == 3


def test_header_cannot_bring_another_one(wire: Wire) -> None:
    request = http.Request(wire.url, {"X-Kind": "test\r\nX-Other: 1"}, b"body")
    assert type(http.post(request)) is ProviderUnavailable
    assert not wire.calls


def test_environment_says_nothing_about_the_way(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", wires.unused())
    assert isinstance(http.post(to(wire.url)), http.Response)


def test_nothing_to_send_makes_no_connections() -> None:
    http.close()
    assert http.post_all([]) == []
    assert not hasattr(http._mine, "carrier")


def test_closed_carrier_is_made_anew(wire: Wire) -> None:
    http.post(to(wire.url))
    http.close()
    http.close()
    assert isinstance(http.post(to(wire.url)), http.Response)
    assert len({call.port for call in wire.calls}) == 2


class _TimeIsUpError(Exception):
    """As Celery's SoftTimeLimitExceeded: raised by a signal in the middle of the wait."""


def test_interrupted_wait_leaves_the_pool_usable(wire: Wire) -> None:
    def interrupt(*_: object) -> None:
        raise _TimeIsUpError

    wire.act = wires.never_answer
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(_TimeIsUpError):
            http.post(to(wire.url, timeout=wires.DEADLINE))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    wire.act = wires.answer(200)
    assert isinstance(http.post(to(wire.url)), http.Response)


FORKING = """
import os, sys
from channels.providers import fcm, http, twilio
def post(name):
    answer = http.post(http.Request(sys.argv[1] + name, {}))
    assert isinstance(answer, http.Response), answer
post("/parent-before")
child = os.fork()
if not child:
    post("/child")
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
post("/parent-after")
"""


def test_forked_child_gets_connections_of_its_own(wire: Wire) -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKING, wire.url],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    before, child, after = wire.calls
    assert [before.path, child.path, after.path] == ["/parent-before", "/child", "/parent-after"]
    assert child.port != before.port == after.port


def test_request_does_not_show_secrets_in_logs() -> None:
    request = http.Request("http://127.0.0.1/", {"Authorization": "Bearer secret"}, b"ada@example.com")
    assert "secret" not in repr(request)
    assert "ada" not in repr(request)
