"""Which template serves: what is published, the last good one where it breaks, and what an attempt says of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import Group
from django.db import IntegrityError, transaction

from notifier import serving
from notifier.models import Attempt, NotificationEvent, TemplateVersion
from notifier.querysets.templates import ChangedMeanwhile, Place
from notifier.render import RenderError, from_file
from notifier.serving import render_as, render_message
from preferences.models import Change, User
from tests import engine
from tests.notifier.test_render import FULL, PARTS, message
from tests.sandbox_process import Sandbox

pytestmark = pytest.mark.django_db

SMS = Place("ORDER_SHIPPED", "SMS", "en")
GOOD = "{% block text %}Good: {{ order_id }}{% endblock %}"
BETTER = "{% block text %}Better: {{ order_id }}{% endblock %}"
#: Right by the sample; on metadata without a carrier it fails.
BAD = "{% block text %}Bad: {{ metadata.carrier }}{% endblock %}"

DEEP = "{% block text %}" + "{% if 1 %}" * 150 + "{% endif %}" * 150 + "{% endblock %}"  # more than Python nests


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    serving.forget()
    yield
    serving.forget()


def serving_number(place: Place) -> int:
    row = TemplateVersion.objects.of(place).filter(state="PUBLISHED").first()
    return row.number if row else 0


def publish(source: str, place: Place = SMS) -> TemplateVersion:
    newest = TemplateVersion.objects.of(place).order_by("-number").first()
    base = newest.number if newest else 0
    version = TemplateVersion.objects.save_draft(place, source, note="why", author="ada", base=base)
    TemplateVersion.objects.publish(place, version.number, publisher="bea", instead_of=serving_number(place))
    serving._known.look_at = 0  # two seconds later
    return version


def text(locale: str = "en", **metadata: Any) -> str:
    serving.refresh()
    return render_message("SMS", PARTS["SMS"], "ORDER_SHIPPED", message(FULL | metadata, locale=locale)).parts["text"]


def without_carrier() -> dict[str, Any]:
    return {name: value for name, value in FULL.items() if name != "carrier"}


@pytest.fixture
def shipped(customer: Callable[..., User], sandbox: Sandbox) -> Callable[..., UUID]:
    """Record a shipped order of a customer who has only a phone, and send it; the event's id."""
    ada = customer(device="", email="")

    def ship(**metadata: Any) -> UUID:
        event = engine.trigger("ORDER_SHIPPED", ada.id, metadata={**without_carrier(), **metadata})
        engine.run()
        return event

    return ship


def attempts(event: UUID) -> list[str]:
    return list(
        Attempt.objects.filter(delivery__event_id=event, delivery__channel="SMS").values_list("template", flat=True)
    )


def texts(sandbox: Sandbox) -> list[str]:
    return [m["body"] for m in sandbox.messages() if m["channel"] == "SMS"]


def test_what_is_published_reaches_the_next_message(shipped: Callable[..., UUID], sandbox: Sandbox) -> None:
    file = from_file("ORDER_SHIPPED", "SMS", "en")
    assert file
    assert attempts(shipped()) == [file.label]
    version = publish(GOOD)
    assert attempts(shipped()) == [version.label]
    assert texts(sandbox)[-1] == "Good: ORD-1"
    TemplateVersion.objects.publish(SMS, None, publisher="bea", instead_of=version.number)
    serving._known.look_at = 0
    assert attempts(shipped()) == [file.label]


def test_processes_look_every_two_seconds_and_not_with_each_message(django_assert_num_queries: Any) -> None:
    serving.refresh()
    with django_assert_num_queries(0):
        text()
    publish(GOOD)
    assert text() == "Good: ORD-1"


def test_a_locale_gets_its_own_before_the_languages(settings: Any) -> None:
    german = publish("{% block text %}Hallo {{ order_id }}{% endblock %}", Place("ORDER_SHIPPED", "SMS", "de"))
    assert text("de-AT") == text("de") == "Hallo ORD-1"
    assert "on its way" in text("en")
    publish("{% block text %}Servus {{ order_id }}{% endblock %}", Place("ORDER_SHIPPED", "SMS", "de-AT"))
    assert (text("de-AT"), text("de")) == ("Servus ORD-1", "Hallo ORD-1")
    assert german.replaces is None


def test_a_broken_one_falls_back_and_is_told_once(
    shipped: Callable[..., UUID], sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    boss = User.objects.create_user("boss", is_staff=True)
    boss.groups.add(Group.objects.get_or_create(name="operations")[0])
    good = publish(GOOD)
    bad = publish(BAD)
    assert attempts(shipped(carrier="DHL")) == [bad.label]
    with caplog.at_level(logging.ERROR):
        assert attempts(shipped()) == [good.label]
        assert attempts(shipped()) == [good.label]
    assert texts(sandbox)[-1] == "Good: ORD-1"
    (event,) = NotificationEvent.objects.filter(event_type="DELIVERY_FAILED")
    assert event.metadata["cause"] == f"TEMPLATE {SMS} {bad.label}"
    assert len([r for r in caplog.records if "is broken" in r.message]) == 1
    bad.refresh_from_db()
    assert bad.broken_at
    assert "'dict object' has no attribute 'carrier'" in bad.broken_why
    serving.forget()  # another process, which has not met it
    assert text(carrier="DHL") == "Good: ORD-1"
    better = publish(BETTER)
    assert (text(), better.number) == ("Better: ORD-1", serving_number(SMS))
    better.refresh_from_db()
    assert better.replaces == good.number, "what is broken is not fallen back to"


@pytest.mark.parametrize(
    "source",
    ["{% block text %}{{ order_id }", "{% block text %}{{ 1 // 0 }}{% endblock %}", "", DEEP],
    ids=["syntax", "zero", "empty", "deep"],
)
def test_one_that_does_not_even_compile_never_serves(source: str) -> None:
    publish(source)
    assert "on its way" in text()
    assert TemplateVersion.objects.get().broken_at


def test_one_that_somebody_deleted_stops_nothing() -> None:
    good = publish(GOOD)
    publish(BETTER)
    TemplateVersion.objects.filter(number=good.number).delete()
    assert text() == "Better: ORD-1"


def test_what_no_template_can_render_is_the_messages_fault() -> None:
    version = publish(GOOD.replace("order_id", "metadata.orderId.x.y"))
    serving.refresh()
    with pytest.raises(RenderError):
        render_message("SMS", {"nothing": "text"}, "ORDER_SHIPPED", message())
    version.refresh_from_db()
    assert version.broken_at is None


def test_a_rolled_back_version_serves_again() -> None:
    first, second = publish(GOOD), publish(BETTER)
    TemplateVersion.objects.publish(SMS, first.number, publisher="ada", instead_of=second.number)
    serving._known.look_at = 0
    assert text() == "Good: ORD-1"
    TemplateVersion.objects.publish(SMS, first.number, publisher="ada", instead_of=first.number)
    first.refresh_from_db()
    assert first.replaces == second.number, "never itself"
    assert dict(TemplateVersion.objects.values_list("number", "state")) == {
        first.number: "PUBLISHED",
        second.number: "SUPERSEDED",
    }


def test_two_do_not_overwrite_one_another() -> None:
    first = publish(GOOD)
    with pytest.raises(ChangedMeanwhile) as met:
        TemplateVersion.objects.save_draft(SMS, BETTER, note="", author="bea", base=0)
    assert met.value.number == first.number
    with pytest.raises(ChangedMeanwhile):
        TemplateVersion.objects.publish(SMS, first.number, publisher="bea", instead_of=0)
    with pytest.raises(IntegrityError), transaction.atomic():
        TemplateVersion.objects.create(
            event_type="ORDER_SHIPPED", channel="SMS", locale="en", source="", author="", state="PUBLISHED"
        )


def test_an_attempts_template_can_be_shown_again() -> None:
    version = publish(GOOD)
    publish(BETTER)
    file = from_file("ORDER_SHIPPED", "SMS", "en")
    assert file
    shown = [render_as(label, "SMS", PARTS["SMS"], "ORDER_SHIPPED", message()) for label in (version.label, file.label)]
    assert shown[0] == {"text": "Good: ORD-1"}
    assert "on its way" in shown[1]["text"]
    for gone, why in (("f:00000000", "has changed since"), ("", "has changed since"), ("v0", "no version v0")):
        with pytest.raises(LookupError, match=why):
            render_as(gone, "SMS", PARTS["SMS"], "ORDER_SHIPPED", message())


def test_the_history_says_who_published_what() -> None:
    version = publish(GOOD)
    told = Change.objects.filter(kind="TEMPLATE", object_id=str(version.number)).order_by("id")
    assert [(c.action, (c.after or {}).get("state")) for c in told] == [("INSERT", "DRAFT"), ("UPDATE", "PUBLISHED")]
    assert "source" not in (told[0].after or {})


@pytest.mark.parametrize(
    "source",
    [
        "{% block text %}{% for a in metadata['items'] * 999 %}x{% endfor %}{% endblock %}",
        "{% block text %}{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}{% endblock %}",
        "{% block text %}{% for a in range(999) %}{% for b in range(999) %}xxxxx{% endfor %}{% endfor %}{% endblock %}",
    ],
    ids=["rounds", "nested rounds", "length"],
)
def test_what_is_endless_ends(source: str) -> None:
    publish(source)
    assert "on its way" in text()
    assert "TooMuchError" in TemplateVersion.objects.get().broken_why
