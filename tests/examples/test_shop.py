"""Both sides: an order in the shop, its outbox, Notifier's API, a worker, the sandbox, and back on the order's page."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from playwright.sync_api import sync_playwright

from notifier.models import NotificationEvent
from preferences.models import Preference, User
from tests import processes
from tests.examples.browser import Browser
from tests.examples.conftest import Street
from tests.sandbox_process import Sandbox

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]

Customer = Callable[..., User]
CHROMIUM = Path("/usr/bin/chromium")
ADA = UUID("01920000-0000-7000-8000-0000000000a1")
STRANGER = UUID("01920000-0000-7000-8000-0000000000ff")
ADMIN = {"DJANGO_SUPERUSER_PASSWORD": "open-sesame-7", "DJANGO_SUPERUSER_EMAIL": "boss@shop.example"}
BASKET = {"lamp": 1, "notebook": 3, "teapot": 0, "blanket": 0}


def place(browser: Browser, customer: object = ADA, **basket: object) -> str:
    """Order as a person does; the order's path."""
    browser.go("/")
    browser.send("/orders/", customer=customer, **{**BASKET, **basket})
    assert browser.status == 200, browser.text
    return browser.address.removeprefix(browser.home)


def told(browser: Browser, path: str, text: str) -> str:
    """The page once it says so."""
    processes.wait_for(lambda: text in browser.go(path), f"{text!r} on the page", 30)
    return browser.text


def events(path: str) -> list[NotificationEvent]:
    number = path.strip("/").rpartition("/")[2]
    return list(NotificationEvent.objects.filter(order_id=number).order_by("recorded_at"))


@pytest.fixture
def ada(street: Street, customer: Customer) -> User:
    street.take_in({"id": str(ADA), "name": "Ada Archer", "note": "all channels"})
    user = customer(id=ADA)
    Preference.objects.create(user=user, event_type="", channel="PUSH", enabled=False)
    return user


def test_an_orders_page_shows_what_its_customer_was_told(street: Street, ada: User, sandbox: Sandbox) -> None:
    browser = street.browser()
    path = place(browser)
    assert "is placed. Ada Archer will hear of it." in browser.text
    told(browser, path, "Order placed : every step sent")
    for step in ("CONFIRMED", "PACKED", "SHIPPED"):
        browser.send(f"{path}steps/", step=step)
    text = told(browser, path, "Order shipped : every step sent")
    assert re.search(r"Text twilio, [\d,]+ ms sent", text)
    assert "Push the customer does not want these left out" in text
    assert browser.page.index("Order shipped") < browser.page.index("Order placed")
    processes.wait_for(lambda: all(event.settled_at for event in events(path)), "all settled", 30)
    found = events(path)
    assert [event.event_type for event in found] == ["ORDER_PLACED", "ORDER_CONFIRMED", "ORDER_PACKED", "ORDER_SHIPPED"]
    assert {event.source for event in found} == {"example-shop"}
    assert [event.metadata["total"] for event in found] == ["126.50"] * 4
    messages = sandbox.messages()
    assert [m["channel"] for m in messages if m["eventType"] == "ORDER_SHIPPED"].count("EMAIL") == 1
    assert len({m["deliveryId"] for m in messages}) == len(messages)
    assert 'http-equiv="refresh"' not in (browser.go(path) and browser.page)
    assert "Nothing waits." in browser.go("/outbox/")
    assert "ORDER_SHIPPED" in browser.text


def test_an_events_page_has_every_step(street: Street, ada: User) -> None:
    browser = street.browser()
    path = place(browser)
    told(browser, path, "Order placed : every step sent")
    (event,) = events(path)
    text = browser.go(f"{path}events/{event.id}/")
    assert re.search(r"Event recorded by example-shop .*Email planned .*Event settled sent", text)
    assert re.search(r"Email 1 sendgrid accepted 202", text)
    browser.go(f"{path}events/{STRANGER}/")
    assert browser.status == 404


def test_a_guest_is_told_at_the_address_of_the_order(street: Street, sandbox: Sandbox) -> None:
    guest = {"email": "gina@mail.example", "locale": "de", "timeZone": "Europe/Berlin"}
    street.take_in({"name": "Gina Green", "recipient": guest})
    browser = street.browser()
    browser.go("/")
    found = re.search(r'value="([0-9a-f-]{36})" required[^>]*>\s*<span[^>]*>G<', browser.page)
    assert found
    path = place(browser, found[1])
    told(browser, path, "Order placed : every step sent")
    assert [m["to"] for m in sandbox.messages() if m["channel"] == "EMAIL"] == ["gina@mail.example"]


def test_orders_go_on_while_notifier_is_away(street: Street, ada: User) -> None:
    browser = street.browser()
    path = place(browser)
    told(browser, path, "Order placed : every step sent")
    street.silence()
    began = time.monotonic()
    text = browser.send(f"{path}steps/", step="CONFIRMED")
    assert time.monotonic() - began < 5  # the page asked Notifier for two seconds; the order did not
    assert "Notifier cannot be asked right now." in text
    assert "ORDER_CONFIRMED" in text
    assert 'http-equiv="refresh"' in browser.page
    browser.send(f"{path}steps/", step="CANCELLED")
    browser.go(f"{path}events/{STRANGER}/")
    assert "cannot be shown now" in browser.text
    street.wake()
    told(browser, path, "Order cancelled : every step sent")
    assert [event.event_type for event in events(path)] == ["ORDER_PLACED", "ORDER_CONFIRMED", "ORDER_CANCELLED"]
    assert "money is on its way back" in events(path)[-1].metadata["reason"]


def test_what_notifier_refuses_is_shown_and_sent_again(street: Street, customer: Customer) -> None:
    street.take_in({"id": str(STRANGER), "name": "Sam Stranger", "note": "unknown to Notifier"})
    browser = street.browser()
    path = place(browser, STRANGER)
    text = told(browser, path, "was refused by Notifier.")
    assert "userId" in text
    customer(id=STRANGER)
    text = browser.go("/outbox/")
    assert "1 refused" in text
    again = re.search(r'action="(/outbox/[^"]+/again/)"', browser.page)
    assert again
    assert "It goes out with the next sweep." in browser.send(again[1])
    told(browser, path, "Order placed : every step sent")


def test_the_shops_admin_shows_the_outbox(street: Street, customer: Customer) -> None:
    street.take_in({"id": str(STRANGER), "name": "Sam Stranger"})
    street.manage("createsuperuser", "--no-input", DJANGO_SUPERUSER_USERNAME="chief", **ADMIN)
    browser = street.browser()
    path = place(browser, STRANGER)
    told(browser, path, "was refused by Notifier.")
    browser.go("/admin/login/")
    browser.send("/admin/login/?next=/admin/notifier_outbox/outboxevent/", username="chief", password="open-sesame-7")
    number = path.strip("/").rpartition("/")[2]
    assert "refused" in browser.go(f"/admin/notifier_outbox/outboxevent/?q={number}").lower()
    assert "userId" in browser.text
    row = re.search(r'name="_selected_action" value="([^"]+)"', browser.page)
    assert row
    customer(id=STRANGER)
    browser.send(f"/admin/notifier_outbox/outboxevent/?q={number}", action="send_again", _selected_action=row[1])
    assert "1 refused events wait for the next sweep." in browser.text
    told(browser, path, "Order placed : every step sent")
    assert browser.go(f"/admin/notifier_outbox/outboxevent/{row[1]}/change/")
    assert str(STRANGER) in browser.text
    browser.go("/admin/notifier_outbox/outboxevent/add/")
    assert browser.status == 403


def test_steps_that_cannot_be_taken_change_nothing(street: Street, ada: User) -> None:
    browser = street.browser()
    path = place(browser)
    assert "is placed and cannot be shipped now." in browser.send(f"{path}steps/", step="SHIPPED")
    browser.send(f"{path}steps/", step="LOST")
    assert browser.status == 404
    browser.go("/")
    browser.send("/orders/ORD-1/steps/", step="PACKED")
    assert browser.status == 404
    browser.go(path)
    browser.send(f"{path}steps/", step="CANCELLED")
    assert "cannot be cancelled now." in (browser.go("/") and browser.send(f"{path}steps/", step="CANCELLED"))
    browser.go("/orders/ORD-1/")
    assert browser.status == 404


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"lamp": 0, "notebook": 0}, "Choose something first."),
        ({"lamp": 100}, "between 1 and 99"),
        ({"lamp": "many"}, "whole numbers"),
        ({"customer": "nobody"}, "Choose a customer"),
    ],
)
def test_an_order_that_makes_no_sense_is_not_placed(
    street: Street, ada: User, fields: dict[str, object], said: str
) -> None:
    browser = street.browser()
    browser.go("/")
    assert said in browser.send("/orders/", **{"customer": ADA, **BASKET, **fields})
    assert browser.address == f"{browser.home}/"
    assert not NotificationEvent.objects.exists()


def test_what_notifier_was_not_told_is_found_by_the_shops_list(street: Street, ada: User) -> None:
    browser = street.browser()
    path = place(browser)
    told(browser, path, "Order placed : every step sent")
    browser.send(f"{path}steps/", step="CONFIRMED")
    told(browser, path, "Order confirmed : every step sent")
    number = path.strip("/").rpartition("/")[2]

    def found(*arguments: str) -> list[tuple[object, object, object]]:
        lines = street.reconcile(*arguments)
        return [(line["finding"], line["eventType"], line["outcome"]) for line in lines if line["orderId"] == number]

    assert found() == []
    processes.wait_for(lambda: all(event.settled_at for event in events(path)), "all settled", 30)
    NotificationEvent.objects.filter(order_id=number, event_type="ORDER_CONFIRMED").delete()
    assert ("BEHIND", "ORDER_CONFIRMED", "RECORDABLE") in found()
    assert ("BEHIND", "ORDER_CONFIRMED", "RECORDED") in found("--record")
    assert events(path)[-1].metadata["eta"]


@pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Debian's Chromium")
def test_the_pages_fit_phones_and_desks_and_need_no_script(street: Street, ada: User) -> None:
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]) as browser,
    ):
        page = browser.new_page(java_script_enabled=False)
        page.goto(f"{street.shop}/")
        page.get_by_role("button", name="Place the order").click()
        path = page.url
        told(street.browser(), path, "Order placed : every step sent")
        for name in ("Take the payment", "Pack", "Ship"):
            page.goto(path)
            page.get_by_role("button", name=name, exact=True).click()
        told(street.browser(), path, "Order shipped : every step sent")
        page.goto(path)
        page.get_by_role("link", name="Order shipped").click()
        for url in (f"{street.shop}/", path, page.url, f"{street.shop}/outbox/"):
            for width in (320, 390, 900, 1280):
                page.set_viewport_size({"width": width, "height": 800})
                page.goto(url)
                assert page.evaluate("document.documentElement.scrollWidth") <= width, (url, width)


def test_its_migrations_and_the_outboxs_are_complete(street: Street) -> None:
    ran = street.manage("makemigrations", "--check", "--dry-run")
    assert (ran.returncode, ran.stdout) == (0, "No changes detected\n")


def test_a_shop_without_notifiers_address_says_so_at_the_start(street: Street) -> None:
    ran = street.manage("check", NOTIFIER_URL="", NOTIFIER_API_KEY="")
    assert ran.returncode == 1
    assert "NOTIFIER_OUTBOX: URL and API_KEY missing; give both, or SENDER." in ran.stderr
    missing = street.manage("open_shop", "no-such-file.json")
    assert (missing.returncode, "customers:" in missing.stderr) == (1, True)
