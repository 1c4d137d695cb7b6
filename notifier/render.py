"""Rendering: an event's message templates become the parts that a channel sends.

A message file {EVENT_TYPE}/{CHANNEL}.{locale}.j2 holds a message's text as Jinja blocks. Blocks that it lacks
come from layouts/{CHANNEL}.{locale}.j2, the words that the channel's messages share. For each part of the
channel the layout layouts/{CHANNEL}.{part}.j2 is rendered if there is one, with the blocks at hand as
`message.NAME`; else the part is the block of its name. So a text is written once, for HTML and plain text.
A message with a block `html` of its own, in HTML or MJML (notifier/mjml.py), needs no layout for it, nor for `text`.

Values are escaped in html parts. Templates run sandboxed: they cannot reach Python through a value.

What staff write instead of a file is a MessageTemplate like a file's; notifier/serving.py says which one serves.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from urllib.parse import quote
from uuid import UUID

from django.conf import settings
from django.core.signals import setting_changed
from jinja2 import FileSystemLoader, Template, TemplateError, TemplateNotFound
from jinja2.exceptions import SecurityError, TemplateSyntaxError, UndefinedError
from jinja2.runtime import Context
from markupsafe import Markup, escape

from notifier import formats
from notifier.links import NO_LINKS, Links
from notifier.template_compiler import ENDS, Made, MessageEnvironment, Nature, TooMuchError, environment

HEADER_PARTS = frozenset({"subject", "title"})  # parts that are one line by their nature
BLANK_LINES = re.compile(r"\n[^\S\n]*\n\s*\n")
TELLING = (UndefinedError, SecurityError, TemplateSyntaxError, TemplateNotFound, TooMuchError)  # no values
PATIENCE = 1.0  # seconds that a message of a template of staff's may take


class RenderError(ValueError):
    """A message that cannot be rendered. Says which template and why, and holds no personal data."""

    def __init__(self, template: str, cause: BaseException) -> None:
        detail = f": {cause.message}" if isinstance(cause, TELLING) else ""
        line = f" ({cause.name}, line {cause.lineno})" if isinstance(cause, TemplateSyntaxError) else ""
        super().__init__(f"{template}{line}: {type(cause).__name__}{detail}")
        self.template = template
        self.reason = str(cause.message) if isinstance(cause, TELLING) else type(cause).__name__
        self.line = cause.lineno if isinstance(cause, TemplateSyntaxError) else 0


@dataclass(frozen=True, slots=True)
class MessageContext:
    """What a message is about and for whom. `locale` is a language tag (de-AT), `time_zone` an IANA name.

    `recorded_at` is aware; `links` are empty where the channel holds none.
    """

    order_id: str
    metadata: Mapping[str, Any]
    recorded_at: datetime
    locale: str
    time_zone: str
    event_id: UUID | str
    links: Links = NO_LINKS


def render(
    channel: str,
    parts: Mapping[str, str],
    event_type: str,
    context: MessageContext,
    template: MessageTemplate | None = None,
) -> dict[str, str]:
    """The text of each of the channel's parts ({name: "text" or "html"}), by its file unless a template is given.

    Raises RenderError.
    """
    template = template or from_file(event_type, channel, context.locale, next(iter(parts), ""))
    if template is None:
        raise RenderError(f"{event_type}/{channel}", TemplateNotFound(f"{event_type}/{channel}.*.j2"))
    message = _Message(template, _variables(context, template))
    return {name: message.part(name, format_) for name, format_ in parts.items()}


def missing_templates(channel: str, parts: Mapping[str, str], event_type: str, locales: Iterable[str]) -> list[str]:
    """What the channel's message of this type lacks in these locales: files, blocks, or correct syntax."""
    names = (f"{event_type}/{channel}.{locale}.j2" for locale in locales)
    return [problem for name in names for problem in _problems(name, channel, parts)]


def precompile() -> None:
    """Compile all templates, so that a worker's first message is as fast as the next. Raises RenderError."""
    for format_ in ("text", "html"):
        for name in environment(format_).list_templates(extensions=["j2"]):
            try:
                environment(format_).get_template(name)
            except TemplateError as error:
                raise RenderError(name, error) from None


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """A block in a format: what it shows if that is `constant`, or else, if it is plain and this HTML, its `text`."""

    name: str
    template: Template
    constant: str | None
    text: Block | None


@dataclass(frozen=True, slots=True, eq=False)
class MessageTemplate:
    """A message's blocks by format and name, with the words that its channel shares; compiled.

    `name` is for errors; `label` says with what a message was rendered (Attempt.template): "v12" is a version, "f:" and
    eight hex digits of its SHA-256 a file. `own`: the blocks that are not shared words.
    """

    name: str
    label: str
    channel: str
    locale: str
    bounded: bool
    own: frozenset[str]
    blocks: Mapping[str, Mapping[str, Block]]

    def layout(self, part: str, format_: str) -> Template | None:
        """What the part is laid out by; None where its block is the part."""
        if "html" in self.own and part in self.own:
            return None
        return _layout(self.channel, part, format_)


def from_file(event_type: str, channel: str, locale: str, part: str = "") -> MessageTemplate | None:
    """The file that a recipient of this locale gets. Raises RenderError, which names the part that was wanted."""
    name = _find(f"{event_type}/{channel}", locale)
    try:
        return _file(name, channel) if name else None
    except TemplateError as error:
        raise RenderError(f"{name}, {part}".removesuffix(", "), error) from None


def file_source(event_type: str, channel: str, locale: str) -> str | None:
    """The file of just this locale, as it was written."""
    name = f"{event_type}/{channel}.{locale}.j2"
    try:
        return FileSystemLoader(settings.MESSAGE_TEMPLATE_DIRS).get_source(environment("text"), name)[0]
    except TemplateNotFound:
        return None


def from_source(source: str, label: str, event_type: str, channel: str, locale: str) -> MessageTemplate:
    """What staff wrote, compiled. Raises RenderError."""
    name = f"{event_type}/{channel}.{locale} {label}"
    try:
        made = {f: environment(f, bounded=True).made(source, name) for f in ("text", "html")}
        return _template(name, label, channel, locale, made)
    except Exception as error:  # noqa: BLE001 - whatever the compiler makes of it, it is this template's alone
        raise RenderError(name, error) from None


@lru_cache(maxsize=4096)
def _file(name: str, channel: str) -> MessageTemplate:
    source = environment("text").loader.get_source(environment("text"), name)[0]  # type: ignore[union-attr] # it has one
    label = f"f:{hashlib.sha256(source.encode()).hexdigest()[:8]}"
    made = {f: _from_file(environment(f), name) for f in ("text", "html")}
    return _template(name, label, channel, name.split(".")[-2], made)


def _from_file(compiled_by: MessageEnvironment, name: str) -> Made:
    template = compiled_by.get_template(name)
    return Made(template, compiled_by.natures[name])


def _template(name: str, label: str, channel: str, locale: str, made: Mapping[str, Made]) -> MessageTemplate:
    """The blocks at hand: those of the message before the words that the channel shares."""
    shared = _find(f"layouts/{channel}", locale)
    blocks: dict[str, dict[str, Block]] = {}
    for format_ in ("text", "html"):
        texts = blocks.get("text", {})
        sources = [*([_from_file(environment(format_), shared)] if shared else []), made[format_]]
        blocks[format_] = {
            block: _block(one.template, block, nature, texts.get(block) if format_ == "html" else None)
            for one in sources
            for block, nature in one.natures.items()
        }
    bounded = label.startswith("v")
    return MessageTemplate(name, label, channel, locale, bounded, frozenset(made["text"].natures), blocks)


def _block(template: Template, name: str, nature: Nature, text: Block | None) -> Block:
    constant = _run(template, name, _context(template, {})) if nature is Nature.CONSTANT else None
    return Block(name, template, constant, text if nature is Nature.PLAIN else None)


class _Message:
    """One message being rendered: its blocks are rendered once in each format, where needed."""

    def __init__(self, template: MessageTemplate, variables: dict[str, Any]) -> None:
        self.template, self.variables = template, variables
        self.rendered: dict[Block, str] = {}
        self.contexts: dict[Template, Context] = {}  # a template's blocks share one

    def part(self, name: str, format_: str) -> str:
        try:
            layout = self.template.layout(name, format_)
            shown = self._laid_out(layout, format_) if layout else self._block(name, format_)
        except Exception as error:  # noqa: BLE001 - a template can raise anything; it is this message's alone
            raise RenderError(f"{self.template.name}, {name}", error) from None
        return str(formats.one_line(shown)) if name in HEADER_PARTS else _tidy(shown)

    def _laid_out(self, layout: Template, format_: str) -> str:
        blocks = self.template.blocks[format_]
        shown = {name: block.constant or self._shown(block) for name, block in blocks.items()}
        context = _context(layout, {**self.variables, "message": shown})
        return "".join(layout.root_render_func(context))

    def _block(self, name: str, format_: str) -> str:
        block = self.template.blocks[format_].get(name)
        if block is None:
            raise TemplateNotFound(f"block {name}")
        return block.constant or self._shown(block)

    def _shown(self, block: Block) -> str:
        if block not in self.rendered:
            self.rendered[block] = escape(self._shown(block.text)) if block.text else self._rendered(block)
        return self.rendered[block]

    def _rendered(self, block: Block) -> str:
        if block.template not in self.contexts:
            self.contexts[block.template] = _context(block.template, self.variables)
        return _run(block.template, block.name, self.contexts[block.template])


def _run(template: Template, block: str, context: Context) -> str:
    shown = template.environment.concat(template.blocks[block](context)).strip()
    # the environment has escaped it
    return Markup(shown) if template.environment.autoescape else shown  # noqa: S704 # nosec B704


def _context(template: Template, variables: dict[str, Any]) -> Context:
    """Of variables that hold the globals too: Template.new_context would merge these each time, at 10 µs and more."""
    return Context(template.environment, variables, template.name, template.blocks)


@lru_cache(maxsize=4096)
def _layout(channel: str, part: str, format_: str) -> Template | None:
    name = f"layouts/{channel}.{part}.j2"
    return environment(format_).get_template(name) if _exists(name) else None


def locales_for(locale: str) -> list[str]:
    """What a recipient may get, the best first: the own locale's, its language's (de-AT → de), the default's."""
    tag = locale.replace("_", "-") if formats.LOCALE.fullmatch(locale) else settings.DEFAULT_LOCALE
    shorter = ["-".join(tag.split("-")[:length]) for length in range(tag.count("-") + 1, 0, -1)]
    return [*shorter, settings.DEFAULT_LOCALE]


@lru_cache(maxsize=4096)
def _find(stem: str, locale: str) -> str | None:
    names = (f"{stem}.{candidate}.j2" for candidate in locales_for(locale))
    return next((name for name in names if _exists(name)), None)


def _exists(name: str) -> bool:
    try:
        environment("text").loader.get_source(environment("text"), name)  # type: ignore[union-attr] # it has one
    except TemplateNotFound:
        return False
    except TemplateError:
        return True  # its MJML is broken
    return True


def _problems(name: str, channel: str, parts: Mapping[str, str]) -> list[str]:
    if not _exists(name):
        return [name]
    try:
        template = _file(name, channel)
        bare = [part for part, format_ in parts.items() if template.layout(part, format_) is None]
    except TemplateError as error:
        return [str(RenderError(name, error))]
    return [f"{name}: block {part}" for part in bare if part not in template.blocks["text"]]


def _variables(context: MessageContext, template: MessageTemplate) -> dict[str, Any]:
    """The names that a template sees."""
    return {
        **_standing(context.locale, template.locale),
        "order_id": formats.one_line(context.order_id),
        "order_url": _order_url(context.order_id),
        "metadata": context.metadata,
        "recorded_at": context.recorded_at,
        "event_id": str(context.event_id),
        "time_zone": context.time_zone,
        "links": context.links,
        **({ENDS: time.monotonic() + PATIENCE} if template.bounded else {}),
    }


@lru_cache(maxsize=4096)
def _standing(locale: str, language: str) -> dict[str, Any]:
    """Those that all messages in a language to recipients of a locale share."""
    same = formats.babel_locale(locale).language == formats.babel_locale(language).language
    return {
        **environment("text").globals,  # both formats have the same
        "shop": settings.SHOP,
        "language": language,
        "locale": locale if same else language,  # a text in another language than the recipient's has its own formats
    }


def _order_url(order_id: str) -> str:
    pattern = str(settings.SHOP.get("order_url", ""))
    return formats.web_url(pattern.replace("{orderId}", quote(order_id, safe=""))) if pattern else ""


def _tidy(shown: str) -> str:
    """Blank lines that conditions left behind become one. A plain string, also of Markup."""
    return BLANK_LINES.sub("\n\n", str(shown)).strip()


def _forget(*, setting: str, **_: object) -> None:
    if setting in {"MESSAGE_TEMPLATE_DIRS", "DEFAULT_LOCALE", "SHOP"}:
        for kept in (environment, _file, _layout, _find, _standing):
            kept.cache_clear()


setting_changed.connect(_forget)  # only tests change settings
