"""Which template a message is rendered with: what staff published, as long as it works; else what was good before it.

Each process keeps what is published, compiled, and looks every two seconds whether that has changed: one small query,
however many messages it renders. A version that does not compile, or fails on a message that the one before can render,
serves no more: the message goes out by the one before, or the file, and operations hear of it once.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from django.core.signals import setting_changed

from notifier.models import TemplateVersion
from notifier.operations import tell_operations
from notifier.querysets.templates import Place, Serving
from notifier.render import MessageContext, MessageTemplate, RenderError, from_file, from_source, locales_for, render

log = logging.getLogger(__name__)

REFRESH = 2.0  # seconds until a process hears of what was published


class Rendered(NamedTuple):
    """A message's parts by name, and with what it was rendered (Attempt.template)."""

    parts: dict[str, str]
    template: str


@dataclass(slots=True)
class _Known:
    """What this process knows: the published versions, by place the templates to try, and which of them are broken."""

    published: frozenset[Serving] = frozenset()
    templates: Mapping[Place, tuple[MessageTemplate, ...]] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    look_at: float = -math.inf


_known = _Known()


def refresh() -> None:
    """Look what is published, if the last look was some time ago. Its caller is about to use the database anyway."""
    if time.monotonic() < _known.look_at:
        return
    published = frozenset(TemplateVersion.objects.serving())
    _known.look_at = time.monotonic() + REFRESH
    if published != _known.published:
        _known.published = published
        _known.broken.clear()
        _known.templates = {one.place: tuple(_compiled(one)) for one in published}
        _candidates.cache_clear()


def render_message(
    channel: str, parts: Mapping[str, str], event_type: str, context: MessageContext, *, report: bool = True
) -> Rendered:
    """By what serves now. Raises RenderError where nothing can render it. `report`: tell of a version that failed."""
    failed: list[tuple[MessageTemplate, RenderError]] = []
    for template in _candidates(event_type, channel, context.locale):
        try:
            shown = render(channel, parts, event_type, context, template)
        except RenderError as error:
            failed.append((template, error))
            continue
        for broken, why in failed if report else ():  # only of what another can render: else it is the message's fault
            _note_broken(broken, why)
        return Rendered(shown, template.label)
    if failed:
        raise failed[-1][1]
    return Rendered(render(channel, parts, event_type, context), "")  # which says what is missing


def render_as(
    template: str, channel: str, parts: Mapping[str, str], event_type: str, context: MessageContext
) -> dict[str, str]:
    """As a message was rendered with what Attempt.template names.

    Raises RenderError; LookupError, with words for people, where that is not here any more.
    """
    if template.startswith("v"):
        try:
            version = _version(int(template[1:]))
        except TemplateVersion.DoesNotExist:
            raise LookupError(f"There is no version {template} of this template.") from None
        return render(channel, parts, event_type, context, version)
    file = from_file(event_type, channel, context.locale)
    if not template or file is None or file.label != template:
        raise LookupError("The file that it was rendered with has changed since.")
    return render(channel, parts, event_type, context, file)


def serving(place: Place) -> MessageTemplate | None:
    """What serves a place now, in this process; None where nothing does. Raises RenderError for a broken file."""
    return next(iter(_candidates(place.event_type, place.channel, place.locale)), None)


@lru_cache(maxsize=4096)
def _candidates(event_type: str, channel: str, locale: str) -> tuple[MessageTemplate, ...]:
    """What to render with, the first that works: the published version, the good one before it, the file."""
    try:
        file = from_file(event_type, channel, locale)
    except RenderError:
        file = None
    for candidate in locales_for(locale):
        if file and file.locale == candidate and Place(event_type, channel, candidate) not in _known.templates:
            return (file,)
        if found := _known.templates.get(Place(event_type, channel, candidate)):
            good = (template for template in found if template.label not in _known.broken)
            return (*good, *((file,) if file else ()))
    return (file,) if file else ()


def _compiled(one: Serving) -> Iterator[MessageTemplate]:
    for number in ([] if one.broken else [one.number]) + ([one.replaces] if one.replaces else []):
        try:
            yield _version(number)
        except RenderError as error:
            _tell(one.place, number, error)
        except TemplateVersion.DoesNotExist:  # deleted by hand
            log.error("template %s v%d is gone, what else there is serves", one.place, number)


@lru_cache(maxsize=256)
def _version(number: int) -> MessageTemplate:
    """Never changes, once it is written. Raises TemplateVersion.DoesNotExist, RenderError."""
    row = TemplateVersion.objects.get(number=number)
    return from_source(row.source, row.label, row.event_type, row.channel, row.locale)


def _note_broken(template: MessageTemplate, why: RenderError) -> None:
    if not template.label.startswith("v") or template.label in _known.broken:
        return
    _known.broken.add(template.label)
    _candidates.cache_clear()
    _tell(Place(template.name.partition("/")[0], template.channel, template.locale), int(template.label[1:]), why)


def _tell(place: Place, number: int, why: RenderError) -> None:
    """Once for each time that it was published. Never raises: the message that it failed on goes out all the same."""
    try:
        if TemplateVersion.objects.note_broken(number, str(why)):
            log.error("template %s v%d is broken, what was good before serves: %s", place, number, why)
            row = TemplateVersion.objects.get(number=number)
            tell_operations(place.channel, f"TEMPLATE {place} v{number}", str(row.published_at))
    except Exception as error:  # noqa: BLE001 - as above
        log.error("template %s v%d is broken, and nobody could be told: %s", place, number, type(error).__name__)


def forget() -> None:
    """Look anew at the next message: for tests, and for the process that has just published."""
    _known.published, _known.templates, _known.look_at = frozenset(), {}, -math.inf
    _known.broken.clear()
    _candidates.cache_clear()
    _version.cache_clear()


def _forget(*, setting: str, **_: object) -> None:
    if setting in {"MESSAGE_TEMPLATE_DIRS", "DEFAULT_LOCALE", "SHOP"}:
        forget()


setting_changed.connect(_forget)  # only tests change settings
