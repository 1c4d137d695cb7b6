"""MJML in a message template: the block `html` written in it becomes the HTML of a mail, and a text part is made.

It happens once, before the template is compiled, so that a message costs nothing more: what Jinja is to fill in is
put aside, and back into the HTML that mrml makes. mrml (https://github.com/jdrouet/mrml) knows the tags of MJML 4
(https://documentation.mjml.io, as of 2026-11-30); it passes on what it does not know, so tags are looked at here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import count

import mrml
from jinja2 import TemplateSyntaxError

BLOCK = r"{%%-?\s*block\s+%s\s[^%%]*%%}"
HTML_BLOCK = re.compile(BLOCK % "html" + r"(.*?){%-?\s*endblock", re.DOTALL)
TEXT_BLOCK = re.compile(BLOCK % "text")
JINJA = re.compile(r"{{.*?}}|{%.*?%}|{#.*?#}", re.DOTALL)
OPENING = re.compile(r"{(?=[{%#])")
MARK = re.compile(r"jinja\d+mark")
TAG = re.compile(r"<(mj-?[\w-]*)")
TAGS = {"mjml"} | {
    f"mj-{name}"
    for name in """
        accordion accordion-element accordion-text accordion-title all attributes body breakpoint button carousel
        carousel-image class column divider font group head hero image navbar navbar-link preview raw section social
        social-element spacer style table text title wrapper
    """.split()  # noqa: SIM905 - a list of so many is harder to read
}
NOT_READ = {"mj-head", "mj-style", "head", "style", "script", "title"}
LINES = {"p", "h1", "h2", "h3", "h4", "tr", "li", "div", "table", "ul", "ol", "hr", "blockquote"} | {
    f"mj-{name}" for name in ("text", "button", "image", "section", "divider", "table", "raw", "navbar-link", "hero")
}
LINKS = {"a", "mj-button", "mj-navbar-link", "mj-social-element"}
_OPTIONS = mrml.RenderOptions(fonts={})  # a mail loads no fonts from elsewhere


def expanded(source: str) -> str:
    """A message template whose MJML is HTML, with a block `text` where `html` has none. Raises TemplateSyntaxError."""
    found = HTML_BLOCK.search(source)
    if not found:
        return source
    markup = found[1]
    html = (
        _as_html(markup, source.count("\n", 0, found.start(1)) + 1) if markup.lstrip().startswith("<mjml") else markup
    )
    text = "" if TEXT_BLOCK.search(source) else f"\n{{% block text %}}{as_text(markup)}{{% endblock %}}\n"
    return source[: found.start(1)] + html + source[found.end(1) :] + text


def _as_html(markup: str, line: int) -> str:
    marked, jinja = _put_aside(markup)
    if unknown := [tag for tag in TAG.finditer(marked) if tag[1] not in TAGS]:
        at = line + marked.count("\n", 0, unknown[0].start())
        raise TemplateSyntaxError(f"MJML has no tag <{unknown[0][1]}>", at)
    try:
        html = mrml.to_html(marked, None, _OPTIONS).content
    except OSError as error:  # what mrml raises for all that it cannot read
        raise TemplateSyntaxError(f"this MJML cannot be read: {error}", line) from None
    lost = [jinja[mark] for mark in jinja if mark not in html and not jinja[mark].startswith("{#")]
    if lost:
        raise TemplateSyntaxError(f"MJML leaves out {lost[0]}; put it into <mj-text> or <mj-raw>", line)
    return _put_back(html, jinja)


def _put_aside(markup: str) -> tuple[str, dict[str, str]]:
    """The markup with a mark in place of each piece of Jinja, and what each stands for. Lines stay as they are."""
    number, jinja = count(), {}

    def mark(found: re.Match[str]) -> str:
        name = f"jinja{next(number)}mark"
        jinja[name] = found[0]
        return name + "\n" * found[0].count("\n")

    return JINJA.sub(mark, markup), jinja


def _put_back(text: str, jinja: dict[str, str]) -> str:
    return MARK.sub(lambda found: jinja.get(found[0], found[0]), text)


def as_text(markup: str) -> str:
    """What HTML or MJML says, as a mail's text part says it: links behind their words, pictures by their words.

    What Jinja fills in stays.
    """
    marked, jinja = _put_aside(markup)
    reader = _Reader()
    reader.feed(marked)
    reader.close()
    text = OPENING.sub("{ ", "\n".join(_lines("".join(reader.pieces))))  # as &#123;{ would be one to Jinja
    return _put_back(text, jinja)


def _lines(text: str) -> Iterator[str]:
    """Without blanks at their ends, and one empty line where there are several."""
    before = ""
    for line in (" ".join(line.split()) for line in text.split("\n")):
        if line or before:
            yield line
        before = line


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self.hidden = 0
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = {name: value or "" for name, value in attrs}
        self.hidden += tag in NOT_READ
        if tag == "br":
            self.pieces.append("\n")
        elif tag in LINES:
            self.pieces.append("\n\n" if tag != "tr" else "\n")
        elif tag in {"td", "th"}:
            self.pieces.append(" ")
        if tag in LINKS:
            self.links.append(told.get("href", ""))
        if tag in {"img", "mj-image"} and told.get("alt") and not self.hidden:
            self.pieces.append(told["alt"])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.hidden -= tag in NOT_READ
        if tag in LINKS:
            self.links.pop()

    def handle_endtag(self, tag: str) -> None:
        self.hidden = max(0, self.hidden - (tag in NOT_READ))
        if tag in LINKS and self.links and (address := self.links.pop()):
            self.pieces.append(f": {address}")
        if tag in LINES:
            self.pieces.append("\n")

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.pieces.append(re.sub(r"\s+", " ", data))
