"""EMAIL by Django's email backends, SMTP over a real connection."""

from __future__ import annotations

import smtplib
from collections.abc import Sequence
from dataclasses import replace
from email import message_from_bytes, policy
from email.message import EmailMessage as ParsedMail
from typing import Any

import pytest
from django.core import mail as django_mail
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

from channels.base import Message, Outcome, Receipt
from channels.errors import (
    ChannelError,
    CredentialsRejected,
    InvalidRecipient,
    MessageRejected,
    OutcomeUnknown,
    ProviderUnavailable,
    RateLimited,
)
from channels.providers.smtp import DjangoEmailProvider
from tests.channels import wire as wires
from tests.channels.wire import Smtp

SENDER = "Example Shop <orders@shop.example>"
LOCAL_MEMORY = "django.core.mail.backends.locmem.EmailBackend"


def provider(smtp: Smtp, timeout: float = 5.0, **backend_options: Any) -> DjangoEmailProvider:
    return DjangoEmailProvider(
        sender=SENDER,
        timeout=timeout,
        backend_options={
            "host": "127.0.0.1",
            "port": smtp.port,
            "use_tls": False,
            "username": "",
            "password": "",
            **backend_options,
        },
    )


def kinds(outcomes: Sequence[Outcome]) -> list[type[Outcome]]:
    return [type(outcome) for outcome in outcomes]


def test_mail_as_the_server_gets_it(smtp: Smtp, mail: Message) -> None:
    sending = DjangoEmailProvider(
        sender=SENDER,
        reply_to="help@shop.example",
        backend_options={"host": "127.0.0.1", "port": smtp.port},
    )
    message_id = f"<{mail.delivery_id}@shop.example>"
    assert sending.send([mail]) == [Receipt("smtp", message_id)]
    [taken] = smtp.mails
    assert taken.recipient == "ada@example.com"
    found = message_from_bytes(taken.mail, policy=policy.default)
    assert isinstance(found, ParsedMail)
    assert {name: found[name] for name in ("From", "To", "Subject", "Reply-To", "Message-ID", "X-Delivery-Id")} == {
        "From": SENDER,
        "To": "ada@example.com",
        "Subject": "Your order",
        "Reply-To": "help@shop.example",
        "Message-ID": message_id,
        "X-Delivery-Id": mail.delivery_id,
    }
    assert [part.get_content().strip() for part in found.iter_parts()] == ["On its way", "<p>On its way</p>"]


def test_one_connection_for_all(smtp: Smtp, mail: Message) -> None:
    assert kinds(provider(smtp).send([mail] * 3)) == [Receipt] * 3
    assert (len(smtp.mails), smtp.connections) == (3, 1)


@pytest.mark.parametrize(
    ("command", "reply", "meaning", "code"),
    [
        ("RCPT", "550 5.1.1 no such user", InvalidRecipient, "550"),
        ("RCPT", "551 not local", InvalidRecipient, "551"),
        ("RCPT", "553 bad name", InvalidRecipient, "553"),
        ("RCPT", "552 full", MessageRejected, "552"),
        ("RCPT", "450 mailbox busy", ProviderUnavailable, "450"),
        ("RCPT", "421 closing", ProviderUnavailable, "421"),
        ("MAIL", "530 authentication required", CredentialsRejected, "530"),
        ("MAIL", "550 sender refused", MessageRejected, "550"),
        ("MAIL", "421 too many", ProviderUnavailable, "421"),
        ("DATA", "451 try later", ProviderUnavailable, "451"),
        ("END", "554 spam", MessageRejected, "554"),
        ("END", "451 try later", ProviderUnavailable, "451"),
    ],
)
def test_refusals(smtp: Smtp, mail: Message, command: str, reply: str, meaning: type[ChannelError], code: str) -> None:
    smtp.replies.set(command, reply)
    [error] = provider(smtp).send([mail])
    assert type(error) is meaning
    assert (error.provider, error.code) == ("smtp", code)
    assert "ada@" not in str(error)


def test_refused_recipient_does_not_stop_the_others(smtp: Smtp, mail: Message) -> None:
    smtp.replies.set("RCPT", "550 no such user")
    assert kinds(provider(smtp).send([mail, mail])) == [InvalidRecipient, Receipt]


@pytest.mark.parametrize("command", ["DATA", "END"])
def test_lost_connection_leaves_one_mail_unknown_and_the_rest_not_started(
    smtp: Smtp, mail: Message, command: str
) -> None:
    smtp.replies.cut.add(command)
    assert kinds(provider(smtp).send([mail] * 3)) == [OutcomeUnknown, ProviderUnavailable, ProviderUnavailable]
    assert smtp.connections == 1


def test_server_that_falls_silent_is_given_up(smtp: Smtp, mail: Message) -> None:
    smtp.replies.silent.add("END")
    assert kinds(provider(smtp, timeout=0.3).send([mail])) == [OutcomeUnknown]


@pytest.mark.parametrize("command", ["HELLO", "EHLO"])
def test_server_that_does_not_greet_was_sent_nothing(smtp: Smtp, mail: Message, command: str) -> None:
    smtp.replies.silent.add(command)
    assert kinds(provider(smtp, timeout=0.3).send([mail, mail])) == [ProviderUnavailable] * 2


def test_nobody_listens(mail: Message) -> None:
    port = int(wires.unused().rpartition(":")[2])
    sending = DjangoEmailProvider(sender=SENDER, backend_options={"host": "127.0.0.1", "port": port})
    [error] = sending.send([mail])
    assert type(error) is ProviderUnavailable
    assert error.provider == "smtp"


@pytest.mark.parametrize(
    ("reply", "meaning"),
    [("235 welcome", Receipt), ("535 wrong password", CredentialsRejected), ("454 later", ProviderUnavailable)],
)
def test_login(smtp: Smtp, mail: Message, reply: str, meaning: type[Outcome]) -> None:
    smtp.replies.login = True
    smtp.replies.set("AUTH", reply)
    outcomes = provider(smtp, username="shop", password="secret").send([mail])
    assert kinds(outcomes) == [meaning]
    assert "secret" not in str(outcomes[0])


def test_when_the_time_is_up_the_rest_comes_again(mail: Message) -> None:
    sending = DjangoEmailProvider(sender=SENDER, backend=f"{__name__}.SlowBackend", timeout=0.05)
    outcomes = sending.send([mail] * 3)
    assert kinds(outcomes) == [Receipt, RateLimited, RateLimited]


@pytest.mark.parametrize(
    "broken",
    [{"subject": "two\nlines", "html": "h", "text": "t"}, {"subject": "s", "text": "t"}],
)
def test_message_that_cannot_be_built_fails_alone(smtp: Smtp, mail: Message, broken: dict[str, str]) -> None:
    assert kinds(provider(smtp).send([replace(mail, parts=broken), mail])) == [MessageRejected, Receipt]


def test_address_that_the_server_cannot_take(smtp: Smtp, mail: Message) -> None:
    assert kinds(provider(smtp).send([replace(mail, address="")])) == [MessageRejected]


def test_any_backend_serves(mail: Message) -> None:
    sending = DjangoEmailProvider(sender=SENDER, backend=LOCAL_MEMORY)
    assert kinds(sending.send([mail])) == [Receipt]
    assert django_mail.outbox[0].to == ["ada@example.com"]


class SlowBackend(BaseEmailBackend):
    """Takes a mail, but only after the provider's time is up."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        wires.never().wait(0.1)
        return len(email_messages)


class OddBackend(BaseEmailBackend):
    """Raises what it was built with."""

    def __init__(self, error: Exception, **options: Any) -> None:
        super().__init__(**options)
        self._error = error

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        raise self._error


@pytest.mark.parametrize(
    ("raised", "meaning"),
    [
        (RuntimeError("odd"), OutcomeUnknown),
        (smtplib.SMTPNotSupportedError("SMTPUTF8"), MessageRejected),
        (smtplib.SMTPRecipientsRefused({}), MessageRejected),
    ],
)
def test_what_other_backends_raise(mail: Message, raised: Exception, meaning: type[ChannelError]) -> None:
    sending = DjangoEmailProvider(sender=SENDER, backend=f"{__name__}.OddBackend", backend_options={"error": raised})
    assert kinds(sending.send([mail])) == [meaning]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"sender": ""}, "sender"),
        ({"sender": "Example Shop"}, "sender"),
        ({"timeout": 0}, "timeout"),
        ({"backend": "no.such.Backend"}, "backend"),
        ({"backend": "channels.base.Channel"}, "backend"),
        ({"backend": f"{__name__}.OddBackend"}, "backend_options"),
        ({"backend_options": {"use_tls": True, "use_ssl": True}}, "backend_options"),
    ],
)
def test_wrong_option_is_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"smtp: option '{named}'"):
        DjangoEmailProvider(**{"sender": SENDER, **options})
