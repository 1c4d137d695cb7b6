"""The admin's pages of templates: who may do what, what is refused, and one visit with a real browser."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.urls import reverse
from playwright.sync_api import Page, expect, sync_playwright
from pytest_django.fixtures import Settings
from pytest_django.live_server_helper import LiveServer

from notifier import serving
from notifier.models import TemplateVersion
from notifier.querysets.templates import Place
from notifier.render import file_source
from notifier.serving import render_message
from notifier.template_preview import difference
from preferences.models import User
from tests.notifier.test_render import PARTS, message
from tests.sandbox_process import Sandbox

LIST, EDIT, PREVIEW = (reverse(f"admin:notifier_templateversion_{page}") for page in ("changelist", "edit", "preview"))
PLACE = "ORDER_SHIPPED/SMS.en"
SMS = Place("ORDER_SHIPPED", "SMS", "en")
GOOD = "{% block text %}Good: {{ order_id }}{% endblock %}"
BETTER = "{% block text %}Better: {{ order_id }}{% endblock %}"
CHROMIUM = Path("/usr/bin/chromium")
IMAGES = os.environ.get("TEMPLATE_SCREENSHOTS", "")  # where to keep them; docs/images shows what was looked at


@pytest.fixture(autouse=True)
def _fresh(settings: Settings) -> Iterator[None]:
    settings.WHITENOISE_AUTOREFRESH = True  # no collectstatic in tests
    serving.forget()
    yield
    serving.forget()


@pytest.fixture
def staff(db: None, sandbox: Sandbox) -> Callable[..., Client]:
    """A member of staff with these permissions on templates; logged in."""

    def make(*codenames: str, name: str = "ada", **fields: str) -> Client:
        user = User.objects.create_user(name, is_staff=True, **fields)
        user.user_permissions.add(*Permission.objects.filter(codename__in=codenames))
        client = Client()
        client.force_login(user)
        return client

    return make


ALL = ("view_templateversion", "change_templateversion", "publish_template")


def send(client: Client, action: str, source: str = GOOD, **fields: Any) -> Any:
    newest = TemplateVersion.objects.of(SMS).order_by("-number").first()
    serves = TemplateVersion.objects.of(SMS).filter(state="PUBLISHED").first()
    seen = {"base": newest.number if newest else 0, "serving": serves.number if serves else 0}
    return client.post(
        f"{EDIT}?template={PLACE}", {"template": PLACE, "action": action, "source": source, **seen, **fields}
    )


def states() -> list[str]:
    return list(TemplateVersion.objects.order_by("number").values_list("state", flat=True))


def listed(client: Client) -> list[str]:
    """What the list's row of the template says, cell by cell."""
    groups = {group["name"]: group["table"]["rows"] for group in client.get(LIST).context["groups"]}
    (row,) = (row for row in groups["ORDER_SHIPPED"] if f"template={PLACE}" in row[0])
    return [re.sub(r"<[^>]*>", "", cell).strip() for cell in row]


def test_the_list_says_what_serves(staff: Callable[..., Client]) -> None:
    client = staff(*ALL)
    assert listed(client) == ["SMS", "en", "file", "-", "-", "-"]
    send(client, "publish")
    version = TemplateVersion.objects.get()
    assert listed(client)[2::2] == [version.label, "ada"]
    send(client, "save", BETTER)
    assert listed(client)[5] == f"v{version.number + 1} by ada"
    TemplateVersion.objects.note_broken(version.number, "it failed")
    assert listed(client)[2] == f"file, as {version.label} is broken"
    page = client.get(LIST).content.decode()
    assert f"ORDER_SHIPPED/SMS.en {version.label}</a> is broken." in page
    assert "File serves in its place" in page


def test_save_publish_and_roll_back(staff: Callable[..., Client]) -> None:
    client = staff(*ALL)
    assert send(client, "save", GOOD + "\0", note="first\0").status_code == 302
    first = TemplateVersion.objects.get()
    assert (first.state, first.author, first.note) == ("DRAFT", "ada", "first")
    assert send(client, "publish").status_code == 302, "the same text is no new version"
    assert send(client, "publish", BETTER).status_code == 302
    assert states() == ["SUPERSEDED", "PUBLISHED"]
    serving.refresh()
    assert render_message("SMS", PARTS["SMS"], "ORDER_SHIPPED", message()).parts == {"text": "Better: ORD-1"}
    assert send(client, "roll_back", number=str(first.number)).status_code == 302
    assert states() == ["PUBLISHED", "SUPERSEDED"]
    assert send(client, "roll_back", number="file").status_code == 302
    assert states() == ["SUPERSEDED", "SUPERSEDED"]
    page = client.get(f"{EDIT}?template={PLACE}").content.decode()
    assert "Better: {{ order_id }}" in page
    assert "Good: {{ order_id }}" in client.get(f"{EDIT}?template={PLACE}&version={first.label}").content.decode()


def test_two_editors_do_not_overwrite_one_another(staff: Callable[..., Client]) -> None:
    ada, bea = staff(*ALL), staff(*ALL, name="bea")
    send(ada, "save")
    answer = send(bea, "save", BETTER, base=0)
    assert answer.status_code == 409
    page = answer.content.decode()
    assert "somebody else saved or published v" in page
    assert "Better: {{ order_id }}" in page, "what was typed stays"
    assert states() == ["DRAFT"]
    assert send(bea, "publish", BETTER, serving=7).status_code == 409


def test_what_is_not_fit_is_not_saved(staff: Callable[..., Client]) -> None:
    answer = send(staff(*ALL), "save", "{% block text %}\n{{ metadata.carrier }}{% endblock %}")
    assert answer.status_code == 200
    assert "Not saved. Line 2: metadata.carrier may be absent" in answer.content.decode()
    assert "{{ metadata.carrier }}" in answer.content.decode()
    assert states() == []


@pytest.mark.parametrize(
    ("permissions", "allowed"),
    [
        ((), set()),
        (("view_templateversion",), {"preview"}),
        (("view_templateversion", "change_templateversion"), {"preview", "save", "test"}),
        (("view_templateversion", "publish_template"), {"preview", "roll_back"}),
        (ALL, {"preview", "save", "test", "publish", "roll_back"}),
    ],
)
def test_each_action_asks_for_its_permission(
    staff: Callable[..., Client], permissions: tuple[str, ...], allowed: set[str]
) -> None:
    client = staff(*permissions)
    for action in ("save", "test", "publish", "roll_back"):
        answer = send(client, action, number="file")
        assert (answer.status_code != 403) == (action in allowed), action
    answer = client.post(PREVIEW, {"template": PLACE, "source": GOOD})
    assert (answer.status_code != 403) == ("preview" in allowed)
    assert client.get(f"{EDIT}?template={PLACE}").status_code == (200 if permissions else 403)
    page = client.get(f"{EDIT}?template={PLACE}").content.decode() if permissions else ""
    assert ('value="save"' in page, 'value="publish"' in page) == ("save" in allowed, "publish" in allowed)


@pytest.mark.parametrize("place", ["", "ORDER_LOST/SMS.en", "ORDER_SHIPPED/FAX.en", "ORDER_SHIPPED/SMS.fr", "../x.en"])
def test_what_is_in_no_catalogue_has_no_page(staff: Callable[..., Client], place: str) -> None:
    client = staff(*ALL)
    assert client.get(EDIT, {"template": place}).status_code == 404
    assert client.post(PREVIEW, {"template": place}).status_code == 404
    assert client.post(EDIT, {"template": PLACE, "action": "what"}).status_code == 404


def shown(client: Client, source: str, place: str = PLACE, **fields: str) -> Any:
    answer = client.post(PREVIEW, {"template": place, "source": source, **fields})
    assert answer.status_code == 200
    return answer.json()


def test_the_preview_counts_texts_and_pushes(staff: Callable[..., Client]) -> None:
    client = staff(*ALL)
    facts = shown(client, "{% block text %}Grüße ✓{% endblock %}")["message"]["facts"]
    assert facts == [
        "1 segment of 70 places, UCS-2",
        "7 characters, 7 places",
        "UCS-2 because of ✓: without it, a segment has 153",
    ]
    push = "{% block title %}A{% endblock %}{% block body %}" + "x" * 4000 + "{% endblock %}"
    facts = shown(client, push, "ORDER_SHIPPED/PUSH.en")["message"]["facts"]
    assert "of 4,096 bytes" in facts[0]
    assert facts[1] == "Too large: FCM refuses it."


def test_the_preview_shows_a_mail_in_light_and_dark(staff: Callable[..., Client]) -> None:
    client = staff(*ALL)
    file = file_source("ORDER_SHIPPED", "EMAIL", "de")
    assert file
    found = shown(client, file, "ORDER_SHIPPED/EMAIL.de", locale="de-AT", against="file")
    assert (found["problems"], found["fit"], found["difference"]) == ([], True, [])
    assert "@media not all" in found["message"]["light"]
    assert "prefers-color-scheme: dark" not in found["message"]["dark"]
    assert "€ 126,50" in found["message"]["texts"]["text"].replace("\u00a0", " ")
    least = shown(client, file, "ORDER_SHIPPED/EMAIL.de", data="least")["message"]
    assert "126,50" not in least["texts"]["text"]


def test_what_breaks_the_rules_is_not_run(staff: Callable[..., Client]) -> None:
    found = shown(staff(*ALL), "{% block text %}{{ 'x' * 99999999999 }}{% endblock %}")
    assert (found["fit"], found["message"]) == (False, None)


def test_a_test_goes_to_oneself(staff: Callable[..., Client], sandbox: Sandbox, settings: Settings) -> None:
    client = staff(*ALL, phone="+4915112345678")
    assert "Sent to you by SMS." in send(client, "test").content.decode()
    assert [(m["to"], m["body"]) for m in sandbox.messages()] == [("+4915112345678", "Good: ORD123")]
    assert states() == []
    settings.STAGING_RECIPIENTS = ["@shop.example"]
    assert "STAGING_RECIPIENTS does not name your address" in send(client, "test").content.decode()
    nobody = staff(*ALL, name="nobody")
    assert "Not sent" in send(nobody, "test").content.decode()
    assert len(sandbox.messages()) == 1


def test_a_difference_has_its_lines() -> None:
    rows = [(row["sign"], row["old"], row["new"], row["text"]) for row in difference("a\nb\nc", "a\nx\nc")]
    assert rows == [(" ", 1, 1, "a"), ("-", 2, "", "b"), ("+", "", 2, "x"), (" ", 3, 3, "c")]
    assert difference("a", "a") == []
    assert difference("\n".join("abcdefgh"), "\n".join("abcdefgX"))[0]["sign"] == "…"


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")  # Playwright's loop runs in this thread
    expect.set_options(timeout=20_000)  # a machine may be busy
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]) as browser,
    ):
        yield browser.new_page(viewport={"width": 1440, "height": 900})
        connection.close()  # within the loop this thread has one of its own


def picture(page: Page, scheme: str) -> None:
    if IMAGES:
        page.evaluate("scheme => localStorage.setItem('adminTheme', JSON.stringify(scheme))", scheme)
        page.reload()
        page.set_viewport_size({"width": 1440, "height": 1480})
        page.get_by_label("Compare with").select_option("file")
        expect(page.locator("#difference tr.added")).to_be_visible()
        for frame in page.frames[1:]:
            expect(frame.get_by_role("heading")).to_be_visible()
        page.screenshot(path=f"{IMAGES}/template-editor-{scheme}.png")


@pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Debian's Chromium")
@pytest.mark.django_db(transaction=True)
@pytest.mark.filterwarnings("ignore:No directory at")  # the server of this test finds static files by itself
def test_edit_preview_publish_and_roll_back(live_server: LiveServer, page: Page, sandbox: Sandbox) -> None:
    refused: list[str] = []
    page.on("console", lambda said: refused.append(said.text) if "Content Security Policy" in said.text else None)
    User.objects.create_superuser("ada", password="open-sesame-7")
    page.goto(f"{live_server.url}{EDIT}?template=ORDER_SHIPPED/EMAIL.en")
    page.get_by_label("Username").fill("ada")
    page.get_by_label("Password").fill("open-sesame-7")
    page.keyboard.press("Enter")
    source = page.get_by_label("Template", exact=True)
    desktop = page.frame_locator("iframe[title='On a desktop']")
    expect(desktop.get_by_role("heading")).to_have_text("Your order is on its way")
    expect(page.frame_locator("iframe[title='On a phone, dark']").locator("body")).to_have_css(
        "background-color", "rgb(17, 17, 20)"
    )

    file = source.input_value()
    source.fill(file.replace("Your order is on its way", "{{ metadata.carrier }} has it"))
    expect(page.get_by_text("metadata.carrier may be absent")).to_be_visible()
    source.fill(file.replace("Your order is on its way", "Off it goes"))
    expect(desktop.get_by_role("heading")).to_have_text("Off it goes")
    expect(page.get_by_text("Nothing stands in the way of saving.")).to_be_visible()
    expect(page.locator("#difference tr.added")).to_contain_text("Off it goes")
    page.get_by_label("What was changed, and why").fill("shorter")
    page.get_by_role("button", name="Publish", exact=True).click()

    version = f"v{TemplateVersion.objects.get().number}"
    expect(page.get_by_text(f"{version} serves, from the messages")).to_be_visible()
    picture(page, "light")
    picture(page, "dark")
    for width in (390, 900):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    serving.refresh()
    assert subject() == "Your order ORD-1 is on its way"
    assert "Off it goes" in mail()["text"]
    page.get_by_role("button", name="Publish the file").click()
    expect(page.get_by_text("The file serves again")).to_be_visible()
    serving.forget()
    serving.refresh()
    assert "Off it goes" not in mail()["text"]
    assert not refused


def mail() -> dict[str, str]:
    return render_message("EMAIL", PARTS["EMAIL"], "ORDER_SHIPPED", message()).parts


def subject() -> str:
    return mail()["subject"]
