"""Rendering: every message of the catalogue, the rules of templates, and metadata that makes no sense."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from markupsafe import Markup
from pytest_django import Settings

from notifier import formats
from notifier.catalogue import Audience, EventType, event_types
from notifier.render import MessageContext, RenderError, missing_templates, precompile, render

PARTS: Mapping[str, Mapping[str, str]] = {
    "EMAIL": {"subject": "text", "html": "html", "text": "text"},
    "SMS": {"text": "text"},
    "PUSH": {"title": "text", "body": "text"},
    "IN_APP": {"title": "text", "body": "text"},
}
#: The alphabet of an SMS of 160 characters (GSM 03.38 with its extension).
GSM = set(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà^{}\\[~]|€"
)
FULL = {
    "orderId": "ORD-1",
    "items": [
        {"name": "Lamp", "quantity": 1, "price": "89.00"},
        {"name": "Book", "quantity": 3, "price": 12.5},
    ],
    "total": "1126.50",
    "currency": "EUR",
    "eta": "2026-12-01",
    "carrier": "DHL",
    "shipmentId": "SHP-7",
    "reason": "heavy snow",
    "trackingUrl": "https://track.example/SHP-7?a=1&b=2",
}
# One odd value for each optional key, as a careless producer might send it.
ODD: tuple[Mapping[str, object], ...] = (
    {"items": "two lamps"},
    {"items": [None, 5, {}, {"name": ["x"]}, {"name": "Lamp", "quantity": "many", "price": {}}]},
    {"items": [{"name": "Lamp", "quantity": 1e300, "price": "1e999999"}], "total": float("nan")},
    {"items": [{"name": "Lamp", "quantity": 1, "price": "-1e9999999"}], "total": "1e9999999"},
    {"total": True, "currency": 7},
    {"total": "1,5", "currency": "EUR"},
    {"total": "9" * 400, "currency": "euro"},
    {"total": 10**5000, "currency": "EUR"},
    {"total": "0.00", "currency": None},
    {"eta": "soon"},
    {"eta": "9999-12-31T23:59:59Z"},
    {"eta": 20261201},
    {"eta": None, "carrier": None, "shipmentId": None, "reason": None},
    {"carrier": {"name": "DHL"}, "shipmentId": ["7"], "reason": False},
    {"count": "three", "orderIds": 5, "failureRate": "a lot", "provider": []},
)


def message(
    metadata: Mapping[str, Any] = FULL, *, locale: str = "en", time_zone: str = "Europe/Berlin"
) -> MessageContext:
    return MessageContext(
        order_id=str(metadata.get("orderId", "")),
        metadata=metadata,
        recorded_at=datetime(2026, 11, 24, 23, 30, tzinfo=UTC),
        locale=locale,
        time_zone=time_zone,
        event_id="0193",
    )


def mail(event_type: str = "ORDER_SHIPPED", **changes: Any) -> dict[str, str]:
    locale, time_zone = changes.pop("locale", "en"), changes.pop("time_zone", "Europe/Berlin")
    return render("EMAIL", PARTS["EMAIL"], event_type, message(FULL | changes, locale=locale, time_zone=time_zone))


def minimal(event_type: EventType) -> dict[str, Any]:
    return {key: event_type.sample[key] for key in event_type.schema["required"]}


@pytest.fixture
def templates(tmp_path: Path, settings: Settings) -> Callable[[Mapping[str, str]], None]:
    """Put template files before the shop's own: {name: source}."""

    def put(files: Mapping[str, str]) -> None:
        for name, source in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source)
        settings.MESSAGE_TEMPLATE_DIRS = [tmp_path, *settings.MESSAGE_TEMPLATE_DIRS]

    return put


EVERY = [
    pytest.param(event_type, channel, locale, id=f"{event_type.name}-{channel}-{locale}")
    for event_type in event_types().values()
    for channel in event_type.reachable_channels
    for locale in ("en", "de")
]


@pytest.mark.parametrize(("event_type", "channel", "locale"), EVERY)
class TestTheCatalogue:
    def test_renders_from_the_sample_and_from_the_least(self, event_type: EventType, channel: str, locale: str) -> None:
        for metadata in (event_type.sample, minimal(event_type)):
            parts = render(channel, PARTS[channel], event_type.name, message(metadata, locale=locale))
            assert parts.keys() == PARTS[channel].keys()
            for name, shown in parts.items():
                assert shown
                assert shown == shown.strip()
                assert "None" not in shown
                assert "{" not in shown or name == "html"

    def test_odd_values_are_left_out(self, event_type: EventType, channel: str, locale: str) -> None:
        required = minimal(event_type)
        for odd in ODD:
            parts = render(channel, PARTS[channel], event_type.name, message({**odd, **required}, locale=locale))
            assert all(parts.values())
            assert not any("None" in shown or "nan" in shown.lower().split() for shown in parts.values())

    def test_no_template_is_missing(self, event_type: EventType, channel: str, locale: str) -> None:
        assert missing_templates(channel, PARTS[channel], event_type.name, [locale]) == []


@pytest.mark.parametrize("event_type", event_types().values(), ids=list(event_types()))
def test_a_text_message_fits_one_sms(event_type: EventType) -> None:
    for locale in ("en", "de"):
        if "SMS" in event_type.reachable_channels:
            context = message(event_type.sample, locale=locale)
            shown = render("SMS", PARTS["SMS"], event_type.name, context)["text"]
            assert set(shown) <= GSM
            assert len(shown) <= 160


def test_customers_are_told_their_order_in_every_message() -> None:
    for event_type in event_types().values():
        if event_type.audience is Audience.CUSTOMER:
            for channel in event_type.reachable_channels:
                parts = render(channel, PARTS[channel], event_type.name, message())
                assert any("ORD-1" in shown for shown in parts.values())


class TestMail:
    def test_order_lines_and_total_in_both_forms(self) -> None:
        parts = mail()
        for shown in (parts["html"], parts["text"]):
            assert all(part in shown for part in ("Lamp", "€89.00", "€37.50", "€1,126.50"))
        assert "3 \u00d7 Book: €37.50" in parts["text"]

    def test_german(self) -> None:
        parts = mail(locale="de")
        assert parts["subject"] == "Ihre Bestellung ORD-1 ist unterwegs"
        assert "1.126,50\u00a0€" in parts["text"]
        assert "Dienstag, 1. Dezember 2026" in parts["text"]
        assert '<html lang="de"' in parts["html"]

    def test_values_are_escaped_in_html_alone(self) -> None:
        evil = "<script>alert('1')</script> & \"co\""
        parts = mail(carrier=evil, items=[{"name": evil}], orderId=evil, shipmentId='"><img src=x>')
        assert "<script" not in parts["html"]
        assert "<img" not in parts["html"]
        assert "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; &amp; &#34;co&#34;" in parts["html"]
        assert "amp;lt;" not in parts["html"]  # and but once, in the title and the preheader too
        assert evil in parts["text"]
        assert evil in parts["subject"]

    def test_the_subject_is_one_line(self) -> None:
        parts = mail(orderId="1\r\nBcc: all@example.com\u2028x")
        assert parts["subject"] == "Your order 1 Bcc: all@example.com x is on its way"

    def test_the_tracking_link(self) -> None:
        parts = mail()
        assert 'href="https://track.example/SHP-7?a=1&amp;b=2"' in parts["html"]
        assert "Track your parcel:\nhttps://track.example/SHP-7?a=1&b=2" in parts["text"]

    @pytest.mark.parametrize(
        "url",
        ["javascript:alert(1)", "ftp://x.example/a", "https:///a", "http://[x", "//x.example", "https://a b"],
    )
    def test_what_is_no_web_address_is_text(self, url: str) -> None:
        parts = mail(trackingUrl=url)
        assert f'href="{url}' not in parts["html"]
        assert f"Tracking: {url}" in parts["text"]

    def test_no_button_without_an_address(self, settings: Settings) -> None:
        assert "View your order" not in mail("ORDER_CONFIRMED")["html"]
        settings.SHOP = settings.SHOP | {"order_url": "https://shop.example/orders/{orderId}"}
        assert 'href="https://shop.example/orders/ORD%2F1"' in mail("ORDER_CONFIRMED", orderId="ORD/1")["html"]

    def test_the_shop_signs(self, settings: Settings) -> None:
        settings.SHOP = settings.SHOP | {
            "name": "Lamps & Co",
            "logo_url": "https://shop.example/logo.png",
            "legal_footer": "Lamps Ltd, Registered in Hull",
            "support_email": "care@lamps.example",
        }
        parts = mail()
        assert '<img src="https://shop.example/logo.png" height="32" alt="Lamps &amp; Co"' in parts["html"]
        for shown in (parts["html"], parts["text"]):
            assert "Lamps Ltd, Registered in Hull" in shown
            assert "care@lamps.example" in shown

    def test_staff_see_the_facts(self) -> None:
        facts = {"channel": "SMS", "cause": "ProviderUnavailable", "count": 1200, "orderIds": ["A1", "B2"]}
        parts = render("EMAIL", PARTS["EMAIL"], "DELIVERY_FAILED", message(facts))
        assert "Messages: 1,200\nOrders: A1, B2\nSince: Nov 25, 2026" in parts["text"]


class TestLocaleAndZone:
    def test_the_day_is_the_recipients(self) -> None:
        # 23:30 UTC is the next day in Berlin
        assert "on Wednesday, November 25, 2026" in mail("ORDER_PLACED")["text"]
        assert "on Tuesday, November 24, 2026" in mail("ORDER_PLACED", time_zone="America/New_York")["text"]

    @pytest.mark.parametrize("zone", ["", "Nowhere/Nothing", "../etc/passwd", "Europe", "\0"])
    def test_an_unknown_zone_is_utc(self, zone: str) -> None:
        assert "on Tuesday, November 24, 2026" in mail("ORDER_PLACED", time_zone=zone)["text"]

    @pytest.mark.parametrize(
        ("eta", "locale", "shown"),
        [
            ("2026-12-01", "en", "Tuesday, December 1, 2026"),
            ("2026-12-01T13:30:00Z", "de", "Dienstag, 1. Dezember 2026, 14:30"),
            ("2026-12-01T13:30:00", "de", "Dienstag, 1. Dezember 2026, 14:30"),
            ("2026-12-01T13:30:00+02:00", "en-GB", "Tuesday, 1 December 2026, 12:30"),
        ],
    )
    def test_an_eta_may_have_a_time(self, eta: str, locale: str, shown: str) -> None:
        assert f": {shown}\n" in mail("ORDER_CONFIRMED", eta=eta, locale=locale)["text"]

    @pytest.mark.parametrize(
        ("locale", "subject", "total"),
        [
            ("de-AT", "Ihre Bestellung ORD-1 ist unterwegs", "€\u00a01.126,50"),
            ("de_CH", "Ihre Bestellung ORD-1 ist unterwegs", "EUR\u00a01\u2019126.50"),
            ("en-GB", "Your order ORD-1 is on its way", "€1,126.50"),
            # no French text: the formats follow the text, not the recipient
            ("fr", "Your order ORD-1 is on its way", "€1,126.50"),
            ("xx-YY", "Your order ORD-1 is on its way", "€1,126.50"),
            ("../../x", "Your order ORD-1 is on its way", "€1,126.50"),
            ("", "Your order ORD-1 is on its way", "€1,126.50"),
        ],
    )
    def test_falls_back(self, locale: str, subject: str, total: str) -> None:
        parts = mail(locale=locale)
        assert parts["subject"] == subject
        assert total in parts["text"]

    def test_the_most_specific_file_wins(self, templates: Callable[[Mapping[str, str]], None]) -> None:
        templates({"ORDER_SHIPPED/PUSH.de-AT.j2": "{% block title %}Servus{% endblock %}"})
        titles = [
            render("PUSH", {"title": "text"}, "ORDER_SHIPPED", message(locale=locale))["title"]
            for locale in ("de-AT", "de-AT-1996", "de")
        ]
        assert titles == ["Servus", "Servus", "Ihre Bestellung ist unterwegs"]

    @pytest.mark.parametrize(
        ("currency", "locale", "shown"),
        [
            ("USD", "en", "$12.50"),
            ("USD", "de", "12,50\u00a0$"),
            ("JPY", "en", "¥12"),
            ("CHF", "en", "CHF\u00a012.50"),
        ],
    )
    def test_money(self, currency: str, locale: str, shown: str) -> None:
        assert f": {shown}\n" in mail(total="12.50", currency=currency, locale=locale)["text"]


class TestRules:
    """What a template may do; the toy channel has no layout of its own, unless a test gives it one."""

    def test_a_part_is_the_block_of_its_name(self, templates: Callable[[Mapping[str, str]], None]) -> None:
        templates({"ORDER_SHIPPED/TOY.en.j2": "{% block a %}\n <b>{{ metadata.reason }}\n{% endblock %}"})
        context = message({"reason": "<i>"})
        assert render("TOY", {"a": "html"}, "ORDER_SHIPPED", context) == {"a": "<b>&lt;i&gt;"}
        assert render("TOY", {"a": "text"}, "ORDER_SHIPPED", context) == {"a": "<b><i>"}

    def test_a_layout_sees_blocks_and_shared_words(self, templates: Callable[[Mapping[str, str]], None]) -> None:
        templates(
            {
                "ORDER_SHIPPED/TOY.de.j2": "{% block a %}A{% endblock %}",
                "layouts/TOY.de.j2": "{% block a %}other{% endblock %}{% block bye %}Tschüs{% endblock %}",
                "layouts/TOY.whole.j2": "{{ message.a }}, {{ message.bye }}",
            }
        )
        assert render("TOY", {"whole": "text"}, "ORDER_SHIPPED", message(locale="de")) == {"whole": "A, Tschüs"}

    @pytest.mark.parametrize(
        ("source", "shown"),
        [
            ("{% set a = 'x' %}{{ a }}{% set b = a ~ '<' %}{{ b }}", "xx&lt;"),
            ("{% set a = 'x' %}{% for i in 'pq' %}{{ a }}{{ i }}{% endfor %}", "xpxq"),
            ("{% set a = 'x' %}{{ a }}{% set a = 'y' %}{{ a }}", "xy"),
            ("{% set a = 'x' %}{% if not metadata.b %}{% set a = 'y' %}{% endif %}{{ a }}", "y"),
            ("{% set a = '<'|safe %}{{ a }}{% set a, b = 'p', 'q' %}{{ a }}{{ b }}", "<pq"),
            (
                "{{ shop.name }}{{ shop['name'] }}{% if shop.url %}-{% endif %}{{ shop.name|upper }}",
                "A&amp;BA&amp;BA&amp;B",
            ),
            ("{% for shop in metadata.shops %}{{ shop.name }}{% endfor %}", "other"),
        ],
    )
    def test_what_is_the_same_in_every_message(
        self, templates: Callable[[Mapping[str, str]], None], settings: Settings, source: str, shown: str
    ) -> None:
        settings.SHOP = {"name": "A&B", "url": ""}
        templates({"ORDER_SHIPPED/TOY.en.j2": "{% block a %}{% endblock %}", "layouts/TOY.whole.j2": source})
        context = message({"shops": [{"name": "other"}]})
        assert render("TOY", {"whole": "html"}, "ORDER_SHIPPED", context) == {"whole": shown}

    def test_a_block_does_not_see_what_stands_above_it(self, templates: Callable[[Mapping[str, str]], None]) -> None:
        templates({"ORDER_SHIPPED/TOY.en.j2": "{% set b = 'x' %}{% block a %}{{ b }}{% endblock %}"})
        with pytest.raises(RenderError, match="UndefinedError: 'b'"):
            render("TOY", {"a": "text"}, "ORDER_SHIPPED", message())

    @pytest.mark.parametrize(
        ("source", "cause"),
        [
            ("{{ metadata.trackingUrl }}", "UndefinedError"),
            ("{{ nothing }}", "UndefinedError"),
            ("{% if nothing %}x{% endif %}", "UndefinedError"),
            ("{{ metadata['items'].append(1) }}", "SecurityError"),
            ("{{ metadata.clear() }}", "UndefinedError"),
            ("{{ ''.__class__.__mro__ }}", "SecurityError"),
            ("{{ shop.__class__ }}", "UndefinedError"),
            ("{{ recorded_at.__reduce__() }}", "SecurityError"),
            ("{{ self.__init__.__globals__ }}", "SecurityError"),
            ("{{ metadata.reason|attr('__class__') }}", "SecurityError"),
            ("{{ '{0.__class__}'.format(metadata.reason) }}", "SecurityError"),
            ("{{ range(10000000)|list }}", "OverflowError"),
            ("{{ metadata.reason + 1 }}", "TypeError"),
            ("{{ metadata.reason|int / 0 }}", "ZeroDivisionError"),
            ("{% include 'nowhere.j2' %}", "TemplateNotFound"),
            ("{% if %}", "TemplateSyntaxError"),
        ],
    )
    def test_an_error_names_template_and_cause_and_no_value(
        self, templates: Callable[[Mapping[str, str]], None], source: str, cause: str
    ) -> None:
        templates({"ORDER_SHIPPED/TOY.en.j2": f"{{% block a %}}{source}{{% endblock %}}"})
        with pytest.raises(RenderError) as raised:
            render("TOY", {"a": "text"}, "ORDER_SHIPPED", message({"reason": "secret", "items": ["secret"]}))
        assert str(raised.value).startswith("ORDER_SHIPPED/TOY.en.j2, a")
        assert cause in str(raised.value)
        assert "secret" not in str(raised.value)
        assert raised.value.__suppress_context__

    def test_a_value_is_never_a_template(self) -> None:
        assert "{{ shop.name }}" in mail(carrier="{{ shop.name }}")["text"]

    def test_optional_metadata_may_be_tested(self, templates: Callable[[Mapping[str, str]], None]) -> None:
        source = "{% block a %}{% if metadata.carrier %}x{% else %}{{ metadata.values }}{% endif %}{% endblock %}"
        templates({"ORDER_SHIPPED/TOY.en.j2": source})
        assert render("TOY", {"a": "text"}, "ORDER_SHIPPED", message({"values": "v"})) == {"a": "v"}

    def test_what_is_missing_is_found(self, templates: Callable[[Mapping[str, str]], None]) -> None:
        templates(
            {
                "ORDER_SHIPPED/TOY.en.j2": "{% block title %}x{% endblock %}",
                "ORDER_SHIPPED/TOY.fr.j2": "{% block title %}",
            }
        )
        found = missing_templates("TOY", PARTS["PUSH"], "ORDER_SHIPPED", ["en", "de", "fr"])
        assert found[:2] == ["ORDER_SHIPPED/TOY.en.j2: block body", "ORDER_SHIPPED/TOY.de.j2"]
        assert found[2].startswith("ORDER_SHIPPED/TOY.fr.j2 (ORDER_SHIPPED/TOY.fr.j2, line 1): TemplateSyntaxError")

    def test_a_type_without_templates_is_an_error(self) -> None:
        with pytest.raises(RenderError, match=r"NOTHING/PUSH: TemplateNotFound: NOTHING/PUSH\.\*\.j2"):
            render("PUSH", PARTS["PUSH"], "NOTHING", message())
        with pytest.raises(RenderError, match="block other"):
            render("PUSH", {"other": "text"}, "ORDER_SHIPPED", message())

    def test_precompile(self, templates: Callable[[Mapping[str, str]], None]) -> None:
        precompile()
        templates({"ORDER_SHIPPED/TOY.en.j2": "{% if %}"})
        with pytest.raises(RenderError, match="line 1"):
            precompile()


@pytest.mark.parametrize(
    ("value", "limit", "shown"),
    [
        ("a\n b\t", None, "a b"),
        ("abcdefgh", 8, "abcdefgh"),
        ("abcde ghi", 8, "abcde..."),
        (7, None, "7"),
        (True, None, ""),
        (None, None, ""),
        pytest.param(10**5000, None, "", id="too long"),
    ],
)
def test_text(value: object, limit: int | None, shown: str) -> None:
    assert formats.text(value, limit) == shown


def test_gsm() -> None:
    assert formats.gsm("\u201cA\u201d\u00a0\u2013 it\u2019s\n2:30\u202fPM\u2026") == '"A" - it\'s 2:30 PM...'


class TestFormatsKept:
    """What Babel made is kept; values that are equal and look unlike must not be taken for each other."""

    @pytest.mark.parametrize(
        ("total", "shown"), [(0, "€0.00"), ("-0", "-€0.00"), (0.0, "€0.00"), ("1", "€1.00"), (1.0, "€1.00")]
    )
    def test_money_by_its_sign(self, total: object, shown: str) -> None:
        assert formats.money({"locale": "en"}, total, "EUR") == shown  # type: ignore[arg-type]

    def test_each_locale_and_form_for_itself(self) -> None:
        shown = [
            formats.day({"locale": locale, "time_zone": "UTC"}, "2026-12-01", form)  # type: ignore[arg-type]
            for locale in ("en", "de")
            for form in ("full", "short")
        ]
        assert shown == ["Tuesday, December 1, 2026", "12/1/26", "Dienstag, 1. Dezember 2026", "01.12.26"]

    def test_midnight_and_after(self) -> None:
        context: Any = {"locale": "zh-Hant", "time_zone": "UTC"}
        midnight, after = (formats.when(context, f"2026-12-01T00:00:{second}Z") for second in ("00", "01"))
        assert midnight != after  # it has a name of its own in this locale


def test_lines_and_facts_of_markup_are_markup() -> None:
    [line] = formats.lines(Markup("\n &lt;a: b&gt; \n"))
    [fact] = formats.facts(Markup("\n &lt;a : b&gt; \nempty:\n"))
    assert (line, fact) == ("&lt;a: b&gt;", ("&lt;a", "b&gt;"))
    assert {type(value) for value in (line, *fact)} == {Markup}
