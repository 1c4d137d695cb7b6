"""Rendering's short cuts change nothing: what it makes, and how it fails, is that of plain_render, to the byte."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from pytest_django import Settings

from notifier import formats
from notifier.catalogue import event_types
from notifier.links import Links
from notifier.render import MessageContext, RenderError, render

from .plain_render import FILTERS, plain_render
from .test_render import FULL, ODD, PARTS

LINKS = Links("https://shop.example/preferences/T", "https://shop.example/unsubscribe/T")
MESSAGES = [(name, channel) for name, event_type in event_types().items() for channel in event_type.reachable_channels]
SHOPS: tuple[Mapping[str, str], ...] = (
    {},
    {
        "name": 'Lamps & "Co" <b>\'s',
        "url": "",
        "order_url": "https://shop.example/o?id={orderId}&x=1",
        "logo_url": "https://shop.example/logo.png?a&b",
        "support_email": "",
    },
)
PROSE = st.one_of(
    st.text(alphabet=" \t\n\r\u00a0\u2028\u200b&<>\"'`:;%{}abÄ\u20ac\u201c\u2013\u2026", max_size=20),
    st.text(max_size=20),
)
URLS = st.sampled_from(
    ["https://t.example/a?b=1&c=2", "http://x'y.example/<>", "javascript:alert(1)", "https://[x", ""]
)
DAYS = st.sampled_from(
    ["2026-12-01", "2026-12-01T13:30:00Z", "2026-12-01T13:30:00+02:00", "soon", "0001-01-01T00:00:00"]
)
NUMBERS = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from(["0", "-0", "1", "12.50", " 7 ", "1e3", "1e9999999", "NaN", "1_0", "9" * 80, "0." + "1" * 70]),
    st.decimals(allow_nan=False, allow_infinity=False, places=2).map(str),
)
ANYTHING = st.one_of(st.none(), st.booleans(), NUMBERS, PROSE, st.lists(PROSE, max_size=2), st.just({"a": "<b>"}))
CURRENCIES = st.sampled_from(["EUR", "USD", "CHF", "JPY", "euro", "EUR\n", ""])


def keys(**values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Each key may hold what it should, may hold anything, and may be absent."""
    return st.fixed_dictionaries({}, optional={key: st.one_of(value, value, ANYTHING) for key, value in values.items()})


METADATA = keys(
    orderId=PROSE,
    items=st.lists(st.one_of(keys(name=PROSE, quantity=NUMBERS, price=NUMBERS), ANYTHING), max_size=3),
    total=NUMBERS,
    currency=CURRENCIES,
    eta=DAYS,
    carrier=PROSE,
    shipmentId=PROSE,
    reason=PROSE,
    trackingUrl=URLS,
    channel=PROSE,
    cause=PROSE,
    count=NUMBERS,
    orderIds=st.lists(PROSE, max_size=3),
    provider=PROSE,
    failureRate=NUMBERS,
)
CONTEXTS = st.builds(
    MessageContext,
    order_id=PROSE,
    metadata=METADATA,
    recorded_at=st.integers(0, 10**9).map(
        lambda seconds: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    ),
    locale=st.sampled_from(["en", "de", "de-AT", "de_CH", "en-GB", "fr", "xx", ""]),
    time_zone=st.sampled_from(["Europe/Berlin", "America/New_York", "", "Europe"]),
    event_id=st.uuids(),
)
Outcome = dict[str, str] | tuple[str, str]


def outcome(
    how: Callable[..., dict[str, str]], channel: str, event_type: str, context: MessageContext, **parts: str
) -> Outcome:
    try:
        return how(channel, parts or PARTS[channel], event_type, context)
    except RenderError as error:
        return error.template, str(error)


def assert_same(channel: str, event_type: str, context: MessageContext, **parts: str) -> Outcome:
    found = outcome(render, channel, event_type, context, **parts)
    assert found == outcome(plain_render, channel, event_type, context, **parts)
    assert isinstance(found, tuple) or {type(shown) for shown in found.values()} == {str}
    return found


@pytest.mark.parametrize("shop", SHOPS, ids=["shop", "odd shop"])
class TestTheCatalogue:
    @pytest.mark.parametrize(("event_type", "channel"), MESSAGES)
    def test_known_metadata(self, settings: Settings, shop: Mapping[str, str], event_type: str, channel: str) -> None:
        settings.SHOP = settings.SHOP | shop
        sample = event_types()[event_type].sample
        at = datetime(2026, 11, 24, 23, 30, tzinfo=UTC)
        for metadata in (sample, FULL, {}, *({**sample, **odd} for odd in ODD)):
            for locale in ("en", "de-AT"):
                assert_same(
                    channel, event_type, MessageContext("A & <1>", metadata, at, locale, "Europe/Berlin", "0193", LINKS)
                )

    @given(message=st.sampled_from(MESSAGES), context=CONTEXTS)
    @examples(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_any_metadata(
        self, settings: Settings, shop: Mapping[str, str], message: tuple[str, str], context: MessageContext
    ) -> None:
        if shop.items() - settings.SHOP.items():  # a change compiles all templates anew
            settings.SHOP = settings.SHOP | shop
        event_type, channel = message
        assert_same(channel, event_type, context)


@pytest.mark.parametrize(
    "source",
    [
        "constant",
        "",
        " \n ",
        "it's <b>bold</b> & constant",
        "\n  {{ metadata.reason }} \n",
        "<b>{{ metadata.reason }}</b>",
        "{{ metadata.reason|safe }}{{ metadata.reason }}",
        "{{ metadata.reason|upper }}{{ metadata.reason|e }}",
        "{{ '<' }}{{ '<' ~ metadata.reason }}{{ shop.name }}",
        "{% if metadata.reason == '<i>' %}{{ '&' }}{% else %}-{% endif %}{{ metadata.none }}{{ metadata.list }}",
        "{{ metadata.reason if metadata.absent else metadata['number'] }}{{ not metadata.absent }}",
        "{% set a %}<{{ metadata.reason }}{% endset %}{{ a }}",
        "{% for i in metadata.list %}{{ loop.index }}{{ i }}{{ i.absent }}{% endfor %}",
        "{% for i in metadata.list %}{{ loop.index }}{{ i }}{% endfor %}",
        "{% macro m(x) %}<{{ x }}{{ x.y }}{% endmacro %}{{ m(metadata.reason) }}",
        "{% macro m(x) %}<{{ x }}{{ x.real }}{% endmacro %}{{ m(metadata.number) }}",
        "{% filter upper %}{{ metadata.reason }}'{% endfilter %}",
        "{% autoescape false %}{{ metadata.reason }}{% endautoescape %}{{ metadata.reason }}",
        "{% autoescape metadata.number == 5 %}{{ metadata.reason }}{% endautoescape %}",
        "{{ self.b() }}{{ metadata.reason }}",
        "{% block c %}{{ metadata.reason }}'{% endblock %}{{ order_id }}",
        "{% include 'layouts/TOY.part' %}",
        "{{ metadata.list|lines }}{{ metadata.reason|facts }}",
        *(f"{{{{ metadata.{key}|{name} }}}}" for key in ("number", "none", "absent", "list") for name in FILTERS),
        "{{ metadata.absent }}",
        "{{ metadata.absent.further }}",
        "{{ metadata.reason.absent }}",
        "{{ nothing }}",
        "{{ nothing.further }}",
        "{{ message.b }}",
        "{{ metadata.reason.__class__ }}",
        "{{ metadata.__class__ }}",
        "{% if %}",
        "{{ metadata.reason|unknown }}",
    ],
)
@pytest.mark.parametrize(
    "layout", ["", "<p>{{ message.a }}{{ message.b }}{% if message.a %}'{% endif %}\n{{ message }}"]
)
def test_any_template(tmp_path: Path, settings: Settings, source: str, layout: str) -> None:
    settings.MESSAGE_TEMPLATE_DIRS = [tmp_path]
    files = {
        "T/TOY.en.j2": "{% block a %}" + source + "{% endblock %}{% block b %}{{ metadata.reason }}.{% endblock %}",
        "layouts/TOY.en.j2": "{% block b %}shared{% endblock %}{% block d %} {{ order_id }}{% endblock %}",
        "layouts/TOY.part": "<{{ metadata.reason }}",
        **({"layouts/TOY.page.j2": layout} if layout else {}),
    }
    (tmp_path / "T").mkdir()
    (tmp_path / "layouts").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    metadata = {"reason": "<i>", "number": 5, "none": None, "list": ["<", "'"]}
    context = MessageContext("A&B", metadata, datetime(2026, 1, 1, tzinfo=UTC), "en", "UTC", "0193")
    for part in ("a", "b", "d", "page", "title"):
        for format_ in ("text", "html"):
            assert_same("TOY", "T", context, **{part: format_})
    assert_same("TOY", "T", context, a="text", page="html", b="html")


@given(value=st.one_of(PROSE, st.text(alphabet="\n \ta", max_size=12)))
def test_filters_of_text(value: str) -> None:
    for name in ("facts", "gsm", "lines", "one_line", "web_url"):
        assert formats.FILTERS[name](value) == FILTERS[name](value)
