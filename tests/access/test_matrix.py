"""Every address by every method by every kind of caller, taken from the URL configuration itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from http import HTTPStatus
from itertools import product
from typing import Any
from uuid import UUID

import orjson
import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from pytest_django.fixtures import Settings

from channels.models import InboxMessage
from preferences.models import User
from tests.access import rules
from tests.access.callers import CUSTOMER, FORBIDDEN, KINDS, Kind, customer, staff
from tests.access.rules import ADMIN_MODELS, ADMIN_OPEN, ADMIN_PAGES, API, EVERYBODY, OPEN, SIGNED
from tests.sandbox_process import Sandbox

pytestmark = pytest.mark.django_db
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
KINDS_BY_NAME = {kind.name: kind for kind in KINDS}
NO_METHOD, NO_RULE = 405, "tests/access/rules.py: say there who may call it, by method"
ADMIN = "admin"
RULED = {*API, *OPEN, *SIGNED}
PAGES = ("changelist", "add", "history", "delete", "change")


@pytest.fixture(autouse=True)
def _no_collected_files(settings: Settings) -> None:
    settings.WHITENOISE_AUTOREFRESH = True


def walk(resolver: URLResolver, before: str = "", name: str = "") -> Iterator[tuple[str, str, str]]:
    """(address, namespace, name) of every pattern."""
    for pattern in resolver.url_patterns:
        address = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from walk(pattern, address, pattern.namespace or name)
        else:
            assert isinstance(pattern, URLPattern)
            yield address, name, pattern.name or ""


def addresses() -> list[tuple[str, str, str]]:
    return list(walk(get_resolver()))


def path_of(address: str) -> str:
    """A real path of an address: an id that nobody has, a token that no device has."""
    values = {
        r"<path:\w+>": "a/b",
        r"<uuid:\w+>": str(UUID(int=7)),
        r"<int:\w+>": "7",
        "<str:provider>": "twilio",
        "<str:token>": "x:y:z",
    }
    for pattern, value in values.items():
        address = re.sub(pattern, value, address)
    return f"/{address}"


def changes() -> int:
    """Rows that the test's transaction has inserted, changed or deleted so far, in all tables."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_xact_user_tables")
        return int(cursor.fetchone()[0] or 0)


def call(client: Client, method: str, path: str) -> tuple[HttpResponse, int]:
    """The answer, and how many rows it cost. The body is one that no call takes."""
    before = changes()
    answer: Any = client.generic(method, path, b'{"unknown": 1}', content_type="application/json")
    return answer, changes() - before


def every_call() -> Iterator[tuple[Client, Kind, str]]:
    for kind in KINDS:
        client = kind.make()
        yield from ((client, kind, method) for method in METHODS)


def test_every_address_has_its_rule() -> None:
    unruled = [address for address, namespace, _ in addresses() if namespace != ADMIN and address not in RULED]

    assert not unruled, f"{unruled} in the URL configuration, but without a rule in {NO_RULE}"


def test_every_rule_has_its_address() -> None:
    assert {address for address, _, _ in addresses()} >= RULED


def test_every_page_of_the_admin_has_its_rule() -> None:
    known = {f"{model}_{page}" for model in ADMIN_MODELS for page in PAGES}
    unruled = {name for _, namespace, name in addresses() if namespace == ADMIN} - known - ADMIN_PAGES.keys()

    assert not unruled, f"{sorted(unruled)} of the admin have no rule in ADMIN_PAGES or ADMIN_MODELS of {NO_RULE}"


@pytest.mark.parametrize("address", API)
def test_the_api_lets_through_whom_the_rules_name_and_nobody_else(address: str) -> None:
    for client, kind, method in every_call():
        answer, written = call(client, method, path_of(address))
        named = "GET" if method == "HEAD" else method
        scope = API[address].get(named)
        if scope and kind.scopes == {CUSTOMER} and named in rules.CUSTOMER.get(address, ()):
            scope = CUSTOMER
        where = f"{method} {address} by {kind}"
        if not kind.scopes:
            assert answer.status_code == kind.refused, where
        elif scope is None:
            assert answer.status_code == NO_METHOD, where
        elif scope in kind.scopes:
            assert answer.status_code in {200, 204, 400, 404}, where
        else:
            assert answer.status_code == kind.refused, where
        assert not written, f"{where} was refused and wrote {written} rows"
        if answer.status_code >= 400 and method != "HEAD":
            assert answer.json()["error"].keys() == {"code", "message", "fields"}, where  # type: ignore[attr-defined] # the test client's


@pytest.mark.parametrize(("address", "method"), [(a, m) for a, methods in rules.CUSTOMER.items() for m in methods])
def test_a_customers_token_reaches_nobody_elses_things(address: str, method: str) -> None:
    User.objects.create_user(id=rules.VICTIM, email="victim@mail.example")
    InboxMessage.objects.create(id=rules.VICTIM, user_id=rules.VICTIM, delivery_id=rules.VICTIM, title="Shipped")
    path, body = f"{path_of(address)}?userId={rules.VICTIM}", orjson.dumps(rules.CUSTOMER[address][method])
    own, before = customer(), changes()

    answer = own.generic(method, path, body, content_type="application/json")
    written = changes() - before
    allowed = KINDS_BY_NAME[f"key with {API[address][method]}"].make().generic(method, path, body, "application/json")

    assert answer.status_code in {403, 404}
    assert b"Shipped" not in answer.content
    assert not written
    assert allowed.status_code in {200, 204}, "else the refusal proves nothing"


@pytest.mark.parametrize("address", OPEN)
def test_open_addresses_are_open_and_only_read(address: str) -> None:
    for client, kind, method in every_call():
        answer, written = call(client, method, path_of(address))
        wanted = {200, 302} if OPEN[address].get("GET" if method == "HEAD" else method) == EVERYBODY else {NO_METHOD}
        assert answer.status_code in wanted, f"{method} {address} by {kind}"
        assert not written, f"{method} {address} by {kind}"


@pytest.mark.parametrize("address", SIGNED)
def test_without_a_signature_nobody_gets_in(address: str, sandbox: Sandbox) -> None:
    for client, kind, method in every_call():
        answer, written = call(client, method, path_of(address))
        wanted = SIGNED[address].get(method)
        assert answer.status_code in ({wanted} if wanted else {NO_METHOD, 404}), f"{method} {address} by {kind}"
        assert not written, f"{method} {address} by {kind}"


def pages_without_model() -> list[tuple[str, str]]:
    names = [(a, n) for a, namespace, n in addresses() if namespace == ADMIN and n in ADMIN_PAGES]
    made = [(a.replace("<id>", str(UUID(int=7))).replace("<path:content_type_id>", "1"), n) for a, n in names]
    return [(re.sub(r"\^\(.*\)/\$", "auth/", re.sub(r"\(\?P<url>.*", "nothing", a)), n) for a, n in made]


def is_sent_to_login(answer: HttpResponse) -> bool:
    return answer.status_code == 302 and answer.headers["Location"].startswith(reverse("admin:login"))


def test_no_key_opens_the_admin() -> None:
    clients = [(kind.make(), kind) for kind in KINDS if "session" not in kind.name]

    for (client, kind), (address, name), method in product(clients, pages_without_model(), ("GET", "POST")):
        answer, written = call(client, method, path_of(address))
        where = f"{method} {address} by {kind}"
        assert answer.status_code in ADMIN_OPEN.get(name, {302}), where
        assert name in ADMIN_OPEN or is_sent_to_login(answer), where
        assert not written, where


def test_staff_without_permission_see_the_admins_frame_alone() -> None:
    client = staff(may_everything=False)
    pages = sorted(pages_without_model(), key=lambda page: page[1] == "logout")  # which ends the session

    for address, name in pages:
        answer, written = call(client, "GET", path_of(address))
        wanted = {ADMIN_PAGES[name]} | ({302} if not name and "<path:object_id>" in address else set())
        assert answer.status_code in wanted, f"GET {address}"
        assert not written, f"GET {address}"


@pytest.mark.parametrize("model", ADMIN_MODELS)
def test_a_models_pages_are_for_those_with_permission(model: str) -> None:
    _, make = ADMIN_MODELS[model]
    made = make()
    clerk, nobody = staff(may_everything=False), Client()

    for page, method in product(PAGES, ("GET", "POST")):
        path = reverse(f"admin:{model}_{page}", args=[] if page in {"changelist", "add"} else [made.pk])
        refused, written = call(clerk, method, path)
        assert refused.status_code == FORBIDDEN, f"{method} {path} by staff without permission"
        assert not written, path
        sent_away, written = call(nobody, method, path)
        assert is_sent_to_login(sent_away), f"{method} {path} by nobody"
        assert not written, path


@pytest.mark.parametrize("model", ADMIN_MODELS)
def test_what_the_engine_writes_no_superuser_changes(model: str) -> None:
    allowed, make = ADMIN_MODELS[model]
    made = make()
    root = staff(may_everything=True)

    for page in PAGES:
        path = reverse(f"admin:{model}_{page}", args=[] if page in {"changelist", "add"} else [made.pk])
        answer, _ = call(root, "GET", path)
        if page == "history" and answer.status_code == HTTPStatus.FOUND:  # to what the triggers wrote
            answer, _ = call(root, "GET", answer.headers["Location"])
        assert answer.status_code == (200 if page in allowed else FORBIDDEN), path
        if page not in allowed:
            posted, written = call(root, "POST", path)
            assert (posted.status_code, written) == (FORBIDDEN, 0), path
    if "delete" not in allowed:
        call(root, "POST", reverse(f"admin:{model}_change", args=[made.pk]))
        assert not LogEntry.objects.exists()
        assert type(made).objects.filter(pk=made.pk).exists()


def test_the_refusal_names_the_scope_that_is_missing() -> None:
    answer, _ = call(KINDS_BY_NAME["key with read"].make(), "POST", "/notifications/trigger")

    assert answer.json()["error"] == {  # type: ignore[attr-defined] # the test client's
        "code": "FORBIDDEN",
        "message": "This API key lacks the scope 'trigger'.",
        "fields": {},
    }
