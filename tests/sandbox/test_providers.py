"""The sandbox answers as SendGrid, Twilio, FCM and Google do."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import google.auth.transport.requests
import pytest
from google.oauth2 import service_account
from hypothesis import example, given
from hypothesis import strategies as st

from sandbox import credentials
from sandbox.provider import login
from sandbox.twilio import fields
from tests.sandbox.conftest import ACCOUNT, MAIL, PUSH, TEXT, Client, twilio_login

SCOPE = "https://www.googleapis.com/auth/firebase.messaging"


def test_a_mail_is_accepted_and_kept(sandbox: Client) -> None:
    answer = sandbox.mail(Idempotency_Key="k1")
    assert (answer.status, answer.data) == (202, b"")
    [mail] = sandbox.messages()
    assert mail["providerMessageId"] == answer.headers["X-Message-Id"]
    assert (mail["channel"], mail["to"], mail["from"]) == ("EMAIL", "ada@mail.example", "Shop <hello@shop.example>")
    assert (mail["deliveryId"], mail["idempotencyKey"], mail["accepted"]) == ("d1", "k1", True)
    assert (mail["subject"], mail["text"], mail["html"]) == ("Thank you", "Hello", "<p>Hello</p>")


def test_each_personalization_is_a_mail_of_its_own(sandbox: Client) -> None:
    people = [
        {"to": [{"email": f"{name}@mail.example"}], "subject": f"Dear {name}", "substitutions": {"-name-": name}}
        for name in ("ada", "ben")
    ]
    content = [{"type": "text/plain", "value": "Hello -name-"}]
    assert sandbox.mail({**MAIL, "personalizations": people, "content": content}).status == 202
    mails = sandbox.messages()
    assert [(mail["subject"], mail["text"]) for mail in mails] == [("Dear ben", "Hello ben"), ("Dear ada", "Hello ada")]


def test_tags_are_filled_whatever_they_look_like(sandbox: Client) -> None:
    tags = {"%1%": "one", "-a": "short", "-a-": "long", "(.*)": r"\1"}
    person = {"to": [{"email": "ada@mail.example"}], "substitutions": tags}
    content = [{"type": "text/plain", "value": "%1% -a- -a (.*) %2%"}]
    assert sandbox.mail({**MAIL, "personalizations": [person], "content": content}).status == 202
    [mail] = sandbox.messages()
    assert (mail["text"], "tags" in mail) == (r"one long short \1 %2%", False)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"personalizations": []}, "personalizations"),
        ({"personalizations": [{}]}, "personalizations.0.to"),
        ({"personalizations": [{"to": [{"email": "nobody"}]}]}, "personalizations.0.to.0.email"),
        (
            {"personalizations": [{"to": [{"email": "a@b.example"}], "custom_args": {"n": 1}}]},
            "personalizations.0.custom_args",
        ),
        (
            {"personalizations": [{"to": [{"email": "a@b.example"}], "substitutions": {"-n-": 1}}]},
            "personalizations.0.substitutions",
        ),
        (
            {"personalizations": [{"to": [{"email": "a@b.example"}], "substitutions": {"-n-": "é" * 5_000}}]},
            "personalizations.0.substitutions",
        ),
        ({"personalizations": [{"to": [{"email": "a@b.example"}]}] * 1001}, "personalizations"),
        (
            {"personalizations": [{"to": [{"email": address}]} for address in ("a@b.example", "A@b.example")]},
            "personalizations",
        ),
        ({"from": {}}, "from.email"),
        ({"subject": ""}, "subject"),
        ({"content": []}, "content"),
        ({"content": [{"type": "text/plain", "value": ""}]}, "content.0.value"),
        ({"content": [{"type": "text/html", "value": "a"}, {"type": "text/plain", "value": "a"}]}, "content"),
    ],
)
def test_a_mail_with_a_fault_is_refused_with_its_field(sandbox: Client, change: dict[str, Any], field: str) -> None:
    answer = sandbox.mail({**MAIL, **change})
    assert answer.status == 400
    [error] = answer.json()["errors"]
    assert error["field"] == field
    assert error["message"]
    assert sandbox.messages() == []
    assert all(mail["status"] == 400 for mail in sandbox.messages("accepted=false"))


def test_sendgrid_wants_its_key_and_a_verified_sender(sandbox: Client) -> None:
    assert sandbox.mail(key="wrong").status == 401
    assert sandbox.mail({**MAIL, "from": {"email": "unverified@shop.example"}}).status == 403
    assert (
        sandbox.call("POST", "/v3/mail/send", b"{", Authorization=f"Bearer {credentials.SENDGRID_API_KEY}").status
        == 400
    )


def test_a_text_is_accepted_and_kept(sandbox: Client) -> None:
    answer = sandbox.text()
    resource = answer.json()
    assert (answer.status, resource["status"], resource["to"]) == (201, "queued", TEXT["To"])
    [text] = sandbox.messages()
    assert (text["channel"], text["deliveryId"], text["body"]) == ("SMS", "d2", "On its way")
    assert text["providerMessageId"] == resource["sid"]
    assert len(resource["sid"]) == 34


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"To": ""}, 21604),
        ({"From": ""}, 21603),
        ({"Body": ""}, 21602),
        ({"To": "12345"}, 21211),
        ({"To": "+1555"}, 21211),
        ({"To": "+15005550001"}, 21211),
        ({"To": "+15005550004"}, 21610),
        ({"To": "+15005550009"}, 21614),
        ({"From": "+12025550199"}, 21606),
        ({"From": "me"}, 21212),
        ({"Body": "x" * 1601}, 21617),
        ({"StatusCallback": "nowhere"}, 21609),
        ({"StatusCallback": "http://[nowhere"}, 21609),
    ],
)
def test_a_text_with_a_fault_is_refused_with_twilios_code(sandbox: Client, change: dict[str, str], code: int) -> None:
    answer = sandbox.text({**TEXT, **change})
    error = answer.json()
    assert (answer.status, error["status"], error["code"]) == (400, 400, code)
    assert error["more_info"].endswith(f"/{code}")
    assert sandbox.messages() == []


def test_twilio_wants_its_credentials(sandbox: Client) -> None:
    answer = sandbox.text(token="wrong")
    assert (answer.status, answer.json()["code"]) == (401, 20003)
    assert sandbox.call("GET", f"{ACCOUNT}/Messages.json", Authorization="Basic %%").status == 401
    assert sandbox.call("GET", f"{ACCOUNT}/Messages/SM1.json").status == 401


def test_every_answer_goes_out_whole_over_one_connection(sandbox: Client) -> None:
    """Head and body of an answer are put together: with or without a body, for good calls and bad, the next one too."""
    statuses = [sandbox.mail().status, sandbox.text().status, sandbox.text(token="wrong").status, sandbox.push().status]
    assert (statuses, sandbox.pool.connection_from_url(sandbox.url).num_connections) == ([202, 201, 401, 200], 1)
    body = urlencode(TEXT).encode()
    answer = sandbox.call("POST", f"{ACCOUNT}/Messages.json", body, Authorization=twilio_login(), Connection="close")
    assert (answer.status, answer.json()["body"]) == (201, TEXT["Body"])


def test_a_caller_that_waits_for_leave_to_send_its_body_gets_it(sandbox: Client) -> None:
    body = urlencode(TEXT).encode()
    head = (
        f"POST {ACCOUNT}/Messages.json HTTP/1.1\r\nHost: sandbox\r\nExpect: 100-continue\r\n"
        f"Authorization: {twilio_login()}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    address = urlsplit(sandbox.url)
    with socket.create_connection((address.hostname, address.port), timeout=5) as caller:
        caller.sendall(head.encode())
        assert caller.recv(100).startswith(b"HTTP/1.1 100 ")
        caller.sendall(body)
        assert b"".join(iter(lambda: caller.recv(10_000), b"")).startswith(b"HTTP/1.1 201 ")


def test_another_account_is_refused(sandbox: Client) -> None:
    answer = sandbox.call("POST", "/2010-04-01/Accounts/AC0/Messages.json", b"", Authorization=twilio_login())
    assert (answer.status, answer.json()["code"]) == (401, 20003)


@pytest.mark.parametrize(
    ("header", "scheme", "found"),
    [
        ("Bearer a b", "bearer", "a b"),
        ("BASIC  eA== ", "basic", "eA=="),
        ("Basic eA==", "bearer", ""),
        ("", "basic", ""),
    ],
)
def test_a_login_is_found_by_its_scheme(header: str, scheme: str, found: str) -> None:
    assert login({"authorization": header} if header else {}, scheme) == found


@given(st.text("ab=&%+;#?24cCfF\ufffdé€", max_size=40))
@example("a=%C3%A4+b&a=2&&b&=c&d=%")
@example("a=%ff&b=%e2%82&c=%F0%9F%98%80&d=%0A%00")
def test_a_form_is_read_as_pythons_own_library_does(form: str) -> None:
    assert fields(form) == dict(parse_qsl(form, keep_blank_values=True))


def test_texts_are_listed_by_recipient_and_day_in_pages(sandbox: Client) -> None:
    for body in ("one", "two", "three"):
        sandbox.text({**TEXT, "Body": body})
    sandbox.text({**TEXT, "To": "+12025550123"})

    def bodies(path: str) -> tuple[list[str], str | None]:
        page = sandbox.json("GET", path, Authorization=twilio_login())
        return [message["body"] for message in page["messages"]], page["next_page_uri"]

    first, following = bodies(f"{ACCOUNT}/Messages.json?{urlencode({'To': TEXT['To'], 'PageSize': 2})}")
    assert first == ["three", "two"]
    assert bodies(str(following)) == (["one"], None)
    assert bodies(f"{ACCOUNT}/Messages.json?{urlencode({'DateSent>': '2999-01-01'})}") == ([], None)
    assert len(bodies(f"{ACCOUNT}/Messages.json?{urlencode({'DateSent>': '2020-01-01'})}")[0]) == 4


def test_one_text_is_fetched_by_its_sid(sandbox: Client) -> None:
    sid = sandbox.text().json()["sid"]
    assert sandbox.json("GET", f"{ACCOUNT}/Messages/{sid}.json", Authorization=twilio_login())["status"] == "sent"
    assert sandbox.json("GET", f"{ACCOUNT}/Messages/SM0.json", Authorization=twilio_login())["code"] == 20404


def test_a_push_is_accepted_and_kept(sandbox: Client) -> None:
    answer = sandbox.push()
    assert answer.status == 200
    assert answer.json()["name"].startswith(f"projects/{credentials.FCM_PROJECT_ID}/messages/")
    [push] = sandbox.messages("orderId=ORD1&eventType=ORDER_SHIPPED")
    assert (push["channel"], push["to"], push["title"], push["body"]) == ("PUSH", "device-1", "Shipped", "On its way")
    assert push["deliveryId"] == "d3"


@pytest.mark.parametrize(
    ("push", "status", "canonical", "code"),
    [
        ({**PUSH, "token": ""}, 400, "INVALID_ARGUMENT", "INVALID_ARGUMENT"),
        ({**PUSH, "token": "unregistered-1"}, 404, "NOT_FOUND", "UNREGISTERED"),
        ({**PUSH, "token": "mismatch-1"}, 403, "PERMISSION_DENIED", "SENDER_ID_MISMATCH"),
        ({"data": {}}, 400, "INVALID_ARGUMENT", "INVALID_ARGUMENT"),
        ({**PUSH, "topic": "news"}, 400, "INVALID_ARGUMENT", None),
        ({**PUSH, "data": {"n": 1}}, 400, "INVALID_ARGUMENT", None),
        ({**PUSH, "priority": "high"}, 400, "INVALID_ARGUMENT", None),
        ({**PUSH, "data": {"n": "x" * 5000}}, 400, "INVALID_ARGUMENT", "INVALID_ARGUMENT"),
        ("no object", 400, "INVALID_ARGUMENT", "INVALID_ARGUMENT"),
    ],
)
def test_a_push_with_a_fault_is_refused_as_google_does(
    sandbox: Client, push: object, status: int, canonical: str, code: str | None
) -> None:
    answer = sandbox.push(push)
    error = answer.json()["error"]
    assert (answer.status, error["code"], error["status"]) == (status, status, canonical)
    assert error.get("details", [{"errorCode": None}])[0]["errorCode"] == code
    assert sandbox.messages() == []


def test_fcm_wants_its_token_and_project(sandbox: Client) -> None:
    assert sandbox.push(token="wrong").json()["error"]["status"] == "UNAUTHENTICATED"
    body = json.dumps({"message": PUSH}).encode()
    login = {"Authorization": f"Bearer {credentials.FCM_ACCESS_TOKEN}"}
    assert sandbox.call("POST", "/v1/projects/other/messages:send", body, **login).status == 403


def test_googles_own_library_gets_a_token_with_our_service_account(sandbox: Client, tmp_path: Path) -> None:
    path = tmp_path / "account.json"
    credentials.write_service_account(path, f"{sandbox.url}/token")
    assert path.stat().st_mode & 0o077 == 0
    account = service_account.Credentials.from_service_account_file(str(path), scopes=[SCOPE])  # type: ignore[no-untyped-call]
    account.refresh(google.auth.transport.requests.Request())
    assert sandbox.push(token=account.token).status == 200


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": "a.b"}, "invalid_grant"),
    ],
)
def test_google_refuses_what_is_no_signed_assertion(sandbox: Client, form: dict[str, str], error: str) -> None:
    answer = sandbox.call("POST", "/token", urlencode(form).encode())
    assert (answer.status, answer.json()["error"]) == (400, error)


def test_google_refuses_a_foreign_account(sandbox: Client, tmp_path: Path) -> None:
    path = tmp_path / "account.json"
    credentials.write_service_account(path, f"{sandbox.url}/token")
    stranger = json.loads(path.read_text()) | {"client_email": "someone@else.example"}
    account = service_account.Credentials.from_service_account_info(stranger, scopes=[SCOPE])  # type: ignore[no-untyped-call]
    with pytest.raises(google.auth.exceptions.RefreshError, match="account not found"):
        account.refresh(google.auth.transport.requests.Request())
