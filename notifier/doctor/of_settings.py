"""The settings: Django's checks and ours, secrets, and what must not be on in production."""

from __future__ import annotations

from collections.abc import Iterator

from django.conf import settings
from django.core.checks import CheckMessage, run_checks

from notifier.doctor.finding import Finding, ok, problem, warning

# what a check of its own says better below
SAID_ELSEWHERE = {"security.W009", "security.W018", "notifier.W002"}
# what follows from a PUBLIC_URL without https: HSTS, the redirect, and cookies for https alone
OF_HTTP = {"security.W004", "security.W008", "security.W012", "security.W016"}
SHORTEST_SECRET = 50  # characters, as Django's own check has it, and the next two
FEWEST_SIGNS = 5
MADE_BY_DJANGO = "django-insecure-"


def system_checks() -> Iterator[Finding]:
    """What `manage.py check` says, and with DEBUG off what it says with --deploy: the time chain is in it."""
    said = [message for message in run_checks(include_deployment_checks=not settings.DEBUG) if _counts(message)]
    for message in said:
        tell = problem if message.is_serious() else warning
        yield tell("settings", f"{message.msg} ({message.id})", message.hint or "Correct the setting that it names.")
    if not said:
        yield ok("settings", "Django's checks and ours say nothing, and the time chain rises.")


def _counts(message: CheckMessage) -> bool:
    said = SAID_ELSEWHERE if settings.PUBLIC_URL.startswith("https://") else SAID_ELSEWHERE | OF_HTTP
    return not message.is_silenced() and message.id not in said


def visibility() -> Iterator[Finding]:
    """R2: a message that outlives its worker comes back after this time, by the shortest of the three settings."""
    wanted = settings.VISIBILITY_TIMEOUT.total_seconds()
    found = {
        "CELERY_BROKER_TRANSPORT_OPTIONS": settings.CELERY_BROKER_TRANSPORT_OPTIONS.get("visibility_timeout"),
        "CELERY_RESULT_BACKEND_TRANSPORT_OPTIONS": settings.CELERY_RESULT_BACKEND_TRANSPORT_OPTIONS.get(
            "visibility_timeout"
        ),
        "CELERY_VISIBILITY_TIMEOUT": settings.CELERY_VISIBILITY_TIMEOUT,
    }
    wrong = sorted(name for name, seconds in found.items() if seconds != wanted)
    if wrong:
        text = f"{', '.join(wrong)} differs from VISIBILITY_TIMEOUT ({wanted:.0f} s)."
        yield problem("visibility timeout", text, "Set it nowhere but in VISIBILITY_TIMEOUT; Celery needs all three.")
    elif wanted <= settings.EVENT_LEASE.total_seconds():
        text = f"{wanted:.0f} s is not above EVENT_LEASE."
        yield problem("visibility timeout", text, "Raise VISIBILITY_TIMEOUT: messages come back while work runs.")
    else:
        yield ok("visibility timeout", f"{wanted:.0f} s, above the event lease, in all three places.")


def secrets() -> Iterator[Finding]:
    """SECRET_KEY signs sessions, links and customers' tokens; the address key makes fingerprints."""
    keys = {"SECRET_KEY": str(settings.SECRET_KEY)}
    keys |= {f"SECRET_KEY_FALLBACKS[{i}]": str(key) for i, key in enumerate(settings.SECRET_KEY_FALLBACKS)}
    weak = [name for name, key in keys.items() if is_weak(key)]
    if weak:
        tell = warning if settings.DEBUG else problem
        how = "python -c 'import secrets; print(secrets.token_urlsafe(50))'"
        advice = f"Make one: {how}. What the old one signed (sessions, links) ends."
        yield tell("secrets", f"{', '.join(weak)} can be guessed.", advice)
    else:
        yield ok("secrets", f"SECRET_KEY is strong, with {len(settings.SECRET_KEY_FALLBACKS)} former keys.")
    if settings.ADDRESS_KEY == settings.SECRET_KEY:
        advice = "Set NOTIFIER_ADDRESS_KEY to today's SECRET_KEY before you change that."
        yield warning("address key", "Fingerprints of addresses hang on SECRET_KEY and end with it.", advice)
    else:
        yield ok("address key", "It is one of its own.")


def is_weak(key: str) -> bool:
    """As Django's check of SECRET_KEY."""
    return len(key) < SHORTEST_SECRET or len(set(key)) < FEWEST_SIGNS or key.startswith(MADE_BY_DJANGO)


def surroundings() -> Iterator[Finding]:
    """What is right in development and in staging, and wrong where customers are."""
    https = settings.PUBLIC_URL.startswith("https://")
    if not settings.DEBUG:
        yield ok("debug", "DEBUG is off.")
    elif https:
        yield problem("debug", "DEBUG is on, and PUBLIC_URL is a public address.", "Unset DEBUG: errors show settings.")
    else:
        yield warning("debug", "DEBUG is on: this is development.", "Unset DEBUG in production.")
    if settings.STAGING_RECIPIENTS:
        text = "Staging: messages reach nobody but those whom STAGING_RECIPIENTS names."
        yield warning("staging", text, "Unset STAGING_RECIPIENTS where customers are to be reached.")
    else:
        yield ok("staging", "Off: messages reach everybody.")
    if https:
        yield ok("public address", "PUBLIC_URL is https.")
    else:
        tell = warning if settings.DEBUG else problem
        advice = "Set PUBLIC_URL to the https address by which customers and providers reach this."
        yield tell("public address", "PUBLIC_URL is not https: links with signatures travel in the clear.", advice)
