"""The arguments by which commands name a person."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from uuid import UUID

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser

from notifier.querysets.events import Person
from preferences.addresses import clean_email, clean_phone


def add_person(parser: CommandParser) -> None:
    parser.add_argument("user_id", nargs="?", help="of a customer")
    parser.add_argument("--email", default="", help="of a guest; with a user id, a further one of theirs")
    parser.add_argument("--phone", default="", help="the same, with country code")


def person_of(options: Namespace) -> Person:
    """Raises CommandError, which names the argument."""
    if not (options.user_id or options.email or options.phone):
        raise CommandError("Say who: a user id, or --email and --phone of a guest.")
    try:
        user_id = UUID(options.user_id) if options.user_id else None
    except ValueError as error:
        raise CommandError(f"{options.user_id!r} is not a user's id, which is a UUID.") from error
    return Person(user_id, _clean("--email", clean_email, options.email), _clean("--phone", clean_phone, options.phone))


def _clean(option: str, clean: Callable[[str], str], value: str) -> str:
    try:
        return clean(value) if value else ""
    except ValidationError as error:
        raise CommandError(f"{option}: {' '.join(error.messages)}") from error
