"""EMAIL by SendGrid: what a mail looks like on the wire, and what each answer means."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from hypothesis import given, settings
from hypothesis import strategies as st
from sendgrid.helpers.mail import Content, CustomArg, From, Mail, Personalization, Substitution, To

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
from channels.providers import http
from channels.providers.mail_merge import MARK
from channels.providers.sendgrid import SendGridProvider
from notifier.catalogue import EventType, event_types
from notifier.render import MessageContext, render
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
        ({"batch": 0}, "batch"),
        ({"batch": 101}, "batch"),
        ({"batch": True}, "batch"),
        ({"batch": "10"}, "batch"),
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


PARTS = {"subject": "text", "html": "html", "text": "text"}


def mails(number: int, event_type: str = "ORDER_SHIPPED", **fields: Any) -> list[Message]:
    """Mails as the templates make them, to different people about different orders."""
    return [rendered(event_types()[event_type], f"ORD-{n}", f"user{n}@example.com", **fields) for n in range(number)]


def rendered(event_type: EventType, order: str, address: str, *, locale: str = "en", items: int = 2) -> Message:
    lines = [{"name": f"Lamp & {n}", "quantity": 1 + len(order) % 2, "price": "9.50"} for n in range(items)]
    metadata = {**event_type.sample, "orderId": order, "items": lines, "carrier": f"Carrier of {order}"}
    moment = datetime(2026, 11, 24, 23, 30, tzinfo=UTC)
    context = MessageContext(order, metadata, moment, locale, "Europe/Berlin", "0193")
    parts = render("EMAIL", PARTS, event_type.name, context)
    return Message(f"delivery-{order}", 1, address, parts, event_type=event_type.name)


def received(wire: Wire) -> Counter[tuple[str, ...]]:
    """The mails that the calls stand for, their tags filled in."""
    found = [_filled(body, person) for body in bodies(wire) for person in body["personalizations"]]
    return Counter(found)


def bodies(wire: Wire) -> list[dict[str, Any]]:
    return [json.loads(call.body) for call in wire.calls]


def _filled(body: dict[str, Any], person: dict[str, Any]) -> tuple[str, ...]:
    shown = [person.get("subject") or body["subject"], *(part["value"] for part in body["content"])]
    for tag, value in person.get("substitutions", {}).items():
        shown = [text.replace(tag, value) for text in shown]
    [to] = person["to"]
    arguments = person["custom_args"]
    return (to["email"], arguments["delivery_id"], arguments["event_type"], *shown)


def wanted(messages: Sequence[Message]) -> Counter[tuple[str, ...]]:
    names = ("subject", "text", "html")
    return Counter((m.address, m.delivery_id, m.event_type, *(m.parts[name] for name in names)) for m in messages)


def test_a_call_as_sendgrid_gets_it(wire: Wire, mail: Message) -> None:
    wire.act = wires.answer(202, b"", {"X-Message-Id": "abc"})
    text = {"text": "Hello Ben\n\nOn its way", "html": "<b>\nBen</b>"}
    ada, ben = (
        replace(mail, parts={**mail.parts, "text": "Hello Ada\n\nOn its way", "html": "<b>\nAda</b>"}),
        replace(mail, address="ben@example.com", delivery_id="d2", attempt=1, parts={"subject": "Ben's", **text}),
    )
    assert provider(wire.url).send([ada, ben]) == [Receipt("sendgrid", "abc", 202)] * 2
    [body] = bodies(wire)
    assert body == {
        "from": {"name": "Example Shop", "email": "orders@shop.example"},
        "categories": ["ORDER_SHIPPED"],
        "personalizations": [
            {
                "to": [{"email": "ada@example.com"}],
                "subject": "Your order",
                "substitutions": {"%own0%": "Hello Ada", "%own1%": "Ada</b>"},
                "custom_args": {"delivery_id": mail.delivery_id, "attempt": "2", "event_type": "ORDER_SHIPPED"},
            },
            {
                "to": [{"email": "ben@example.com"}],
                "subject": "Ben's",
                "substitutions": {"%own0%": "Hello Ben", "%own1%": "Ben</b>"},
                "custom_args": {"delivery_id": "d2", "attempt": "1", "event_type": "ORDER_SHIPPED"},
            },
        ],
        "content": [
            {"type": "text/plain", "value": "%own0%\n\nOn its way"},
            {"type": "text/html", "value": "<b>\n%own1%"},
        ],
    }


def test_the_sdk_would_say_the_same(wire: Wire) -> None:
    wire.act = wires.answer(202)
    provider(wire.url).send(mails(3))
    [body] = bodies(wire)
    mail = Mail(from_email=From("orders@shop.example", "Example Shop"))
    for person in reversed(body["personalizations"]):  # the SDK puts each before the others
        same = Personalization()
        same.add_to(To(person["to"][0]["email"]))
        same.subject = person["subject"]
        for tag, value in person["substitutions"].items():
            same.add_substitution(Substitution(tag, value))
        for name, value in person["custom_args"].items():
            same.add_custom_arg(CustomArg(name, value))
        mail.add_personalization(same)
    for part in body["content"]:
        mail.add_content(Content(part["type"], part["value"]))
    assert body == {**mail.get(), "categories": ["ORDER_SHIPPED"]}


@pytest.mark.parametrize(
    "event_type", [name for name, one in event_types().items() if "EMAIL" in one.reachable_channels]
)
def test_every_mail_of_the_catalogue_arrives_as_rendered(wire: Wire, event_type: str) -> None:
    wire.act = wires.answer(202)
    sent = [*mails(7, event_type), *mails(4, event_type, locale="de"), *mails(3, event_type, items=1)]
    assert all(isinstance(outcome, Receipt) for outcome in provider(wire.url, batch=10).send(sent))
    assert received(wire) == wanted(sent)
    assert len(wire.calls) < len(sent)


LINES = st.lists(st.sampled_from(["", "a", "b", "%", "%own", "%own1%", "SG.a.b", "ä😀", "x" * 4_000]), min_size=1)
TEXTS = st.fixed_dictionaries({name: LINES.map("\n".join) for name in PARTS})
MAILS = st.lists(st.tuples(st.sampled_from(["a@b.c", "A@b.c", "d@e.f", "g@h.i"]), TEXTS), max_size=12)


@settings(max_examples=50, deadline=None)
@given(MAILS, st.integers(1, 5))
def test_whatever_the_texts_every_mail_arrives_once(given_mails: list[tuple[str, dict[str, str]]], batch: int) -> None:
    sent = [Message(f"d{n}", 1, address, parts) for n, (address, parts) in enumerate(given_mails)]
    with wires.running(Wire()) as wire:
        wire.act = wires.answer(202)
        outcomes = provider(wire.url, batch=batch).send(sent)
        http.close()
    accepted = [message for message, outcome in zip(sent, outcomes, strict=True) if isinstance(outcome, Receipt)]
    assert [m for m in sent if m not in accepted] == [m for m in sent if begins_with_key(m)]
    assert received(wire) == wanted(accepted)
    for people in (body["personalizations"] for body in bodies(wire)):
        assert len(people) <= batch
        assert len({person["to"][0]["email"].lower() for person in people}) == len(people)
        assert all(size_of(person.get("substitutions", {})) <= 10_000 for person in people)


def begins_with_key(message: Message) -> bool:
    """Where the SDK looks for an API key."""
    return any(message.parts[name].startswith("SG.a.b") for name in ("text", "html"))


def size_of(substitutions: dict[str, str]) -> int:
    return sum(len(tag.encode()) + len(value.encode()) for tag, value in substitutions.items())


def test_sandbox_takes_mixed_mails(sandbox: Sandbox) -> None:
    """Of three types, in two languages, with one address twice, and more of one kind than a call takes."""
    sent = [*mails(12), *mails(3, "ORDER_PLACED"), *mails(2, "ORDER_DELIVERED", locale="de")]
    sent = [replace(message, delivery_id=f"d{n}") for n, message in enumerate(sent)]
    outcomes = provider(sandbox.url, batch=10).send(sent)
    rows = {row["deliveryId"]: row for row in sandbox.accepted()}
    assert len(rows) == len(sent)
    for message, outcome in zip(sent, outcomes, strict=True):
        row = rows[message.delivery_id]
        assert isinstance(outcome, Receipt)
        assert outcome.provider_message_id == row["providerMessageId"]
        assert (row["to"], row["eventType"]) == (message.address, message.event_type)
        assert {name: row[name] for name in PARTS} == message.parts
    assert len(names_of(outcomes)) == 2 + 2  # twelve, three and two mails; the address that comes again is another's


def names_of(outcomes: Sequence[Outcome]) -> set[str]:
    """The calls that were accepted."""
    return {outcome.provider_message_id for outcome in outcomes if isinstance(outcome, Receipt)}


def test_one_mail_a_call(wire: Wire) -> None:
    wire.act = wires.answer(202)
    provider(wire.url, batch=1).send(mails(3))
    assert len(wire.calls) == 3
    assert all("subject" in body for body in bodies(wire))


def test_calls_are_full(wire: Wire) -> None:
    wire.act = wires.answer(202)
    provider(wire.url, batch=4).send(mails(9))
    assert sorted(len(body["personalizations"]) for body in bodies(wire)) == [1, 4, 4]


def test_an_address_comes_once_a_call(sandbox: Sandbox) -> None:
    sent = [replace(m, address=("ada@example.com", "ADA@example.com")[n % 2]) for n, m in enumerate(mails(4))]
    sent += [replace(message, delivery_id=f"other-{message.delivery_id}") for message in mails(4)]
    outcomes = provider(sandbox.url, batch=10).send(sent)
    assert all(isinstance(outcome, Receipt) for outcome in outcomes)
    assert len(names_of(outcomes)) == 4
    assert len(sandbox.accepted()) == 8


def test_what_is_too_much_of_its_own_goes_alone(sandbox: Sandbox) -> None:
    small = mails(3)
    text = small[0].parts["text"].replace("Hello", "ä" * 5_000, 1)
    large = replace(small[0], parts={**small[0].parts, "text": text}, address="large@example.com")
    outcomes = provider(sandbox.url, batch=10).send([*small, large])
    names = [outcome.provider_message_id for outcome in outcomes if isinstance(outcome, Receipt)]
    assert Counter(Counter(names).values()) == {1: 1, 3: 1}
    assert {row["text"] for row in sandbox.accepted()} == {message.parts["text"] for message in [*small, large]}


@pytest.mark.parametrize("part", ["subject", "text", "html"])
def test_what_looks_like_a_tag_goes_alone(wire: Wire, part: str) -> None:
    wire.act = wires.answer(202)
    sent = mails(4)
    sent[1] = replace(sent[1], parts={**sent[1].parts, part: sent[1].parts[part].replace("ORD-1", f"{MARK}0%")})
    provider(wire.url, batch=10).send(sent)
    assert sorted(len(body["personalizations"]) for body in bodies(wire)) == [1, 3]
    assert received(wire) == wanted(sent)


@pytest.mark.parametrize("text", ["SG.abcdef.ghijkl", "a lone surrogate: \ud800", b"no text", None])
def test_what_cannot_be_built_costs_no_other(wire: Wire, text: Any) -> None:
    wire.act = wires.answer(202)
    sent = mails(3)
    alone = provider(wire.url, batch=10).send([replace(sent[1], parts={**sent[1].parts, "text": text})])
    sent[1] = replace(sent[1], parts={**sent[1].parts, "text": text})
    outcomes = provider(wire.url, batch=10).send(sent)
    assert [type(outcome) for outcome in outcomes] == [Receipt, type(alone[0]), Receipt]
    assert str(outcomes[1]) == str(alone[0])


def test_an_empty_text_is_refused_alone(sandbox: Sandbox) -> None:
    sent = mails(3)
    sent[1] = replace(sent[1], parts={**sent[1].parts, "text": ""})
    outcomes = provider(sandbox.url, batch=10).send(sent)
    assert [type(outcome) for outcome in outcomes] == [Receipt, MessageRejected, Receipt]


def test_one_wrong_address_among_ten(sandbox: Sandbox) -> None:
    sent = mails(10)
    sent[3] = replace(sent[3], address="not an address")
    outcomes = provider(sandbox.url, batch=10).send(sent)
    assert [type(outcome) for outcome in outcomes] == [Receipt] * 3 + [InvalidRecipient] + [Receipt] * 6
    assert {row["to"] for row in sandbox.accepted()} == {message.address for message in sent} - {"not an address"}
    assert "not an address" not in str(outcomes[3])


def test_a_wrong_sender_costs_no_address(wire: Wire) -> None:
    wire.act = wires.answer(400, errors("personalizations.0.to.0.email", "from.email"))
    outcomes = provider(wire.url, batch=10).send(mails(10))
    assert {type(outcome) for outcome in outcomes} == {CredentialsRejected}
    assert len(wire.calls) == 1


def test_too_late_to_go_alone(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("channels.providers.sendgrid.HAND_OVER", 0.0)
    wire.act = wires.answer(400, errors("personalizations.0.to.0.email"))
    outcomes = provider(wire.url, batch=10).send(mails(10))
    assert {type(outcome) for outcome in outcomes} == {ProviderUnavailable}
    assert {outcome.provider for outcome in outcomes} == {"sendgrid"}
    assert len(wire.calls) == 1


@pytest.mark.parametrize(
    ("mode", "fault", "meaning"),
    [
        ("accept_then_drop", {}, OutcomeUnknown),
        ("reset", {}, OutcomeUnknown),
        ("status", {"status": 503}, ProviderUnavailable),
        ("rate_limit", {"retry_after": 3}, RateLimited),
    ],
)
def test_an_answer_counts_for_all_of_its_call(
    sandbox: Sandbox, mode: str, fault: dict[str, Any], meaning: type[ChannelError]
) -> None:
    sandbox.fail("sendgrid", mode, times=1, **fault)
    outcomes = provider(sandbox.url, batch=10).send(mails(10))
    assert {type(outcome) for outcome in outcomes} == {meaning}
    assert len({id(outcome) for outcome in outcomes}) == 10
    assert len(sandbox.accepted()) == (10 if mode == "accept_then_drop" else 0)
    if mode == "rate_limit":
        assert {getattr(outcome, "retry_after", None) for outcome in outcomes} == {3.0}


def test_no_address_of_a_call_is_in_an_error(wire: Wire) -> None:
    words = "ada, user1@example.com, ada and ben: too many"
    wire.act = wires.answer(503, json.dumps({"errors": [{"message": words, "field": None}]}).encode())
    addresses = ("ada", "user1@example.com", "ada and ben")
    sent = [replace(message, address=address) for message, address in zip(mails(3), addresses, strict=True)]
    for outcome in provider(wire.url, batch=10).send(sent):
        assert isinstance(outcome, ProviderUnavailable)
        assert outcome.detail == "(address), (address), (address): too many"
