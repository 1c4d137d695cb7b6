"""The admin's timeline: who is found by what, what it says, and who may read the messages."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import sync_playwright
from pytest_django.fixtures import Settings

from channels.models import BreakerChange
from notifier.content import content_of
from notifier.fingerprint import fingerprint
from notifier.models import Attempt, DeadLetter, Delivery, NotificationEvent
from notifier.querysets.events import Person
from notifier.timeline import whole_events
from preferences import resolve
from preferences.models import User
from preferences.resolve import Recipient
from tests import engine
from tests.access.test_matrix import changes
from tests.letters import make_event
from tests.sandbox_process import Sandbox

pytestmark = pytest.mark.django_db

PAGE = reverse("admin:notifier_notificationevent_timeline")
CHROMIUM = Path("/usr/bin/chromium")
METADATA = {"orderId": "ORD123", "trackingUrl": "https://track.example/7", "carrier": "Pigeon"}


@pytest.fixture
def staff(settings: Settings, client: Client, sandbox: Sandbox) -> Client:
    """May see events, and nothing else."""
    settings.WHITENOISE_AUTOREFRESH = True  # no collectstatic in tests
    reader = User.objects.create_user("reader", password="open-sesame-7", is_staff=True)
    reader.user_permissions.add(Permission.objects.get(codename="view_notificationevent"))
    client.force_login(reader, backend="django.contrib.auth.backends.ModelBackend")
    return client


@pytest.fixture
def event(db: None) -> NotificationEvent:
    """An SMS that Twilio did not take while its breaker was open for others, and the mail that stood in."""
    now = timezone.now()
    ada = User.objects.create_user(email="ada@mail.example", phone="+4915112345678", locale="en")
    event = make_event(user=ada, order_id="ORD123", status="SENT", metadata=METADATA)
    sms = Delivery.objects.create(event=event, channel="SMS", status="FAILED", detail="gave up", finished_at=now)
    Attempt.objects.create(
        delivery=sms, number=1, provider="twilio", started_at=now, finished_at=now + timedelta(milliseconds=120),
        outcome="INVALID_RECIPIENT", code="21211", http_status=400, address_hash=fingerprint("+4915112345678"),
    )  # fmt: skip
    Delivery.objects.create(
        event=event, channel="EMAIL", status="SENT", sent_at=now, provider="sendgrid", fallback_of="SMS"
    )
    DeadLetter.objects.create(delivery=sms, event_type="ORDER_SHIPPED", channel="SMS", cause="INVALID_RECIPIENT")
    return event


def asked(client: Client, term: str, **more: str) -> str:
    answer = client.post(PAGE, {"q": term, **more}, follow=True)
    assert answer.status_code == 200
    return str(answer.content.decode())


@pytest.mark.parametrize(
    "term",
    ["ORD123", "{event.id}", "{event.user_id}", " ada@mail.example", "+49 151 12345678", "0049 (151) 123-45678"],
)
def test_an_events_story_is_found_by(staff: Client, event: NotificationEvent, term: str) -> None:
    make_event(order_id="ORD2", recipient={"email": "other@mail.example"})
    before = changes()
    page = asked(staff, term.format(event=event))

    assert changes() == before
    assert "SMS to +49•••78 was not delivered: twilio refused the address (21211) at " in page
    assert "EMAIL to a•••@mail.example was accepted by sendgrid at " in page
    for shown in ("120 ms", "INVALID_RECIPIENT", "Its dead letter: send it again", f"event {event.id}"):
        assert shown in page
    assert "ORD2" not in page


def test_an_address_stands_in_no_url(staff: Client, event: NotificationEvent) -> None:
    assert staff.post(PAGE, {"q": "ada@mail.example"}).status_code == 200
    assert staff.post(PAGE, {"q": "+4915112345678"}).status_code == 200
    assert staff.post(PAGE, {"q": "ORD 1&2"}).headers["Location"] == f"{PAGE}?q=ORD+1%262"


@pytest.mark.parametrize("term", ["ORD404", "nobody@mail.example", "\0", "01920000-0000-7000-8000-0000000000ff", "0"])
def test_what_is_not_there_is_said(staff: Client, event: NotificationEvent, term: str) -> None:
    assert "Nothing was found" in asked(staff, term)


def test_a_guest_is_found_by_both_addresses_page_by_page(staff: Client) -> None:
    now = timezone.now()
    for number in range(12):
        make_event(
            order_id=f"G{number:02}",
            recipient={"email": "Gina@mail.example", "phone": "+4915112345699"},
            recorded_at=now - timedelta(hours=number),
        )

    first = asked(staff, "gina@mail.example")
    older = first.split('name="before" value="')[1].split('"')[0]
    second = asked(staff, "gina@mail.example", before=older)

    assert ["G00," in first, "G09," in first, "G10," in first] == [True, True, False]
    assert ["G09," in second, "G10," in second, "G11," in second] == [False, True, True]
    assert "Older</button>" not in second
    assert "G00," in asked(staff, "+49 151 123456 99")
    assert "There is nothing older." in asked(staff, "gina@mail.example", before=str(uuid4()))


def test_a_providers_outage_is_named(staff: Client, event: NotificationEvent) -> None:
    at = event.recorded_at
    for state, seconds in (("OPEN", -60), ("HALF_OPEN", -40), ("OPEN", -39), ("HALF_OPEN", 9), ("CLOSED", 10)):
        BreakerChange.objects.create(
            channel="SMS", provider="twilio", state=state, at=at + timedelta(seconds=seconds), reason="5 of 5 failed"
        )
    BreakerChange.objects.create(channel="PUSH", provider="fcm", state="OPEN", at=at, reason="not of this event")
    NotificationEvent.objects.update(settled_at=at + timedelta(seconds=5))

    page = asked(staff, "ORD123")

    assert page.count("breaker was open from") == 1
    assert "(5 of 5 failed), so its calls failed for others too." in page
    assert "not of this event" not in page


def test_messages_are_read_with_a_permission_of_their_own(staff: Client, event: NotificationEvent) -> None:
    own = reverse("admin:notifier_notificationevent_change", args=[event.id])
    NotificationEvent.objects.update(metadata=METADATA)
    assert "What EMAIL says" not in asked(staff, "ORD123") + staff.get(own).content.decode()

    User.objects.get(username="reader").user_permissions.add(Permission.objects.get(codename="view_content"))
    for page in (asked(staff, "ORD123"), staff.get(own).content.decode()):
        assert "What EMAIL says" in page
        assert "Rendered now, with today&#x27;s template" in page
        assert '<iframe sandbox loading="lazy" title="The mail as HTML" srcdoc="&lt;' in page
        assert "https://track.example/7" in page
        assert "/unsubscribe/…" in page, "its token would change the person's choices"


def test_a_message_is_shown_by_the_template_it_went_out_with(sandbox: Sandbox, customer: Callable[..., User]) -> None:
    user = customer()
    sent = engine.trigger("ORDER_CONFIRMED", user.id)
    engine.run()
    shown = content_of(*_told(sent))
    assert shown
    assert shown.by.startswith("as it went out, by template f:")

    Attempt.objects.update(template="f:00000000")
    changed = content_of(*_told(sent))
    assert changed
    assert changed.by == "with today's template. The file that it was rendered with has changed since."
    assert changed.text == shown.text


def _told(event_id: UUID) -> tuple[NotificationEvent, Delivery, Recipient]:
    event = whole_events().get(pk=event_id)
    mail = next(delivery for delivery in event.deliveries.all() if delivery.channel == "EMAIL")
    assert event.user_id
    return event, mail, resolve.load([event.user_id])[event.user_id]


def test_of_the_forgotten_there_is_nothing_to_show(staff: Client, event: NotificationEvent) -> None:
    User.objects.get(username="reader").user_permissions.add(Permission.objects.get(codename="view_content"))
    NotificationEvent.objects.erase([event.id])
    page = asked(staff, "ORD123")

    assert "Its recipient was forgotten: there is nothing to show." in page
    assert "iframe" not in page
    assert NotificationEvent.objects.of_person(Person(user_id=event.user_id), 5) == [event.id]


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Debian's Chromium")
@pytest.mark.django_db(transaction=True)
def test_a_new_operator_finds_why_an_orders_sms_did_not_come(
    staff: Client, event: NotificationEvent, request: pytest.FixtureRequest
) -> None:
    live_server = request.getfixturevalue("live_server")  # after `staff`, which says where static files come from
    User.objects.get(username="reader").user_permissions.add(Permission.objects.get(codename="view_content"))
    cookie = {"name": "sessionid", "value": staff.cookies["sessionid"].value, "url": live_server.url}
    # the driver runs an event loop of its own, in which Django's ORM refuses to work: a thread of its own
    with ThreadPoolExecutor(1) as thread:
        said, frame = thread.submit(_look, f"{live_server.url}/admin/", cookie).result()

    assert "SMS to +49•••78 was not delivered: twilio refused the address (21211)" in said
    assert "Pigeon" in frame


def _look(home: str, cookie: Any) -> tuple[str, str]:
    """What an operator does: opens Timeline, types, reads, and opens the mail; the answer and the mail's text."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        context = browser.new_context()
        context.add_cookies([cookie])
        page = context.new_page()
        page.goto(home)
        page.get_by_role("link", name="Timeline").first.click()
        page.wait_for_url("**/timeline/")
        page.locator("#q:focus").wait_for()  # nobody has to click into it
        page.locator("#q").fill("ORD123")
        page.locator("#q").press("Enter")
        said = page.locator(".story-answer").inner_text()
        page.get_by_text("What EMAIL says").click()
        frame = page.frame_locator("iframe").locator("body").inner_text()
        browser.close()
        return said, frame
