"""What must be right before anything starts: each problem one line that says where and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ImproperlyConfigured
from jsonschema_rs import Draft202012Validator, ValidationError

from channels import registry
from notifier.catalogue import EventType, event_types
from notifier.render import missing_templates

STAGING_IS_ON = "Staging: messages go to nobody but those whom STAGING_RECIPIENTS names."
# an idempotency key lives as long as its event, and is promised so long; the history's triggers refuse less, too
SHORTEST_RETENTION = timedelta(days=30)
BUILT_IN_CHANNELS = ("EMAIL", "SMS", "PUSH", "IN_APP")


def register_all() -> None:
    """Have Django run these at every start."""
    for check in (check_catalogue, check_channels, check_time_chain, check_retention, check_sources):
        register(check)
    for check in (check_staging, check_sms_limits):
        register(check, deploy=True)


def check_catalogue(**_: Any) -> list[CheckMessage]:
    """Every event type: known channels, templates for whatever may carry it, and a sample that meets its schema."""
    return [problem for event_type in event_types().values() for problem in _event_type_problems(event_type)]


def check_channels(**_: Any) -> list[CheckMessage]:
    """Every configured channel can be built; a built-in one that is off is worth a warning."""
    problems: list[CheckMessage] = []
    for name in registry.names():
        try:
            registry.get(name)
        except ImproperlyConfigured as error:
            problems.append(Error(str(error), id="notifier.E004"))
    off = [name for name in BUILT_IN_CHANNELS if name not in registry.names()]
    hint = "Its messages are skipped as CHANNEL_DISABLED. Set its provider's credentials to turn it on."
    return problems + [
        checks.Warning(f"Channel {name} has no provider and is off.", hint=hint, id="notifier.W001") for name in off
    ]


def check_time_chain(**_: Any) -> list[CheckMessage]:
    """Each time limit outlasts the one it guards; otherwise a lease ends while its work still runs."""
    names = (
        "PROVIDER_TIMEOUT",
        "SLICE_TIMEOUT",
        "DELIVERY_LEASE",
        "TASK_SOFT_TIME_LIMIT",
        "TASK_TIME_LIMIT",
        "EVENT_LEASE",
        "VISIBILITY_TIMEOUT",
    )
    return [
        Error(
            f"settings.{shorter} ({getattr(settings, shorter)}) must be below "
            f"settings.{longer} ({getattr(settings, longer)}).",
            id="notifier.E005",
        )
        for shorter, longer in pairwise(names)
        if getattr(settings, shorter) >= getattr(settings, longer)
    ]


def check_retention(**_: Any) -> list[CheckMessage]:
    """Nothing is deleted too early."""
    shortest = f"it must be {SHORTEST_RETENTION.days} at least"
    found: list[CheckMessage] = []
    if settings.RETENTION < SHORTEST_RETENTION:
        found.append(Error(f"NOTIFIER_RETENTION_DAYS is {settings.RETENTION.days}; {shortest}.", id="notifier.E006"))
    if timedelta() < settings.HISTORY_RETENTION < SHORTEST_RETENTION:
        days = settings.HISTORY_RETENTION.days
        found.append(Error(f"NOTIFIER_HISTORY_DAYS is {days}; {shortest}, or 0 to keep it.", id="notifier.E008"))
    return found


def check_sources(**_: Any) -> list[CheckMessage]:
    """A source is limited to types that there are."""
    return [
        Error(f"NOTIFIER_SOURCES: {source} names the unknown event type {name}.", id="notifier.E007")
        for source, names in settings.SOURCES.items()
        for name in names
        if name not in event_types()
    ]


def check_staging(**_: Any) -> list[CheckMessage]:
    """With --deploy: it must not be on in production, nor be forgotten in staging."""
    if not settings.STAGING_RECIPIENTS:
        return []
    hint = "Unset STAGING_RECIPIENTS where customers are to be reached."
    return [checks.Warning(STAGING_IS_ON, hint=hint, id="notifier.W002")]


def check_sms_limits(**_: Any) -> list[CheckMessage]:
    """With --deploy: whoever can trigger can have texts sent that cost, so let there be an end to it."""
    if "SMS" not in registry.names():
        return []
    missing = {
        "SMS_REGIONS": "Name the countries you deliver to: texts to others are how toll fraud makes money.",
        "SMS_DAILY_BUDGET": "Say how many texts a day are too many.",
    }
    unset = {"SMS_REGIONS": not settings.SMS_REGIONS, "SMS_DAILY_BUDGET": not registry.daily_budget("SMS")}
    return [
        checks.Warning(f"{name} is not set; SMS has no such limit.", hint=hint, id="notifier.W003")
        for name, hint in missing.items()
        if unset[name]
    ]


def _event_type_problems(event_type: EventType) -> Iterator[CheckMessage]:
    where = f"Event type {event_type.name}"
    known = {*BUILT_IN_CHANNELS, *registry.names()}
    for channel in event_type.reachable_channels:
        if channel not in known:
            hint = f"There are {', '.join(sorted(known))}; configure it in settings.CHANNELS."
            yield Error(f"{where} names the unknown channel {channel}.", hint=hint, id="notifier.E001")
        elif channel in registry.names():
            parts = registry.parts(channel)
            for template in missing_templates(channel, parts, event_type.name, settings.LOCALES):
                yield Error(f"{where} has no template {template}.", id="notifier.E002")
    yield from _schema_problems(event_type, where)


def _schema_problems(event_type: EventType, where: str) -> Iterator[CheckMessage]:
    try:
        validator = Draft202012Validator(dict(event_type.schema))
    except ValidationError as error:
        yield Error(f"{where} has a broken metadata schema: {error.message}", id="notifier.E003")
        return
    for problem in validator.iter_errors(event_type.sample):
        yield Error(f"{where}: its sample metadata does not meet its schema: {problem.message}", id="notifier.E003")
