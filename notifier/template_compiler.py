"""The compiler of message templates: Jinja, sandboxed, with short cuts for what is the same in every message.

What is the same in every message is worked out once. A block that is but text with values in it is rendered once
a message, as text, and escaped for HTML.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from enum import Enum, auto
from functools import cache
from itertools import islice
from typing import Any, NamedTuple

from django.conf import settings
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template, Undefined, nodes, pass_context
from jinja2.compiler import CodeGenerator, Frame, optimizeconst
from jinja2.exceptions import TemplateRuntimeError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing
from jinja2.visitor import NodeTransformer
from markupsafe import Markup, escape

from notifier import formats, mjml

SPECIAL = re.compile("[&<>\"']")  # what HTML escapes
MOST_ROUNDS = 1_000  # of a loop, in a template that staff wrote
LARGEST = 1_000_000  # characters of a block of one
ENDS = "_ends"  # the variable that says when its time is over, by time.monotonic()


class _Absent(StrictUndefined):
    """An optional key of the metadata may be tested and filtered. Printing it fails; so does a wrong name."""

    __slots__ = ()

    def __bool__(self) -> bool:  # type: ignore[override] # Jinja types it as the function that raises
        if self._undefined_obj is missing:
            self._fail_with_undefined_error()
        return False


class Nature(Enum):
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


def _nature(block: nodes.Block) -> Nature:
    kinds = {type(node) for node in block.find_all(nodes.Node)}
    if kinds <= CONSTANT_NODES:
        return Nature.CONSTANT
    ours = all(node.name in formats.FILTERS for node in block.find_all(nodes.Filter))  # one of Jinja's may tell HTML
    special = any(SPECIAL.search(node.data) for node in block.find_all(nodes.TemplateData))
    return Nature.PLAIN if kinds <= PLAIN_NODES and ours and not special else Nature.OTHER


class _Code(CodeGenerator):
    """Jinja's compiler, with short cuts: a key of a dict at hand, and our own escape for what HTML prints."""

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


class Made(NamedTuple):
    """A compiled template, and the natures of its blocks."""

    template: Template
    natures: Mapping[str, Nature]


class MessageEnvironment(ImmutableSandboxedEnvironment):
    """Jinja, sandboxed, where `metadata.items` is the key and never a method of the dict."""

    code_generator_class = _Code

    def __init__(self, **options: Any) -> None:
        super().__init__(undefined=_Absent, trim_blocks=True, lstrip_blocks=True, **options)
        self.filters.update(formats.FILTERS)
        self.natures: dict[str, Mapping[str, Nature]] = {}  # of the blocks, by template

    def made(self, source: str, name: str) -> Made:
        """A template that is in no file. Kept by its caller alone. Raises TemplateSyntaxError."""
        tree = self.parse(mjml.expanded(source), name)
        natures = self.prepared(tree)
        return Made(Template.from_code(self, super().compile(tree, name), self.make_globals(None)), natures)

    def prepared(self, tree: nodes.Template) -> Mapping[str, Nature]:
        """Change a tree into what is compiled; the natures of its blocks."""
        return {block.name: _nature(block) for block in _Constants(tree, self).folded().find_all(nodes.Block)}

    def getattr(self, obj: Any, attribute: str) -> Any:
        return self._key(obj, attribute) if isinstance(obj, formats.MAPPING) else super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any | Undefined:
        return self._key(obj, argument) if isinstance(obj, formats.MAPPING) else super().getitem(obj, argument)

    def compile(self, source: str | nodes.Template, name: str | None = None, *args: Any, **options: Any) -> Any:
        tree = self.parse(source, name, *args) if isinstance(source, str) else source
        self.natures[str(name)] = self.prepared(tree)
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

    def visit_Name(self, node: nodes.Name) -> nodes.Node:  # noqa: N802 - Jinja's name
        known = node.ctx == "load" and node.name in self.texts
        return nodes.Const(self.texts[node.name], lineno=node.lineno) if known else node


class TooMuchError(TemplateRuntimeError):
    """A template that takes too long, or says too much."""


class _Bounded(MessageEnvironment):
    """For templates that staff write: a loop has an end, and so has a block."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.filters["_bounded"] = _bounded

    def prepared(self, tree: nodes.Template) -> Mapping[str, Nature]:
        for loop in tree.find_all(nodes.For):
            loop.iter = nodes.Filter(loop.iter, "_bounded", [], [], None, None, lineno=loop.lineno)
        return super().prepared(tree)

    @staticmethod
    def concat(shown: Iterable[str]) -> str:
        pieces, length = [], 0
        for piece in shown:
            length += len(piece)
            if length > LARGEST:
                raise TooMuchError(f"more than {LARGEST} characters")
            pieces.append(piece)
        return "".join(pieces)


@pass_context
def _bounded(context: Context, items: Iterable[Any]) -> list[Any]:
    if time.monotonic() > context.get(ENDS, 0.0):
        raise TooMuchError("it takes too long")
    found = list(islice(iter(items), MOST_ROUNDS + 1))
    if len(found) > MOST_ROUNDS:
        raise TooMuchError(f"a loop of more than {MOST_ROUNDS} rounds")
    return found


class _Files(FileSystemLoader):
    """Those of the project. What is written in MJML becomes HTML here."""

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, Any]:
        source, path, is_current = super().get_source(environment, template)
        return mjml.expanded(source), path, is_current


@cache
def environment(format_: str, *, bounded: bool = False) -> MessageEnvironment:
    """The one of a format, "text" or "html". `bounded`: for what staff write, which no file includes."""
    kind = _Bounded if bounded else MessageEnvironment
    return kind(
        loader=None if bounded else _Files(settings.MESSAGE_TEMPLATE_DIRS),
        autoescape=format_ == "html",
        auto_reload=False,
        cache_size=-1,
    )
