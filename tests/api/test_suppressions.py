from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from preferences import people, resolve
from preferences.models import Change, SuppressedAddress, User
from tests import engine
from tests.api.conftest import Caller
from tests.sandbox_process import Sandbox

PATH, SEARCH = "/notifications/suppressed-addresses", "/notifications/suppressed-addresses/search"
ADA = {"kind": "email", "address": "ada@mail.example"}

pytestmark = pytest.mark.django_db


def stored() -> list[tuple[str, str, str]]:
    return list(SuppressedAddress.objects.order_by("id").values_list("kind", "address", "reason"))


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"kind": "email", "address": " Ada@Mail.Example "}, ("email", "ada@mail.example", "OPTED_OUT")),
        (
            {"kind": "phone", "address": "+49 (151) 123 456 78", "reason": "INVALID"},
            ("phone", "+4915112345678", "INVALID"),
        ),
    ],
)
def test_an_address_is_kept_in_its_one_form(api: Caller, given: dict[str, str], kept: tuple[str, str, str]) -> None:
    first, again = api("POST", PATH, given), api("POST", PATH, given)

    assert (first.status, again.status) == (201, 200)
    assert first.body == again.body
    assert (first.body["kind"], first.body["address"], first.body["reason"]) == kept
    assert stored() == [kept]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"kind": "email", "address": "ada"}, "address"),
        ({"kind": "phone", "address": "0151 12345678"}, "address"),
        ({"kind": "phone", "address": "ada@mail.example"}, "address"),
        ({"kind": "fax", "address": "+4915112345678"}, "kind"),
        ({"kind": "email"}, "address"),
        ({**ADA, "reason": "BORED"}, "reason"),
        ({**ADA, "email": "x"}, "email"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_written(api: Caller, given: dict[str, str], field: str) -> None:
    answer = api("POST", PATH, given)

    assert (answer.status, list(answer.fields)) == (400, [field])
    assert given.get("address", "x") not in str(answer.body)
    assert stored() == []


def test_an_opt_out_replaces_invalid_and_is_not_replaced(api: Caller) -> None:
    reasons = ["INVALID", "OPTED_OUT", "INVALID"]

    answers = [api("POST", PATH, {**ADA, "reason": reason}) for reason in reasons]

    assert [(answer.status, answer.body["reason"]) for answer in answers] == [
        (201, "INVALID"),
        (200, "OPTED_OUT"),
        (200, "OPTED_OUT"),
    ]


def test_what_is_suppressed_gets_nothing_until_it_is_removed(api: Caller, sandbox: Sandbox) -> None:
    ada = User.objects.create_user(email="Ada@mail.example")
    suppression = api("POST", PATH, ADA).body["id"]
    before = engine.trigger("ORDER_PLACED", ada.id)
    engine.run()

    assert api("DELETE", f"{PATH}/{suppression}").status == 204
    after = engine.trigger("ORDER_PLACED", ada.id)
    engine.run()

    assert engine.states(before)["EMAIL"] == "SKIPPED SUPPRESSED"
    assert engine.states(after)["EMAIL"] == "SENT"


def test_one_is_looked_up_by_its_id_or_by_its_address(api: Caller) -> None:
    row = api("POST", PATH, ADA).body

    assert api("GET", f"{PATH}/{row['id']}").body == row
    assert api("POST", SEARCH, ADA | {"address": "ADA@mail.example"}).body == {"results": [row], "next": None}
    assert api("POST", SEARCH, {"kind": "email", "address": "bea@mail.example"}).body["results"] == []
    assert list(api("POST", SEARCH, {"kind": "email", "address": "ada"}).fields) == ["address"]


@pytest.mark.parametrize("suppression_id", [7, 10**30])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_an_unknown_id_is_404(api: Caller, method: str, suppression_id: int) -> None:
    answer = api(method, f"{PATH}/{suppression_id}")

    assert (answer.status, answer.code) == (404, "NOT_FOUND")


def test_the_list_is_newest_first_in_pages(api: Caller) -> None:
    for number in range(5):
        resolve.opt_out("email", f"person{number}@mail.example")
    found: list[str] = []
    path: str | None = f"{PATH}?limit=2"
    while path:
        page = api("GET", path).body
        assert len(page["results"]) <= 2
        found += [row["address"] for row in page["results"]]
        path = page["next"]

    assert found == [f"person{number}@mail.example" for number in (4, 3, 2, 1, 0)]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["ada@mail.example", "+4915112345678"]),
        ("kind=phone", ["+4915112345678"]),
        ("reason=INVALID", ["ada@mail.example"]),
        ("kind=phone&reason=INVALID", []),
    ],
)
def test_the_list_is_filtered(api: Caller, query: str, found: list[str]) -> None:
    resolve.opt_out("phone", "+4915112345678")
    resolve.mark_invalid("email", "ada@mail.example")

    assert [row["address"] for row in api("GET", f"{PATH}?{query}").body["results"]] == found


@pytest.mark.parametrize("query", ["kind=fax", "reason=none", "address=ada@mail.example"])
def test_a_wrong_filter_is_named(api: Caller, query: str) -> None:
    answer = api("GET", f"{PATH}?{query}")

    assert (answer.status, list(answer.fields)) == (400, [query.partition("=")[0]])


def test_reading_keys_may_ask_for_an_address_and_see_no_list(caller: Callable[..., Caller]) -> None:
    reader = caller("read")

    assert reader("POST", SEARCH, ADA).status == 200
    assert reader("GET", PATH).status == 403
    assert reader("POST", PATH, ADA).status == 403


def test_the_history_says_who_did_it(api: Caller) -> None:
    suppression = api("POST", PATH, ADA).body["id"]
    api("POST", PATH, ADA)  # changes nothing
    api("DELETE", f"{PATH}/{suppression}")

    written = Change.objects.filter(kind="SUPPRESSED_ADDRESS").order_by("id")

    assert api.row is not None
    assert [(row.action, row.actor_kind, row.actor) for row in written] == [
        ("INSERT", "API_KEY", api.row.prefix),
        ("DELETE", "API_KEY", api.row.prefix),
    ]


def test_invalid_counts_until_a_person_is_saved_with_the_address(api: Caller, ada: User) -> None:
    api("POST", PATH, {**ADA, "reason": "INVALID"})
    saved: Any = people.save([(ada.id, {"email": "other@mail.example"})])
    assert stored() == [("email", "ada@mail.example", "INVALID")]

    saved = people.save([(ada.id, {"email": "ada@mail.example"})])

    assert saved[0].created is False
    assert stored() == []
