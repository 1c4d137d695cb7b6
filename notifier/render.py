"""Rendering: an event's message templates become the parts that a channel sends.

A message file {EVENT_TYPE}/{CHANNEL}.{locale}.j2 holds a message's text as Jinja blocks. Blocks that it lacks
come from layouts/{CHANNEL}.{locale}.j2, the words that the channel's messages share. For each part of the
channel the layout layouts/{CHANNEL}.{part}.j2 is rendered if there is one, with the blocks at hand as
`message.NAME`; else the part is the block of its name. So a text is written once, for HTML and plain text.

Values are escaped in html parts. Templates run sandboxed: they cannot reach Python through a value.

What is the same in every message is worked out once. A block that is but text with values in it is rendered once
a message, as text, and escaped for HTML.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
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
from jinja2.compiler import CodeGenerator, Frame, optimizeconst
from jinja2.exceptions import SecurityError, TemplateSyntaxError, UndefinedError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing
from jinja2.visitor import NodeTransformer
from markupsafe import Markup, escape

from notifier import formats
from notifier.links import NO_LINKS, Links

HEADER_PARTS = frozenset({"subject", "title"})  # parts that are one line by their nature
SPECIAL = re.compile("[&<>\"']")  # what HTML escapes
BLANK_LINES = re.compile(r"\n[^\S\n]*\n\s*\n")
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

    `recorded_at` is aware; `links` are empty where the channel holds none.
    """

    order_id: str
    metadata: Mapping[str, Any]
    recorded_at: datetime
    locale: str
    time_zone: str
    event_id: UUID | str
    links: Links = NO_LINKS


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


class _Nature(Enum):
    """What a block comes to. Most are constant or plain, and cost little."""

    CONSTANT = auto()  # the same text in every message
    PLAIN = auto()  # text with values in it, neither HTML itself nor aware of it: escaped, it is the block in HTML
    OTHER = auto()


CONSTANT_NODES = {nodes.Output, nodes.TemplateData, nodes.Const}
PLAIN_NODES = {
    *CONSTANT_NODES,
    *(nodes.If, nodes.CondExpr, nodes.And, nodes.Or, nodes.Not, nodes.Compare, nodes.Operand),
    *(nodes.Name, nodes.Getattr, nodes.Getitem, nodes.Filter),
}


def _nature(block: nodes.Block) -> _Nature:
    kinds = {type(node) for node in block.find_all(nodes.Node)}
    if kinds <= CONSTANT_NODES:
        return _Nature.CONSTANT
    ours = all(node.name in formats.FILTERS for node in block.find_all(nodes.Filter))  # one of Jinja's may tell HTML
    special = any(SPECIAL.search(node.data) for node in block.find_all(nodes.TemplateData))
    return _Nature.PLAIN if kinds <= PLAIN_NODES and ours and not special else _Nature.OTHER


class _Code(CodeGenerator):
    """Jinja's compiler, with short cuts: a key of a dict at hand, and _Environment.escape for what HTML prints."""

    @optimizeconst
    def visit_Getattr(self, node: nodes.Getattr, frame: Frame) -> None:  # noqa: N802 - Jinja's name
        if isinstance(node.node, nodes.Name):
            name = frame.symbols.ref(node.node.name)
            self.write(f"({name}[{node.attr!r}] if type({name}) is dict and {node.attr!r} in {name} else ")
            super().visit_Getattr(node, frame)
            self.write(")")
        else:
            super().visit_Getattr(node, frame)

    def _output_child_pre(self, node: nodes.Expr, frame: Frame, finalize: CodeGenerator._FinalizeInfo) -> None:
        if frame.eval_ctx.autoescape and not frame.eval_ctx.volatile:
            self.write("environment.escape(")  # there is no finalize
        else:
            super()._output_child_pre(node, frame, finalize)


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja, sandboxed, where `metadata.items` is the key and never a method of the dict."""

    code_generator_class = _Code

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.natures: dict[str, dict[str, _Nature]] = {}  # of the blocks, by template

    def getattr(self, obj: Any, attribute: str) -> Any:
        return self._key(obj, attribute) if isinstance(obj, formats.MAPPING) else super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any | Undefined:
        return self._key(obj, argument) if isinstance(obj, formats.MAPPING) else super().getitem(obj, argument)

    def compile(self, source: str | nodes.Template, name: str | None = None, *args: Any, **options: Any) -> Any:
        tree = self.parse(source, name, *args) if isinstance(source, str) else source
        blocks = _Constants(tree, self).folded().find_all(nodes.Block)
        self.natures[str(name)] = {block.name: _nature(block) for block in blocks}
        return super().compile(tree, name, *args, **options)

    @staticmethod
    def escape(value: Any) -> str:
        """As Markup's escape, without making Markup, which takes longer than all else, of what is but printed."""
        if type(value) is str and not SPECIAL.search(value):
            return value
        return value if type(value) is Markup else escape(value)

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


@dataclass(frozen=True, slots=True, eq=False)
class _Block:
    """A block in a format: what it shows if that is `constant`, or else, if it is plain and this HTML, its `text`."""

    name: str
    template: Template
    constant: str | None
    text: _Block | None


class _Message:
    """One message being rendered: its blocks are rendered once in each format, where needed."""

    def __init__(self, message_file: str, channel: str, variables: dict[str, Any]) -> None:
        self.file, self.channel, self.variables = message_file, channel, variables
        self.rendered: dict[_Block, str] = {}
        self.contexts: dict[Template, Context] = {}  # a template's blocks share one

    def part(self, name: str, format_: str) -> str:
        try:
            layout = _layout(self.channel, name, format_)
            shown = self._laid_out(layout, format_) if layout else self._block(name, format_)
        except Exception as error:  # noqa: BLE001 - a template can raise anything; it is this message's alone
            raise RenderError(f"{self.file}, {name}", error) from None
        return str(formats.one_line(shown)) if name in HEADER_PARTS else _tidy(shown)

    def _laid_out(self, layout: Template, format_: str) -> str:
        blocks = _blocks(self.file, self.channel, format_)
        shown = {name: block.constant or self._shown(block) for name, block in blocks.items()}
        context = _context(layout, {**self.variables, "message": shown})
        return "".join(layout.root_render_func(context))

    def _block(self, name: str, format_: str) -> str:
        block = _blocks(self.file, self.channel, format_).get(name)
        if block is None:
            raise TemplateNotFound(f"block {name}")
        return block.constant or self._shown(block)

    def _shown(self, block: _Block) -> str:
        if block not in self.rendered:
            self.rendered[block] = escape(self._shown(block.text)) if block.text else self._rendered(block)
        return self.rendered[block]

    def _rendered(self, block: _Block) -> str:
        if block.template not in self.contexts:
            self.contexts[block.template] = _context(block.template, self.variables)
        return _run(block.template, block.name, self.contexts[block.template])


def _run(template: Template, block: str, context: Context) -> str:
    shown = "".join(template.blocks[block](context)).strip()
    # the environment has escaped it
    return Markup(shown) if template.environment.autoescape else shown  # noqa: S704 # nosec B704


def _context(template: Template, variables: dict[str, Any]) -> Context:
    """Of variables that hold the globals too: Template.new_context would merge these each time, at 10 µs and more."""
    return Context(template.environment, variables, template.name, template.blocks)


@lru_cache(maxsize=4096)
def _blocks(message_file: str, channel: str, format_: str) -> dict[str, _Block]:
    """The blocks at hand: those of the message file before the words that the channel shares."""
    environment, shared = _environment(format_), _find(f"layouts/{channel}", _locale_of(message_file))
    templates = [environment.get_template(name) for name in (shared, message_file) if name]
    texts = _blocks(message_file, channel, "text") if format_ == "html" else {}
    return {
        name: _made(template, name, nature, texts.get(name))
        for template in templates
        for name, nature in environment.natures[str(template.name)].items()
    }


def _made(template: Template, name: str, nature: _Nature, text: _Block | None) -> _Block:
    constant = _run(template, name, _context(template, {})) if nature is _Nature.CONSTANT else None
    return _Block(name, template, constant, text if nature is _Nature.PLAIN else None)


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
        **_standing(context.locale, message_file),
        "order_id": formats.one_line(context.order_id),
        "order_url": _order_url(context.order_id),
        "metadata": context.metadata,
        "recorded_at": context.recorded_at,
        "event_id": str(context.event_id),
        "time_zone": context.time_zone,
        "links": context.links,
    }


@lru_cache(maxsize=4096)
def _standing(locale: str, message_file: str) -> dict[str, Any]:
    """Those that all messages of a file to recipients of a locale share."""
    language = _locale_of(message_file)
    same = formats.babel_locale(locale).language == formats.babel_locale(language).language
    return {
        **_environment("text").globals,  # both formats have the same
        "shop": settings.SHOP,
        "language": language,
        "locale": locale if same else language,  # a text in another language than the recipient's has its own formats
    }


def _order_url(order_id: str) -> str:
    pattern = str(settings.SHOP.get("order_url", ""))
    return formats.web_url(pattern.replace("{orderId}", quote(order_id, safe=""))) if pattern else ""


@lru_cache(maxsize=4096)
def _locale_of(message_file: str) -> str:
    return message_file.split(".")[-2]


def _tidy(shown: str) -> str:
    """Blank lines that conditions left behind become one. A plain string, also of Markup."""
    return BLANK_LINES.sub("\n\n", str(shown)).strip()


def _forget(*, setting: str, **_: object) -> None:
    if setting in {"MESSAGE_TEMPLATE_DIRS", "DEFAULT_LOCALE", "SHOP"}:
        for kept in (_environment, _blocks, _layout, _find, _standing):
            kept.cache_clear()


setting_changed.connect(_forget)  # only tests change settings
