"""Reads the environment into typed values, and stops the start with one readable line where it is wrong."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any, NoReturn
from uuid import UUID

import environ
import limits
import phonenumbers

from config import embedded_servers

#: of the people whom staging may reach; *= before one: it gets what is for everybody else
RECIPIENT = re.compile(r"none|@[^@\s]+|(\*=)?([^@\s*=+][^@\s*=]*@[^@\s]+|\+\d{5,15}|device:\S+)")


def refuse(problem: str) -> NoReturn:
    """End the process. SystemExit, so that web, worker, beat and commands all print this line and no traceback."""
    raise SystemExit(f"Notifier cannot start: {problem}")


def text(name: str, default: str = "") -> str:
    """The variable without surrounding blanks; an empty one counts as unset, as Compose and shells pass them on."""
    return os.environ.get(name, "").strip() or default


def flag(name: str, *, default: bool = False) -> bool:
    """True for 1/true/yes/on, False for 0/false/no/off."""
    value = text(name).lower()
    if not value:
        return default
    if value in {"0", "false", "no", "off"}:
        return False
    if value in {"1", "true", "yes", "on"}:
        return True
    refuse(f"{name}={value!r} is neither on nor off; use 1 or 0.")


def path_segment(name: str, default: str, *, taken: Collection[str]) -> str:
    """The first part of an address, without slashes."""
    value = text(name, default).strip("/")
    if not re.fullmatch(r"[A-Za-z0-9_.~-]+", value):
        refuse(f"{name}={value!r} is no part of an address; use letters, digits and hyphens.")
    return value if value not in taken else refuse(f"{name}={value!r} is taken by other addresses; use another word.")


def required(name: str, *, why: str) -> str:
    """The variable, or a start error that names it."""
    value = text(name)
    return value or refuse(f"{name} is not set; {why} (DEBUG=1 brings a default for development).")


def number(name: str, default: int, *, least: int = 0, most: int | None = None) -> int:
    value = text(name, str(default))
    found = int(value) if value.isdecimal() else refuse(f"{name}={value!r} is not a whole number.")
    if most is not None and found > most:
        refuse(f"{name}={value!r} is too large; use {most} or less.")
    return found if found >= least else refuse(f"{name}={value!r} is too small; use {least} or more.")


def rate(name: str, default: str) -> str:
    """How often in a time, as "60/minute"; "" for 0, which is no limit."""
    value = text(name, default)
    if value == "0":
        return ""
    try:
        single = len(limits.parse_many(value)) == 1
    except ValueError:
        single = False
    if not single:
        refuse(f"{name}={value!r} is no rate; write it as 60/minute (or second, hour, day), or 0 for no limit.")
    return value


def words(name: str) -> tuple[str, ...]:
    """What stands between the variable's commas."""
    return _words(text(name))


def _words(value: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in value.split(",") if word.strip())


def named_words(name: str) -> dict[str, tuple[str, ...]]:
    """Words by name, as a=B,C;d=E."""
    entries = [entry.partition("=") for entry in text(name).split(";") if entry.strip()]
    found = {key.strip(): _words(values) for key, _, values in entries}
    if not all(key and values for key, values in found.items()):
        refuse(f"{name} cannot be read; write it as source=TYPE,TYPE;source=TYPE.")
    return found


def pairs(name: str) -> dict[str, str]:
    """Values by name, as a=b;c=d."""
    entries = [entry.partition("=") for entry in text(name).split(";") if entry.strip()]
    if not all(key.strip() and sign for key, sign, _ in entries):
        refuse(f"{name} cannot be read; write it as name=value;name=value.")
    return {key.strip(): value.strip() for key, _, value in entries}


def regions(name: str) -> frozenset[str]:
    """Countries, as DE,AT."""
    found = frozenset(word.upper() for word in words(name))
    if unknown := sorted(found - phonenumbers.SUPPORTED_REGIONS):
        refuse(f"{name}: {', '.join(unknown)} is no country's code of two letters, as DE.")
    return found


def recipients(name: str) -> tuple[str, ...]:
    """Entries of STAGING_RECIPIENTS, as notifier/borders.py reads them."""
    found = words(name)
    if wrong := [entry for entry in found if not RECIPIENT.fullmatch(entry)]:
        refuse(
            f"{name}: {wrong[0]!r} is neither a mail address, a @domain, a number as +4915112345678, device:TOKEN, "
            "one of these with *= before it, nor none."
        )
    return found


def user_id(name: str) -> str:
    """The id of a user in its usual form; empty where it is not set."""
    value = text(name)
    try:
        return str(UUID(value)) if value else ""
    except ValueError:
        refuse(f"{name}={value!r} is no user's id, as 01920000-0000-7000-8000-00000000000a.")


def all_or_none(*names: str) -> bool:
    """True when every variable is set, False when none is; half a provider's credentials is a start error."""
    unset = [name for name in names if not text(name)]
    if unset and len(unset) < len(names):
        refuse(
            f"{', '.join(unset)} not set, though {', '.join(n for n in names if n not in unset)} is; set all or none."
        )
    return not unset


def servers(*, debug: bool, data_dir: Path) -> tuple[dict[str, Any], str]:
    """Django's database settings and the Redis URL; in development the embedded servers stand in."""
    database_url, redis_url = text("DATABASE_URL"), text("REDIS_URL")
    if not debug:
        required("DATABASE_URL", why="it says where PostgreSQL is")
        required("REDIS_URL", why="it says where Redis is")
    elif not (database_url and redis_url):
        embedded = embedded_servers.ensure(data_dir)
        database_url, redis_url = database_url or embedded.database_url, redis_url or embedded.redis_url
    try:
        return environ.Env.db_url_config(database_url), redis_url
    except ValueError as error:
        refuse(f"DATABASE_URL cannot be read: {error}")
