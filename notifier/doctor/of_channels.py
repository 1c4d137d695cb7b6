"""The way out: whether providers know us, and whether every message can be rendered. Nothing is sent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import Error

from channels import registry
from channels.base import Provider, Welcome
from channels.errors import CredentialsRejected
from notifier.catalogue import EventType, event_types
from notifier.doctor.finding import Finding, ok, problem, warning
from notifier.models import TemplateVersion
from notifier.querysets.templates import Place
from notifier.render import RenderError, render
from notifier.serving import refresh, serving
from notifier.states import TemplateState
from notifier.template_check import sample_context


def providers() -> Iterator[Finding]:
    """Each provider is asked whether it knows us; one that cannot be built is said by the settings' checks."""
    for name in registry.names():
        try:
            channel = registry.get(name)
        except ImproperlyConfigured:
            continue
        for provider in channel.providers:
            if (found := _introduce(name, provider)) is not None:
                yield found


def _introduce(channel: str, provider: Provider) -> Finding | None:
    check, answer = f"{channel} by {provider.name}", provider.introduce()
    if answer is None:
        return None
    if isinstance(answer, Welcome):
        if answer.but:
            return warning(check, f"Its credentials are good, but {answer.but}.", "See to it in its console.")
        return ok(check, "Its credentials are good.")
    if isinstance(answer, CredentialsRejected):
        return problem(check, f"It refuses us: {answer}.", "Correct its variables (docs/configuration.md).")
    return problem(check, f"It could not be asked: {answer}.", "Look at the way out, and at its status page.")


def templates() -> Iterator[Finding]:
    """Every type by every channel that may carry it, in each locale, with its sample; and what staff published."""
    with suppress(Error):  # PostgreSQL is away, which its own checks say: then the files
        refresh()
        yield from _published()
    number, broken = 0, []
    for event_type in event_types().values():
        for channel in event_type.reachable_channels:
            if channel in registry.names():
                number += len(settings.LOCALES)
                broken += [error for locale in settings.LOCALES if (error := _broken(event_type, channel, locale))]
    for error in broken:
        yield problem("templates", error, "Correct the template, or the type's sample in config/event_types.py.")
    if not broken:
        yield ok("templates", f"All {number} messages render with their samples.")


def _published() -> Iterator[Finding]:
    for version in TemplateVersion.objects.filter(state=TemplateState.PUBLISHED).order_by("number"):
        if version.broken_at:
            text = f"{version} failed on a message, and what was good before serves: {version.broken_why}"
            yield problem("templates", text, "Publish a corrected version on the admin's page of templates.")


def _broken(event_type: EventType, channel: str, locale: str) -> str:
    """What is wrong with what serves; empty where it renders."""
    context = sample_context(event_type, locale)
    serves = serving(Place(event_type.name, channel, locale))
    try:
        render(channel, registry.parts(channel), event_type.name, context, serves)
    except RenderError as error:
        return f"{event_type.name} by {channel} in {locale}: {error}"
    return ""
