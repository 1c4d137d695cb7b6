"""Is a template that staff write fit to serve? What is missing, misspelt or fails at times is found before."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from django.conf import settings
from django.utils import timezone
from jinja2 import TemplateSyntaxError, nodes

from channels import registry
from notifier.catalogue import EventType, event_types
from notifier.links import NO_LINKS, Links
from notifier.querysets.templates import Place
from notifier.render import MessageContext, MessageTemplate, RenderError, from_source, render
from notifier.template_compiler import environment
from notifier.template_rules import LARGEST, Problem, broken_rules, line_of, line_of_key, unknown_keys

SLOWEST = 0.1  # seconds that a message may take
RECIPIENT_ZONE = "Europe/Berlin"
ATTRIBUTE = re.compile(r"attribute '(\w+)'")


def sample_context(
    event_type: EventType, locale: str, metadata: Mapping[str, Any] | None = None, *, links: bool = False
) -> MessageContext:
    """As an event of this type would be rendered, with its sample unless other metadata is given. Nobody's data."""
    metadata = event_type.sample if metadata is None else metadata
    shown = (
        Links(*(f"{settings.PUBLIC_URL}/{page}/…" for page in ("preferences", "unsubscribe"))) if links else NO_LINKS
    )
    return MessageContext(
        order_id=str(metadata.get("orderId", "")),
        metadata=metadata,
        recorded_at=timezone.now(),
        locale=locale,
        time_zone=RECIPIENT_ZONE,
        event_id="00000000-0000-7000-8000-000000000000",
        links=shown if links else NO_LINKS,
    )


def least(event_type: EventType) -> dict[str, Any]:
    """The sample, of which only what the type requires."""
    return {key: event_type.sample[key] for key in event_type.schema.get("required", ())}


def problems(source: str, place: Place) -> list[Problem]:
    """Errors and hints, by line; empty where all is well."""
    tree, found = _parsed(source)
    if tree is None:
        return found
    kind = event_types()[place.event_type]
    found += unknown_keys(tree, {**kind.schema.get("properties", {}), **kind.sample})
    if not any(problem.error for problem in found):
        found += _of_compiled(source, place, tree, kind)
    return sorted(set(found))


def keeps_rules(source: str) -> bool:
    """May it be compiled and rendered at all?"""
    tree, found = _parsed(source)
    return tree is not None and not found


def _parsed(source: str) -> tuple[nodes.Template | None, list[Problem]]:
    if len(source) > LARGEST:
        return None, [Problem(0, f"It is {len(source):,} characters long; {LARGEST:,} are the most.")]
    env = environment("text", bounded=True)
    try:
        tree = env.parse(source)
        return tree, broken_rules(env, source, tree)
    except TemplateSyntaxError as error:
        return None, [Problem(error.lineno, _sentence(str(error.message)))]
    except RecursionError:
        return None, [Problem(0, "It is nested too deeply.")]


def _of_compiled(source: str, place: Place, tree: nodes.Template, kind: EventType) -> Iterator[Problem]:
    try:
        template = from_source(source, "v0", place.event_type, place.channel, place.locale)
    except RenderError as error:
        yield Problem(error.line, _sentence(error.reason))
        return
    needed = list(_needed(template))
    missing = [(name, why) for name, why in needed if name not in template.blocks["text"]]
    yield from (Problem(0, f"Block {name} is missing: {why}.") for name, why in missing)
    yield from _idle(template, tree, {name for name, _ in needed})
    if not missing:
        yield from _rendered(template, place, tree, kind)


def _needed(template: MessageTemplate) -> Iterator[tuple[str, str]]:
    """(block, who shows it)."""
    for part, format_ in registry.parts(template.channel).items():
        layout = template.layout(part, format_)
        if layout is None:
            yield part, f"it is the message's {part}"
            continue
        env = environment(format_)
        text = env.loader.get_source(env, str(layout.name))[0] if env.loader else ""
        for node in env.parse(text).find_all(nodes.Getattr):
            if isinstance(node.node, nodes.Name) and node.node.name == "message":
                yield node.attr, f"the layout of {part} shows it"


def _idle(template: MessageTemplate, tree: nodes.Template, shown: Iterable[str]) -> Iterator[Problem]:
    """What nobody will ever see."""
    for block in tree.find_all(nodes.Block):
        if block.name not in shown:
            yield Problem(block.lineno, f"Nothing shows the block {block.name} by {template.channel}.", error=False)
    for output in (node for node in tree.body if isinstance(node, nodes.Output)):
        for data in output.nodes:
            if not isinstance(data, nodes.TemplateData) or data.data.strip():
                yield Problem(data.lineno, "This stands outside of every block: nothing shows it.", error=False)


def _rendered(template: MessageTemplate, place: Place, tree: nodes.Template, kind: EventType) -> Iterator[Problem]:
    """With the sample, with the least, and without each key that may be absent."""
    try:
        parts, took = _render(template, place, kind.sample)
    except RenderError as error:
        named = ATTRIBUTE.search(error.reason)
        yield Problem(line_of(tree, named[1]) if named else 0, f"With the sample data: {_sentence(error.reason)}")
        return
    yield from (Problem(0, f"With the sample data, {name} is empty.") for name, text in parts.items() if not text)
    if took > SLOWEST and (took := _render(template, place, kind.sample)[1]) > SLOWEST:  # the first may load a locale
        yield Problem(0, f"A message takes {took * 1000:.0f} ms; {SLOWEST * 1000:.0f} are the most.")
    optional = [key for key in kind.sample if key not in kind.schema.get("required", ())]
    for key in optional:
        without = {name: value for name, value in kind.sample.items() if name != key}
        if not _renders(template, place, without):
            tested = f"{{% if metadata.{key} %}}…{{% endif %}}"
            advice = f"Write {tested} around it, or use a filter, as {{{{ metadata.{key}|text }}}}."
            text = f"metadata.{key} may be absent, and is used without a test. {advice}"
            yield Problem(line_of_key(tree, key), text)
    if not _renders(template, place, least(kind)):
        yield Problem(0, "With no more than what the event type requires, it fails.")


def _renders(template: MessageTemplate, place: Place, metadata: Mapping[str, Any]) -> bool:
    try:
        _render(template, place, metadata)
    except RenderError:
        return False
    return True


def _render(template: MessageTemplate, place: Place, metadata: Mapping[str, Any]) -> tuple[dict[str, str], float]:
    kind, parts = event_types()[place.event_type], registry.parts(place.channel)
    context = sample_context(kind, place.locale, metadata)
    began = time.thread_time()
    return render(place.channel, parts, place.event_type, context, template), time.thread_time() - began


def _sentence(text: str) -> str:
    text = text.splitlines()[0].strip() if text.strip() else "it cannot be read"
    return f"{text[0].upper()}{text[1:].rstrip('.')}."
