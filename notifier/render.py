"""Rendering: an event's message templates become the parts that a channel sends.

A message file {EVENT_TYPE}/{CHANNEL}.{locale}.j2 holds a message's text as Jinja blocks. Blocks that it lacks
come from layouts/{CHANNEL}.{locale}.j2, the words that the channel's messages share. For each part of the
channel the layout layouts/{CHANNEL}.{part}.j2 is rendered if there is one, with the blocks at hand as
`message.NAME`; else the part is the block of its name. So a text is written once, for HTML and plain text.

Values are escaped in html parts. Templates run sandboxed: they cannot reach Python through a value.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache
from typing import Any
from urllib.parse import quote
from uuid import UUID

from django.conf import settings
from django.core.signals import setting_changed
from jinja2 import (
    Environment,
    FileSystemLoader,
    StrictUndefined,
    Template,
    TemplateError,
    TemplateNotFound,
    Undefined,
    nodes,
)
from jinja2.exceptions import SecurityError, TemplateSyntaxError, UndefinedError
from jinja2.runtime import Context, new_context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing
from jinja2.visitor import NodeTransformer
from markupsafe import Markup

from notifier import formats

MAPPING = (dict, Mapping)  # a dict is known at once, an abstract class costs a look-up
HEADER_PARTS = frozenset({"subject", "title"})  # parts that are one line by their nature
TELLING = (UndefinedError, SecurityError, TemplateSyntaxError, TemplateNotFound)  # name code, never a value


class RenderError(ValueError):
    """A message that cannot be rendered. Says which template and why, and holds no personal data."""

    def __init__(self, template: str, cause: BaseException) -> None:
        detail = f": {cause.message}" if isinstance(cause, TELLING) else ""
        line = f" ({cause.name}, line {cause.lineno})" if isinstance(cause, TemplateSyntaxError) else ""
        super().__init__(f"{template}{line}: {type(cause).__name__}{detail}")
        self.template = template


@dataclass(frozen=True, slots=True)
class MessageContext:
    """What a message is about and for whom. `locale` is a language tag (de-AT), `time_zone` an IANA name.

    `recorded_at` is aware.
    """

    order_id: str
    metadata: Mapping[str, Any]
    recorded_at: datetime
    locale: str
    time_zone: str
    event_id: UUID | str


def render(channel: str, parts: Mapping[str, str], event_type: str, context: MessageContext) -> dict[str, str]:
    """The text of each of the channel's parts ({name: "text" or "html"}). Raises RenderError."""
    message_file = _find(f"{event_type}/{channel}", context.locale)
    if message_file is None:
        raise RenderError(f"{event_type}/{channel}", TemplateNotFound(f"{event_type}/{channel}.*.j2"))
    message = _Message(message_file, channel, _variables(context, message_file))
    return {name: message.part(name, format_) for name, format_ in parts.items()}


def missing_templates(channel: str, parts: Mapping[str, str], event_type: str, locales: Iterable[str]) -> list[str]:
    """What the channel's message of this type lacks in these locales: files, blocks, or correct syntax."""
    names = (f"{event_type}/{channel}.{locale}.j2" for locale in locales)
    return [problem for name in names for problem in _problems(name, channel, parts)]


def precompile() -> None:
    """Compile all templates, so that a worker's first message is as fast as the next. Raises RenderError."""
    for format_ in ("text", "html"):
        for name in _environment(format_).list_templates(extensions=["j2"]):
            try:
                _environment(format_).get_template(name)
            except TemplateError as error:
                raise RenderError(name, error) from None


class _Absent(StrictUndefined):
    """An optional key of the metadata may be tested and filtered. Printing it fails; so does a wrong name."""

    __slots__ = ()

    def __bool__(self) -> bool:  # type: ignore[override] # Jinja types it as the function that raises
        if self._undefined_obj is missing:
            self._fail_with_undefined_error()
        return False


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja, sandboxed, where `metadata.items` is the key and never a method of the dict."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        return self._key(obj, attribute) if isinstance(obj, MAPPING) else super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any | Undefined:
        return self._key(obj, argument) if isinstance(obj, MAPPING) else super().getitem(obj, argument)

    def compile(self, source: str | nodes.Template, *args: Any, **options: Any) -> Any:
        tree = self.parse(source, *args) if isinstance(source, str) else source
        return super().compile(_Constants(tree, self).folded(), *args, **options)

    def _key(self, obj: Mapping[Any, Any], key: Any) -> Any | Undefined:
        return obj[key] if key in obj else self.undefined(obj=obj, name=key)


class _Constants(NodeTransformer):
    """Puts into a template what is the same in every message, so that it is looked up and escaped but once, here.

    That is the shop (a change of settings.SHOP compiles anew), and what a layout sets to a text at its top.
    """

    def __init__(self, tree: nodes.Template, environment: Environment) -> None:
        self.tree, self.environment = tree, environment
        self.assigned = Counter(name.name for name in tree.find_all(nodes.Name) if name.ctx != "load")
        self.texts: dict[str, str] = {}

    def folded(self) -> nodes.Template:
        is_layout = self.tree.find(nodes.Block) is None  # a block is rendered without what stands above it
        for place, node in enumerate(self.tree.body):
            self.tree.body[place] = self.visit(node)
            if is_layout and isinstance(node, nodes.Assign):
                self._keep(node)
        return self.tree

    def _keep(self, node: nodes.Assign) -> None:
        name, value = node.target, node.node
        if isinstance(name, nodes.Name) and self.assigned[name.name] == 1 and isinstance(value, nodes.Expr):
            with suppress(nodes.Impossible):
                known = value.as_const(nodes.EvalContext(self.environment))
                if type(known) is str:
                    self.texts[name.name] = known

    def visit_Getattr(self, node: nodes.Getattr) -> nodes.Node:  # noqa: N802 - Jinja's name
        shop = isinstance(node.node, nodes.Name) and node.node.name == "shop" and not self.assigned["shop"]
        value = settings.SHOP.get(node.attr) if shop else None
        return nodes.Const(value, lineno=node.lineno) if isinstance(value, str) else self.generic_visit(node)

    def visit_Name(self, node: nodes.Name) -> nodes.Node:  # noqa: N802
        known = node.ctx == "load" and node.name in self.texts
        return nodes.Const(self.texts[node.name], lineno=node.lineno) if known else node


@cache
def _environment(format_: str) -> _Environment:
    environment = _Environment(
        loader=FileSystemLoader(settings.MESSAGE_TEMPLATE_DIRS),
        autoescape=format_ == "html",
        undefined=_Absent,
        auto_reload=False,
        cache_size=-1,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(formats.FILTERS)
    return environment


class _Message:
    """One message being rendered: its blocks are rendered once in each format, where needed."""

    def __init__(self, message_file: str, channel: str, variables: dict[str, Any]) -> None:
        self.file, self.channel, self.variables = message_file, channel, variables
        self.blocks: dict[str, dict[str, str]] = {}
        self.contexts: dict[Template, Context] = {}  # a template's blocks share one

    def part(self, name: str, format_: str) -> str:
        try:
            layout = _layout(self.channel, name, format_)
            shown = self._laid_out(layout, format_) if layout else self._block(name, format_)
        except Exception as error:  # noqa: BLE001 - a template can raise anything; it is this message's alone
            raise RenderError(f"{self.file}, {name}", error) from None
        return formats.one_line(shown) if name in HEADER_PARTS else _tidy(shown)

    def _laid_out(self, layout: Template, format_: str) -> str:
        if format_ not in self.blocks:
            found = _blocks(self.file, self.channel, format_)
            self.blocks[format_] = {name: self._shown(template, name, format_) for name, template in found.items()}
        context = _context(layout, {**self.variables, "message": self.blocks[format_]})
        return "".join(layout.root_render_func(context))

    def _block(self, name: str, format_: str) -> str:
        template = _blocks(self.file, self.channel, format_).get(name)
        if template is None:
            raise TemplateNotFound(f"block {name}")
        return self._shown(template, name, format_)

    def _shown(self, template: Template, name: str, format_: str) -> str:
        if template not in self.contexts:
            self.contexts[template] = _context(template, self.variables)
        shown = "".join(template.blocks[name](self.contexts[template])).strip()
        return Markup(shown) if format_ == "html" else shown  # noqa: S704 - the environment has escaped it


def _context(template: Template, variables: dict[str, Any]) -> Context:
    """Of variables that hold the globals too: Template.new_context would merge these each time, at 10 µs and more."""
    return new_context(template.environment, template.name, template.blocks, variables, shared=True)


@lru_cache(maxsize=4096)
def _blocks(message_file: str, channel: str, format_: str) -> dict[str, Template]:
    """The template that holds each block: the message file before the words that the channel shares."""
    shared = _find(f"layouts/{channel}", _locale_of(message_file))
    templates = [_environment(format_).get_template(name) for name in (shared, message_file) if name]
    return {name: template for template in templates for name in template.blocks}


@lru_cache(maxsize=4096)
def _layout(channel: str, part: str, format_: str) -> Template | None:
    name = f"layouts/{channel}.{part}.j2"
    return _environment(format_).get_template(name) if _exists(name) else None


@lru_cache(maxsize=4096)
def _find(stem: str, locale: str) -> str | None:
    """The file for the locale, its language (de-AT → de) or the default locale: the first that is there."""
    tag = locale.replace("_", "-") if formats.LOCALE.fullmatch(locale) else settings.DEFAULT_LOCALE
    shorter = ["-".join(tag.split("-")[:length]) for length in range(tag.count("-") + 1, 0, -1)]
    for candidate in (*shorter, settings.DEFAULT_LOCALE):
        if _exists(f"{stem}.{candidate}.j2"):
            return f"{stem}.{candidate}.j2"
    return None


def _exists(name: str) -> bool:
    environment = _environment("text")
    try:
        FileSystemLoader(settings.MESSAGE_TEMPLATE_DIRS).get_source(environment, name)
    except TemplateNotFound:
        return False
    return True


def _problems(name: str, channel: str, parts: Mapping[str, str]) -> list[str]:
    if not _exists(name):
        return [name]
    try:
        blocks = _blocks(name, channel, "text")
        bare = [part for part, format_ in parts.items() if _layout(channel, part, format_) is None]
    except TemplateError as error:
        return [str(RenderError(name, error))]
    return [f"{name}: block {part}" for part in bare if part not in blocks]


def _variables(context: MessageContext, message_file: str) -> dict[str, Any]:
    """The names that a template sees."""
    return {
        **_environment("text").globals,  # both formats have the same
        "shop": settings.SHOP,
        "order_id": formats.one_line(context.order_id),
        "order_url": _order_url(context.order_id),
        "metadata": context.metadata,
        "recorded_at": context.recorded_at,
        "event_id": str(context.event_id),
        "language": _locale_of(message_file),
        "locale": _formats_of(context.locale, _locale_of(message_file)),
        "time_zone": context.time_zone,
    }


def _order_url(order_id: str) -> str:
    pattern = str(settings.SHOP.get("order_url", ""))
    return formats.web_url(pattern.replace("{orderId}", quote(order_id, safe=""))) if pattern else ""


@lru_cache(maxsize=4096)
def _formats_of(locale: str, language: str) -> str:
    """The recipient's formats; a text in another language than theirs has its own."""
    same = formats.babel_locale(locale).language == formats.babel_locale(language).language
    return locale if same else language


@lru_cache(maxsize=4096)
def _locale_of(message_file: str) -> str:
    return message_file.split(".")[-2]


def _tidy(shown: str) -> str:
    """Blank lines that conditions left behind become one. A plain string, also of Markup."""
    return re.sub(r"\n\s*\n\s*\n", "\n\n", str(shown)).strip()


def _forget(*, setting: str, **_: object) -> None:
    if setting in {"MESSAGE_TEMPLATE_DIRS", "DEFAULT_LOCALE", "SHOP"}:
        for kept in (_environment, _blocks, _layout, _find):
            kept.cache_clear()


setting_changed.connect(_forget)  # only tests change settings
