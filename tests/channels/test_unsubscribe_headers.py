"""What a mail program needs to unsubscribe with one click: RFC 8058, section 3.1."""

from __future__ import annotations

from dataclasses import replace
from email import message_from_bytes

from channels.base import Message
from channels.providers.unsubscribe import one_click
from tests.channels import test_sendgrid, test_smtp
from tests.channels.wire import Smtp, Wire

URL = "https://shop.example/unsubscribe/token"
HEADERS = {"List-Unsubscribe": f"<{URL}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}


def test_none_without_an_address() -> None:
    assert one_click("") == {}


def test_a_mail_by_smtp(smtp: Smtp, mail: Message) -> None:
    test_smtp.provider(smtp).send([replace(mail, unsubscribe_url=URL), mail])
    first, second = (message_from_bytes(box.mail) for box in smtp.mails)
    assert {name: first[name] for name in HEADERS} == HEADERS
    assert second["List-Unsubscribe"] is None


def test_mails_that_share_a_call_to_sendgrid_have_their_own(wire: Wire) -> None:
    mails = [
        replace(mail, unsubscribe_url=f"{URL}{place}" if place else "")
        for place, mail in enumerate(test_sendgrid.mails(3))
    ]
    test_sendgrid.provider(wire.url, batch=4).send(mails)
    [body] = test_sendgrid.bodies(wire)
    assert [person.get("headers", {}) for person in body["personalizations"]] == [
        {},
        {**HEADERS, "List-Unsubscribe": f"<{URL}1>"},
        {**HEADERS, "List-Unsubscribe": f"<{URL}2>"},
    ]
