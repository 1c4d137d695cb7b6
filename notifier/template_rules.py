"""What a template that staff write may hold: what fills in, tests and repeats; nothing that calls, includes, computes.

So it can neither reach beyond its message nor grow without end, and everybody can read it. Behind it stand the sandbox
and the bounds of notifier/template_compiler.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from jinja2 import meta, nodes

from notifier import formats
from notifier.template_compiler import MessageEnvironment

LARGEST = 100_000  # characters of a template
VARIABLES = frozenset(
    """
    order_id order_url metadata recorded_at event_id time_zone links shop language locale loop
    """.split()  # noqa: SIM905 - a list of so many is harder to read
)
NODES = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.Block, nodes.If, nodes.For, nodes.Assign, nodes.Name),
    *(nodes.Const, nodes.Getattr, nodes.Getitem, nodes.Slice, nodes.Filter, nodes.Test, nodes.Compare, nodes.Operand),
    *(nodes.And, nodes.Or, nodes.Not, nodes.CondExpr, nodes.Concat, nodes.List, nodes.Tuple, nodes.Keyword, nodes.Neg),
)
FILTERS = frozenset(formats.FILTERS) | frozenset(
    """
    abs capitalize count d default e escape first float int join last length list lower round sort string striptags
    title trim truncate unique upper
    """.split()  # noqa: SIM905 - as above
)
WHY_NOT: Mapping[type[nodes.Node], str] = {
    **dict.fromkeys(
        (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends), "Other files cannot be taken in from here."
    ),
    **dict.fromkeys((nodes.Call, nodes.CallBlock, nodes.Macro), "Nothing can be called; filters do what is needed."),
    **dict.fromkeys(
        (nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Pow, nodes.Pos),
        "A template does not compute. To join texts, write them one after the other.",
    ),
}


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """`line`: 0 where it concerns the whole. An error keeps a template from being saved, a hint does not."""

    line: int
    text: str
    error: bool = True


def broken_rules(environment: MessageEnvironment, source: str, tree: nodes.Template) -> list[Problem]:
    """What is in it that must not be. Nothing is computed to find it out."""
    tokens = environment.lex(source)
    found = [Problem(line, "{% raw %} is not available.") for line, kind, _ in tokens if kind == "raw_begin"]
    found += [problem for node in tree.find_all(nodes.Node) for problem in _of_node(node)]
    if tree.find(nodes.Block) is None:
        found.append(Problem(0, "There is no block: a message is what stands in {% block … %}."))
    if not found:  # the compiler, which is asked for the names, would work out constants, as 9 ** 9 ** 9
        unknown = sorted(meta.find_undeclared_variables(tree) - VARIABLES)
        found += [Problem(line_of(tree, n), f"There is no variable {n}.{_perhaps(n, VARIABLES)}") for n in unknown]
    return found


def _of_node(node: nodes.Node) -> Iterator[Problem]:
    if isinstance(node, nodes.Filter) and node.name not in FILTERS:
        safe = "Values are escaped in HTML, always: |safe is not available."
        known = f"There is no filter {node.name}.{_perhaps(node.name, FILTERS)}"
        yield Problem(node.lineno, safe if node.name == "safe" else known)
    elif isinstance(node, nodes.Assign) and (isinstance(node.node, nodes.Concat) or node.node.find(nodes.Concat)):
        yield Problem(node.lineno, "{% set %} takes one value; join texts where they are shown.")
    elif isinstance(node, nodes.For) and node.recursive:
        yield Problem(node.lineno, "A loop cannot be recursive.")
    elif not isinstance(node, NODES) and node.lineno:  # what has no line stands within another that has
        yield Problem(node.lineno, WHY_NOT.get(type(node), f"{type(node).__name__} is not available."))


def unknown_keys(tree: nodes.Template, known: Mapping[str, Any]) -> Iterator[Problem]:
    """Keys of the metadata that the event type does not name."""
    for key in sorted({key for key, _ in metadata_keys(tree)} - known.keys()):
        text = f"This event type does not name metadata.{key}, so it may be absent.{_perhaps(key, known)}"
        yield Problem(line_of_key(tree, key), text, error=False)


def metadata_keys(tree: nodes.Template) -> Iterator[tuple[str, int]]:
    """(key, line) of each time that metadata is looked into."""
    looks: list[tuple[nodes.Expr, Any, int]]
    looks = [(node.node, node.attr, node.lineno) for node in tree.find_all(nodes.Getattr)]
    looks += [(node.node, getattr(node.arg, "value", None), node.lineno) for node in tree.find_all(nodes.Getitem)]
    for of, key, line in looks:
        if isinstance(of, nodes.Name) and of.name == "metadata" and isinstance(key, str):
            yield key, line


def line_of_key(tree: nodes.Template, key: str) -> int:
    return min((line for found, line in metadata_keys(tree) if found == key), default=0)


def line_of(tree: nodes.Template, name: str) -> int:
    """Where a variable, or an attribute of any, is first used; 0 if nowhere."""
    names = [node.lineno for node in tree.find_all(nodes.Name) if node.name == name]
    return min(names + [node.lineno for node in tree.find_all(nodes.Getattr) if node.attr == name], default=0)


def _perhaps(name: str, known: Any) -> str:
    close = get_close_matches(name, list(known), 1)
    return f" Did you mean {close[0]}?" if close else ""
