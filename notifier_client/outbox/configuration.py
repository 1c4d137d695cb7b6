"""settings.NOTIFIER_OUTBOX: how the outbox reaches Notifier, and when.

    NOTIFIER_OUTBOX = {
        "URL": "https://notifier.shop.example", "API_KEY": os.environ["NOTIFIER_API_KEY"],
        # or "SENDER": "shop.notifications.sender", a callable that makes a notifier_client.Sender
        "AFTER_COMMIT": "thread",
        "KEEP_SENT_DAYS": 14,
    }

AFTER_COMMIT: "thread" (unless said otherwise) sends from a thread of the process that committed; "inline" sends before
the commit's caller goes on, which makes it wait for Notifier; "sweep" leaves it to the next sweep; or the dotted path
of a callable without arguments, such as `notifier_client.outbox.tasks.sweep_outbox.delay`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from notifier_client.over_http import HttpNotifier
from notifier_client.sender import Sender

NAME = "NOTIFIER_OUTBOX"
KNOWN = {"URL", "API_KEY", "SENDER", "AFTER_COMMIT", "KEEP_SENT_DAYS"}
AFTER_COMMIT = {
    "thread": "notifier_client.outbox.after_commit.in_thread",
    "inline": "notifier_client.outbox.after_commit.inline",
    "sweep": "notifier_client.outbox.after_commit.later",
}


@dataclass(frozen=True, slots=True)
class Configuration:
    """What the settings say. `make_sender` is called once in each process."""

    make_sender: Callable[[], Sender]
    after_commit: Callable[[], object]
    keep_sent: timedelta


@cache
def configuration() -> Configuration:
    """Raises ImproperlyConfigured, in one line that names the setting."""
    given: Mapping[str, Any] = getattr(settings, NAME, {})
    if unknown := sorted(given.keys() - KNOWN):
        raise ImproperlyConfigured(f"{NAME}: unknown {', '.join(unknown)}; there are {', '.join(sorted(KNOWN))}.")
    days = given.get("KEEP_SENT_DAYS", 14)
    if not isinstance(days, int) or days < 1:
        raise ImproperlyConfigured(f"{NAME}['KEEP_SENT_DAYS'] must be 1 or more, and is {days!r}.")
    after_commit = given.get("AFTER_COMMIT", "thread")
    return Configuration(
        _maker(given), _imported("AFTER_COMMIT", AFTER_COMMIT.get(after_commit, after_commit)), timedelta(days=days)
    )


@cache
def sender() -> Sender:
    """This process's way to Notifier."""
    return configuration().make_sender()


def _maker(given: Mapping[str, Any]) -> Callable[[], Sender]:
    if "SENDER" in given:
        maker: Callable[[], Sender] = _imported("SENDER", given["SENDER"])
        return maker
    if missing := [name for name in ("URL", "API_KEY") if not given.get(name)]:
        raise ImproperlyConfigured(f"{NAME}: {' and '.join(missing)} missing; give both, or SENDER.")
    # one try: the sweep is what tries again, and a Notifier that is away must not hold it up
    notifier = HttpNotifier(given["URL"], given["API_KEY"], tries=1, timeout=10)
    return lambda: notifier


def _imported(name: str, path: object) -> Callable[[], Any]:
    if callable(path):
        return path
    try:
        found: Callable[[], Any] = import_string(str(path))
    except ImportError as error:
        raise ImproperlyConfigured(f"{NAME}[{name!r}]: {error}") from error
    return found


def check_settings(**_: Any) -> list[checks.CheckMessage]:
    """Django's check: the start says what is wrong, not the first order."""
    try:
        configuration()
    except (ImproperlyConfigured, ValueError) as error:
        return [checks.Error(str(error), id="notifier_outbox.E001")]
    return []


def _forget(*, setting: str, **_: object) -> None:
    if setting == NAME:
        configuration.cache_clear()
        sender.cache_clear()


setting_changed.connect(_forget)  # only tests change settings
