"""The pages for customers, as a browser without JavaScript gets them."""

from __future__ import annotations

import gettext
from collections.abc import Callable
from datetime import time, timedelta
from html import unescape
from pathlib import Path
from re import findall
from typing import Any
from uuid import UUID, uuid4

import pytest
from babel.messages.pofile import read_po
from django.conf import settings
from django.test import Client
from pytest_django.fixtures import Settings

from notifier import links
from notifier.catalogue import event_types
from notifier.models import Delivery
from preferences.models import Preference, SuppressedAddress, User
from tests import engine
from tests.sandbox_process import Sandbox

pytestmark = pytest.mark.django_db

Customer = Callable[..., User]


@pytest.fixture(autouse=True)
def _no_collected_files(settings: Settings) -> None:
    """Tests run without collectstatic, as development does."""
    settings.WHITENOISE_AUTOREFRESH = True


@pytest.fixture
def ada(customer: Customer) -> User:
    return customer(locale="de-AT", time_zone="Europe/Vienna")


def page(user: User) -> str:
    return path(links.preferences_url(user.id))


def path(url: str) -> str:
    return url.removeprefix(settings.PUBLIC_URL)


def choices(user: User) -> dict[tuple[str, str], bool]:
    rows = Preference.objects.filter(user=user).values_list("event_type", "channel", "enabled")
    return {(event_type, channel): enabled for event_type, channel, enabled in rows}


def form_of(html: str) -> dict[str, list[str]]:
    """What a browser would post as it stands."""
    boxes = findall(r'name="on" value="([^"]+)"(?: checked)>', html)
    (seen,) = findall(r'name="seen" value="([^"]*)"', html)
    return {"seen": [seen], "on": boxes}


class TestPreferences:
    def test_it_shows_what_there_is_to_choose(self, ada: User, sandbox: Sandbox) -> None:
        answer = Client().get(page(ada))
        html = unescape(answer.content.decode())
        assert answer.status_code == 200
        assert '<html lang="de">' in html
        assert "a•••@shop.example" in html
        assert ada.email not in html
        assert "Immer per E-Mail:" in html
        assert form_of(html)["on"]  # everything is on
        assert (answer["Referrer-Policy"], answer["Cache-Control"][:7]) == ("no-referrer", "max-age")

    def test_a_choice_is_saved_and_shown(self, ada: User, sandbox: Sandbox) -> None:
        link = page(ada)  # once, as each second signs another
        form = form_of(Client().get(link).content.decode())
        form["on"].remove("ORDER_SHIPPED.SMS")
        answer = Client().post(link, form, follow=True)
        assert answer.redirect_chain == [(f"{link}?saved", 303)]
        assert choices(ada) == {("ORDER_SHIPPED", "SMS"): False}
        html = answer.content.decode()
        assert "Gespeichert" in html
        assert "ORDER_SHIPPED.SMS" not in form_of(html)["on"]

    def test_a_whole_channel_off_and_on_again(self, ada: User, sandbox: Sandbox) -> None:
        Preference.objects.create(user=ada, event_type="ORDER_SHIPPED", channel="SMS", enabled=True)
        form = form_of(Client().get(page(ada)).content.decode())
        Client().post(page(ada), {**form, "on": [name for name in form["on"] if name != ".SMS"]})
        assert choices(ada) == {("", "SMS"): False}
        form = form_of(Client().get(page(ada)).content.decode())
        assert not [name for name in form["on"] if name.endswith(".SMS")]
        Client().post(page(ada), {**form, "on": [*form["on"], ".SMS"]})
        assert choices(ada) == {("", "SMS"): True}

    def test_a_page_that_was_open_for_long_undoes_nothing(self, ada: User, sandbox: Sandbox) -> None:
        old = form_of(Client().get(page(ada)).content.decode())
        Preference.objects.create(user=ada, event_type="ORDER_PACKED", channel="PUSH", enabled=False)
        old["on"].remove("ORDER_SHIPPED.SMS")
        Client().post(page(ada), old)
        assert choices(ada) == {("ORDER_PACKED", "PUSH"): False, ("ORDER_SHIPPED", "SMS"): False}

    def test_quiet_hours_language_and_time_zone(self, ada: User, sandbox: Sandbox) -> None:
        form = {"quiet_from": "22:00", "quiet_until": "06:30", "time_zone": "Asia/Tokyo", "locale": "en"}
        answer = Client().post(page(ada), form, follow=True)
        ada.refresh_from_db()
        assert (ada.quiet_from, ada.quiet_until) == (time(22), time(6, 30))
        assert (ada.time_zone, ada.locale) == ("Asia/Tokyo", "en")
        assert '<html lang="en">' in answer.content.decode()
        Client().post(page(ada), {"quiet_from": "", "quiet_until": ""})
        ada.refresh_from_db()
        assert ada.quiet_from is None

    @pytest.mark.parametrize(
        "wrong",
        [
            {"quiet_from": "22:00", "quiet_until": ""},
            {"quiet_from": "22:00", "quiet_until": "22:00"},
            {"quiet_from": "late"},
            {"time_zone": "Mars/Olympus"},
            {"locale": ""},
        ],
    )
    def test_what_is_wrong_is_said_and_nothing_is_saved(
        self, ada: User, sandbox: Sandbox, wrong: dict[str, str]
    ) -> None:
        answer = Client().post(page(ada), {**wrong, "seen": "ORDER_SHIPPED.SMS"})
        assert answer.status_code == 400
        html = answer.content.decode()
        assert 'role="alert"' in html
        assert f'value="{wrong.get("quiet_from", "")}"' in html  # what was typed stands there still
        assert choices(ada) == {}
        ada.refresh_from_db()
        assert (ada.quiet_from, ada.time_zone) == (None, "Europe/Vienna")

    def test_back_to_the_defaults(self, ada: User, sandbox: Sandbox) -> None:
        Preference.objects.create(user=ada, channel="SMS", enabled=False)
        Client().post(page(ada), {"reset": "1"})
        assert choices(ada) == {}

    def test_htmx_gets_the_form_alone(self, ada: User, sandbox: Sandbox) -> None:
        answer = Client().post(page(ada), {"seen": "ORDER_SHIPPED.SMS"}, headers={"HX-Request": "true"})
        assert answer.status_code == 200
        html = answer.content.decode()
        assert html.lstrip().startswith("<form")
        assert "Gespeichert" in html
        assert choices(ada) == {("ORDER_SHIPPED", "SMS"): False}

    def test_a_dead_link_tells_nothing(self, ada: User, settings: Settings) -> None:
        good = page(ada)
        assert Client().get(good[:-1]).status_code == 404
        assert Client().get("/preferences/x").status_code == 404
        answer = Client().get("/preferences/x", headers={"Accept-Language": "de"})
        assert "funktioniert nicht mehr" in answer.content.decode()
        settings.PAGE_LINK_LIFETIME = timedelta(seconds=-1)
        assert Client().post(good, {"reset": "1"}).status_code == 404
        settings.PAGE_LINK_LIFETIME = timedelta(days=1)
        ada.delete()
        assert Client().get(good).status_code == 404


class TestUnsubscribe:
    def test_every_mail_carries_its_links(self, ada: User, sandbox: Sandbox) -> None:
        mail = self.mail(sandbox, "ORDER_CONFIRMED", ada)
        one_click = mail["headers"]["List-Unsubscribe"].strip("<>")
        assert mail["headers"]["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
        for part in (mail["text"], unescape(mail["html"])):
            assert one_click in part
            assert f"{settings.PUBLIC_URL}/preferences/" in part

    def test_a_receipt_has_only_the_link_to_the_page(self, ada: User, sandbox: Sandbox) -> None:
        mail = self.mail(sandbox, "ORDER_PLACED", ada)
        assert "List-Unsubscribe" not in mail["headers"]
        assert "/unsubscribe/" not in mail["html"]
        (link,) = findall(rf"{settings.PUBLIC_URL}(/preferences/\S+)", mail["text"])
        assert Client().get(link).status_code == 200

    def test_one_click_ends_mails_of_the_kind(self, ada: User, sandbox: Sandbox) -> None:
        link = self.link(self.mail(sandbox, "ORDER_CONFIRMED", ada))
        answer = Client().post(link, {"List-Unsubscribe": "One-Click"})
        assert answer.status_code == 200
        assert choices(ada) == {("ORDER_CONFIRMED", "EMAIL"): False}
        assert engine.states(self.sent("ORDER_CONFIRMED", ada))["EMAIL"] == "SKIPPED OPTED_OUT"

    def test_to_look_changes_nothing(self, ada: User, sandbox: Sandbox) -> None:
        """Mail scanners follow every link."""
        link = self.link(self.mail(sandbox, "ORDER_CONFIRMED", ada))
        for method in ("get", "head", "options"):
            assert getattr(Client(), method)(link).status_code == 200
        assert choices(ada) == {}

    def test_all_mails_end_but_the_mandatory(self, ada: User, sandbox: Sandbox) -> None:
        Preference.objects.create(user=ada, event_type="ORDER_SHIPPED", channel="EMAIL", enabled=True)
        link = self.link(self.mail(sandbox, "ORDER_CONFIRMED", ada))
        Client().post(link, {"what": "all"})
        assert choices(ada) == {("", "EMAIL"): False}
        assert engine.states(self.sent("ORDER_PLACED", ada))["EMAIL"] == "SENT"

    def test_a_mistake_is_undone(self, ada: User, sandbox: Sandbox) -> None:
        link = self.link(self.mail(sandbox, "ORDER_CONFIRMED", ada))
        Client().post(link, {"what": "type"})
        answer = Client().post(link, {"undo": "1"})
        assert "wieder" in answer.content.decode()
        assert choices(ada) == {}

    def test_a_mandatory_mail_says_why_it_comes(self, ada: User) -> None:
        receipt = links.links(event_types()["ORDER_PLACED"], "SMS", ada.id, uuid4()).unsubscribe
        answer = Client().post(path(receipt), {"what": "type"})
        assert "Das ist Ihr Beleg." in answer.content.decode()
        assert choices(ada) == {}

    def test_a_guest_ends_all_mail_to_the_address(self, db: None, sandbox: Sandbox) -> None:
        guest = {"email": "Gast@Mail.example", "locale": "de"}
        engine.trigger("ORDER_CONFIRMED", recipient=guest)
        engine.run()
        (mail,) = sandbox.messages()
        assert "/preferences/" not in mail["html"]
        link = self.link(mail)
        assert "G•••@Mail.example" in Client().get(link).content.decode()
        Client().post(link, {"List-Unsubscribe": "One-Click"})
        assert SuppressedAddress.objects.get().reason == "OPTED_OUT"
        later = engine.trigger(
            "ORDER_SHIPPED", recipient=guest, metadata={"orderId": "O", "trackingUrl": "https://t.e"}
        )
        engine.run()
        assert engine.states(later)["EMAIL"] == "SKIPPED SUPPRESSED"
        Client().post(link, {"undo": "1"})
        assert not SuppressedAddress.objects.exists()

    def test_a_link_never_expires_and_a_dead_one_tells_nothing(self, ada: User, settings: Settings) -> None:
        link = path(links.links(event_types()["ORDER_PACKED"], "EMAIL", ada.id, uuid4()).unsubscribe)
        settings.PAGE_LINK_LIFETIME = timedelta(seconds=-1)
        assert Client().get(link).status_code == 200
        guest = path(links.links(event_types()["ORDER_PACKED"], "EMAIL", None, uuid4()).unsubscribe)
        assert [Client().get(dead).status_code for dead in (guest, link[:-1], "/unsubscribe/x")] == [404] * 3
        ada.delete()
        assert Client().post(link).status_code == 404

    def mail(self, sandbox: Sandbox, event_type: str, user: User) -> dict[str, Any]:
        self.sent(event_type, user)
        (mail,) = [message for message in sandbox.messages() if message["channel"] == "EMAIL"]
        return mail

    def sent(self, event_type: str, user: User) -> UUID:
        event = engine.trigger(event_type, user.id)
        engine.run()
        assert Delivery.objects.filter(event_id=event).exists()
        return event

    def link(self, mail: dict[str, Any]) -> str:
        return path(mail["headers"]["List-Unsubscribe"].strip("<>"))


def test_the_german_words_are_compiled_and_whole() -> None:
    folder = Path(settings.LOCALE_PATHS[0]) / "de" / "LC_MESSAGES"
    with (folder / "django.po").open("rb") as text, (folder / "django.mo").open("rb") as compiled:
        written = {str(message.id): message.string for message in read_po(text) if message.id}
        found = gettext.GNUTranslations(compiled)
    assert {source: found.gettext(source) for source in written} == written
    kinds = [kind for kind in event_types().values() if kind.topic]
    words = {word for kind in kinds for word in (kind.label, kind.meaning, kind.topic, kind.why_mandatory)} - {""}
    assert words <= written.keys()
