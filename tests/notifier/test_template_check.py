"""What is found in a template before it is saved."""

from __future__ import annotations

from pathlib import Path

import pytest

from notifier import message_size, mjml
from notifier.catalogue import event_types
from notifier.querysets.templates import Place
from notifier.render import from_source, render
from notifier.template_check import problems, sample_context
from notifier.template_rules import LARGEST
from tests.notifier.test_render import PARTS, message

SMS, MAIL = Place("ORDER_SHIPPED", "SMS", "en"), Place("ORDER_SHIPPED", "EMAIL", "en")
FILES = Path("config/message_templates")
MJML = """{% block subject %}Order {{ order_id }}{% endblock %}
{% block html %}
<mjml lang="{{ language }}"><mj-body>
  <mj-section><mj-column>
    <mj-text><h1>Tom &amp; {{ metadata.carrier|text }}</h1><p>It left.<br>Soon there.</p></mj-text>
    {% if metadata.total and 1 < 2 %}<mj-text>{{ metadata.total|money(metadata.currency) }}</mj-text>{% endif %}
    <mj-button href="{{ metadata.trackingUrl|web_url }}">Track it</mj-button>
    <mj-image src="https://shop.example/a.png" alt="A lamp" />
  </mj-column></mj-section>
</mj-body></mjml>
{% endblock %}
"""


def told(source: str, place: Place = SMS) -> list[tuple[int, str]]:
    return [(found.line, found.text) for found in problems(source, place)]


def text(inner: str) -> str:
    return "{% block text %}\n" + inner + "\n{% endblock %}"


@pytest.mark.parametrize("name", sorted(str(p.relative_to(FILES)) for p in FILES.glob("[A-Z]*/*.j2")))
def test_every_file_is_fit(name: str) -> None:
    event_type, _, rest = name.partition("/")
    channel, locale, _ = rest.split(".")

    if channel in event_types()[event_type].reachable_channels:
        assert told((FILES / name).read_text(), Place(event_type, channel, locale)) == []


@pytest.mark.parametrize(
    ("inner", "line", "words"),
    [
        ("{{ order_id }", 2, "unexpected '}'"),
        ("{{ metdata.total }}", 2, "There is no variable metdata. Did you mean metadata?"),
        (
            "{{ metadata.carier }}",
            2,
            "This event type does not name metadata.carier, so it may be absent. Did you mean carrier?",
        ),
        ("{{ metadata.carrier }}", 2, "metadata.carrier may be absent, and is used without a test. Write {% if"),
        ("{{ metadata['eta'].year }}", 2, "With the sample data: 'str object' has no attribute 'year'."),
        ("{{ order_id|wobble }}", 2, "There is no filter wobble."),
        ("{{ order_id|uper }}", 2, "There is no filter uper. Did you mean upper?"),
        ("{{ order_id|safe }}", 2, "|safe is not available."),
        ("{% include 'layouts/EMAIL.html.j2' %}", 2, "Other files cannot be taken in from here."),
        ("{{ metadata.pop('total') }}", 2, "Nothing can be called"),
        ("{% for a in range(9) %}{% endfor %}", 2, "Nothing can be called"),
        ("{{ 'x' * 10000000000 }}", 2, "A template does not compute."),
        ("{{ 9 ** 9 ** 9 ** 9 }}", 2, "A template does not compute."),
        ("{{ '%99999999999d' % 5 }}", 2, "A template does not compute."),
        ("{% set a = 'x' ~ 'y' %}{{ a }}", 2, "{% set %} takes one value"),
        ("{% macro a() %}{% endmacro %}", 2, "Nothing can be called"),
        ("{% autoescape false %}x{% endautoescape %}", 2, "is not available."),
        ("{% raw %}{{{% endraw %}", 2, "{% raw %} is not available."),
        ("{{ ''.__class__.__mro__ }}", 2, "With the sample data: Access to attribute '__class__'"),
        ("A{% if metadata.reason %}{{ metadata.reason.x.y }}{% endif %}", 0, ""),
        ("{# nothing #}", 0, "With the sample data, text is empty."),
        ("x" * LARGEST, 0, "characters long"),
        ("(" * 3000 + "{{ " + "(" * 3000 + "1" + ")" * 3000 + "}}", 0, "It is nested too deeply."),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_wrong_stands_at_its_line(inner: str, line: int, words: str) -> None:
    found = told(text(inner))

    if words:
        assert any(at == line and words.lower() in said.lower() for at, said in found), found
    else:
        assert found == []


def test_hints_do_not_keep_from_saving() -> None:
    found = problems("so {% block text %}Hi{% endblock %}{% block txt %}{% endblock %}", SMS)
    assert [(p.text, p.error) for p in found] == [
        ("Nothing shows the block txt by SMS.", False),
        ("This stands outside of every block: nothing shows it.", False),
    ]


def test_missing_blocks_are_named() -> None:
    assert ("Block text is missing: it is the message's text.") not in str(told("{% block body %}{% endblock %}", MAIL))
    found = [said for _, said in told("{% block intro %}Hi{% endblock %}", MAIL)]
    assert "Block heading is missing: the layout of html shows it." in found
    assert "Block subject is missing: it is the message's subject." in found


def test_mjml_becomes_html_and_text() -> None:
    assert told(MJML, MAIL) == []
    template = from_source(MJML, "v1", "ORDER_SHIPPED", "EMAIL", "en")
    shown = render("EMAIL", PARTS["EMAIL"], "ORDER_SHIPPED", message(), template)
    assert shown["subject"] == "Order ORD-1"
    assert "<mj" not in shown["html"]
    assert "googleapis" not in shown["html"]
    assert 'href="https://track.example/SHP-7?a=1&amp;b=2"' in shown["html"]
    assert shown["text"] == (
        "Tom & DHL\n\nIt left.\nSoon there.\n\n€1,126.50\n\nTrack it: https://track.example/SHP-7?a=1&b=2\n\nA lamp"
    )


def test_values_are_escaped_in_mjml() -> None:
    template = from_source(MJML, "v1", "ORDER_SHIPPED", "EMAIL", "en")
    context = message({"carrier": "<script>"})
    html = render("EMAIL", PARTS["EMAIL"], "ORDER_SHIPPED", context, template)["html"]
    assert "&lt;script&gt;" in html


@pytest.mark.parametrize(
    ("markup", "line", "words"),
    [
        ("<mjml><mj-body>\n<mj-txt></mj-txt></mj-body></mjml>", 3, "MJML has no tag <mj-txt>."),
        ("<mjml><mj-body><mj-section></mj-body></mjml>", 2, "This MJML cannot be read: unexpected end of stream"),
        ("<mjml><mj-body><mj-include path='/etc/passwd' /></mj-body></mjml>", 2, "MJML has no tag <mj-include>."),
    ],
)
def test_broken_mjml_is_named(markup: str, line: int, words: str) -> None:
    found = told("{% block subject %}A{% endblock %}\n{% block html %}" + markup + "{% endblock %}", MAIL)
    assert any(words in said for _, said in found), found
    assert found[0][0] == line


def test_an_entity_is_no_jinja() -> None:
    assert "{{" not in mjml.as_text("<p>&#123;&#123; order_id }}</p>").replace("{ {", "")


def test_the_sample_is_nobodys() -> None:
    context = sample_context(event_types()["ORDER_SHIPPED"], "de", links=True)
    assert context.links.preferences.endswith("/preferences/…")


@pytest.mark.parametrize(
    ("message_text", "encoding", "places", "segments", "forced_by"),
    [
        ("", "GSM-7", 0, 0, ""),
        ("a" * 160, "GSM-7", 160, 1, ""),
        ("a" * 161, "GSM-7", 161, 2, ""),
        ("€" * 80, "GSM-7", 160, 1, ""),
        ("a" * 152 + "€" + "a" * 152, "GSM-7", 306, 3, ""),  # the sign does not fit into what the first has left
        ("ç" + "a" * 69, "UCS-2", 70, 1, "ç"),
        ("ç" + "a" * 70, "UCS-2", 71, 2, "ç"),
        ("😀" * 35, "UCS-2", 70, 1, "😀"),
        ("a" * 66 + "😀" + "a" * 66, "UCS-2", 134, 3, "😀"),
        ("“é”", "UCS-2", 3, 1, "“”"),
    ],
)
def test_segments(message_text: str, encoding: str, places: int, segments: int, forced_by: str) -> None:
    size = message_size.sms(message_text)
    assert (size.encoding, size.places, size.segments, "".join(size.forced_by)) == (
        encoding,
        places,
        segments,
        forced_by,
    )


def test_push_size_counts_bytes() -> None:
    assert message_size.push({"title": "é", "body": ""}, {}) - message_size.push({"title": "e", "body": ""}, {}) == 1
