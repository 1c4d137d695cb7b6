from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from preferences.models import Preference, User
from tests.api.conftest import Caller

PATH = "/notifications/preferences"


def test_a_choice_is_set_and_changed(api: Caller, ada: User) -> None:
    choice = {"userId": str(ada.id), "eventType": "ORDER_SHIPPED", "channel": "SMS", "enabled": False}

    first, second = api("POST", PATH, choice), api("POST", PATH, choice | {"enabled": True})

    assert (first.status, first.body) == (200, choice)
    assert (second.status, second.body) == (200, choice | {"enabled": True})
    assert Preference.objects.get().enabled is True


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"channel": "SMS"}, ("", "SMS")),
        ({"eventType": "ORDER_PACKED", "channel": None}, ("ORDER_PACKED", "")),
        ({"eventType": "", "channel": ""}, ("", "")),
        ({"eventType": "ORDER_PLACED"}, ("ORDER_PLACED", "")),
    ],
)
def test_a_whole_channel_or_type_may_be_named(
    api: Caller, ada: User, given: dict[str, Any], kept: tuple[str, str]
) -> None:
    answer = api("POST", PATH, {"userId": str(ada.id), "enabled": False, **given})

    assert answer.status == 200
    assert (answer.body["eventType"], answer.body["channel"]) == kept


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"eventType": "ORDER_PLACED", "channel": "EMAIL"}, "channel"),
        ({"eventType": "FRAUD_ALERT", "channel": "SMS"}, "channel"),
        ({"eventType": "FRAUD_ALERT"}, "eventType"),
    ],
)
def test_what_is_mandatory_stays_on(api: Caller, ada: User, given: dict[str, Any], field: str) -> None:
    answer = api("POST", PATH, {"userId": str(ada.id), "enabled": False, **given})

    assert (answer.status, answer.code, list(answer.fields)) == (409, "MANDATORY", [field])
    assert not Preference.objects.exists()
    assert api("POST", PATH, {"userId": str(ada.id), "enabled": True, **given}).status == 200


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"eventType": "ORDER_LOST"}, "eventType"),
        ({"channel": "FAX"}, "channel"),
        ({"enabled": None}, "enabled"),
        ({"enabled": "perhaps"}, "enabled"),
        ({"userId": "x"}, "userId"),
        ({"event_type": "ORDER_PLACED"}, "event_type"),
    ],
)
def test_a_wrong_field_is_named(api: Caller, ada: User, change: dict[str, Any], field: str) -> None:
    answer = api("POST", PATH, {"userId": str(ada.id), "channel": "SMS", "enabled": False} | change)

    assert (answer.status, list(answer.fields)) == (400, [field])


def test_many_are_set_together_or_not_at_all(api: Caller, ada: User) -> None:
    choices = [{"channel": "SMS", "enabled": False}, {"eventType": "ORDER_SHIPPED", "channel": "SMS", "enabled": True}]

    answer = api("PUT", PATH, {"userId": str(ada.id), "preferences": choices})
    refused = api(
        "PUT",
        PATH,
        {
            "userId": str(ada.id),
            "preferences": [
                {"channel": "PUSH", "enabled": False},
                {"eventType": "ORDER_PLACED", "channel": "EMAIL", "enabled": False},
            ],
        },
    )
    wrong = api("PUT", PATH, {"userId": str(ada.id), "preferences": [choices[0], {"channel": "FAX", "enabled": True}]})

    assert [(row["eventType"], row["channel"], row["enabled"]) for row in answer.body["results"]] == [
        ("", "SMS", False),
        ("ORDER_SHIPPED", "SMS", True),
    ]
    assert refused.code == "MANDATORY"
    assert list(wrong.fields) == ["preferences.1.channel"]
    assert Preference.objects.count() == 2


def test_choices_are_listed_and_reset(api: Caller, ada: User) -> None:
    other = User.objects.create_user()
    Preference.objects.create(user=ada, channel="SMS", enabled=False)
    Preference.objects.create(user=other, channel="SMS", enabled=False)

    listed = api("GET", f"{PATH}?userId={ada.id}")
    reset = api("DELETE", f"{PATH}?userId={ada.id}")

    assert listed.body == {
        "results": [{"userId": str(ada.id), "eventType": "", "channel": "SMS", "enabled": False}],
        "next": None,
    }
    assert reset.status == 204
    assert Preference.objects.get().user == other


def test_nobody_has_no_choices(api: Caller) -> None:
    nobody = str(uuid4())

    assert api("GET", f"{PATH}?userId={nobody}").code == "NOT_FOUND"
    assert api("GET", PATH).fields == {"userId": "This field is required."}
    assert api("DELETE", f"{PATH}?userId=7").status == 400
    assert api("POST", PATH, {"userId": nobody, "channel": "SMS", "enabled": False}).status == 404
