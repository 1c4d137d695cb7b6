"""What an address, a locale and a time zone must look like, and the one form in which each is kept.

Every function takes what a person or a producer wrote and returns the form that is stored. All raise Django's
ValidationError, with a message that can be shown and that never repeats the value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from zoneinfo import available_timezones

import phonenumbers
from babel import Locale, UnknownLocaleError
from django.core.exceptions import ValidationError
from django.core.validators import EmailValidator

EMAIL_LIMIT = 254  # RFC 5321
_check_email = EmailValidator(message="Not an email address.", code="invalid_email")


def clean_email(value: str) -> str:
    """The address without surrounding blanks."""
    email = value.strip()
    if len(email) > EMAIL_LIMIT:
        raise ValidationError("Not an email address.", code="invalid_email")
    _check_email(email)
    return email


def clean_phone(value: str) -> str:
    """The number in E.164, as +4915112345678. It must carry its country: `+49 151 …`, never `0151 …`."""
    try:
        number = phonenumbers.parse(value)
    except phonenumbers.NumberParseException as error:
        raise ValidationError("Not a phone number with its country code, as +49….", code="invalid_phone") from error
    if not phonenumbers.is_valid_number(number):
        raise ValidationError("No such phone number can exist.", code="invalid_phone")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def clean_address(kind: str, value: str) -> str:
    """An address as the suppression list keeps it; `kind` is "email", then in lower case, or "phone"."""
    return clean_email(value).lower() if kind == "email" else clean_phone(value)


@lru_cache(maxsize=4096)
def region_of(phone: str) -> str:
    """The country of a number in E.164, as DE (ISO 3166-1); empty where it belongs to none, as a satellite phone."""
    try:
        region = phonenumbers.region_code_for_number(phonenumbers.parse(phone))
    except phonenumbers.NumberParseException:
        return ""
    return region if region in phonenumbers.SUPPORTED_REGIONS else ""


def clean_locale(value: str) -> str:
    """A locale as a BCP 47 tag: `de`, `de-AT`."""
    try:
        return str(Locale.parse(value.strip().replace("_", "-"), sep="-")).replace("_", "-")
    except (ValueError, UnknownLocaleError) as error:
        raise ValidationError("Not a locale, as en or de-AT.", code="invalid_locale") from error


def clean_time_zone(value: str) -> str:
    """A name of the IANA time zone database: `Europe/Berlin`."""
    if value not in _time_zones():
        raise ValidationError("Not an IANA time zone, as Europe/Berlin.", code="invalid_time_zone")
    return value


@cache
def _time_zones() -> frozenset[str]:
    return frozenset(available_timezones())


def masked(address: str) -> str:
    """Enough to know one's own address by: a•••@shop.example, +49•••78. Empty for none."""
    if not address:
        return ""
    name, at, domain = address.rpartition("@")
    return f"{name[:1]}•••{at}{domain}" if at else f"{address[:3]}•••{address[-2:]}"


_GUEST_FIELDS: Mapping[str, Callable[[str], str]] = {
    "email": clean_email,
    "phone": clean_phone,
    "locale": clean_locale,
    "timeZone": clean_time_zone,
}


def clean_guest(recipient: Mapping[str, object]) -> dict[str, str]:
    """A guest's `recipient` as it is stored: only what was given, each in its one form.

    Raises ValidationError with `message_dict`: what is wrong, by field.
    """
    problems: dict[str, list[str]] = {name: ["Unknown field."] for name in recipient.keys() - _GUEST_FIELDS.keys()}
    cleaned: dict[str, str] = {}
    for name, clean in _GUEST_FIELDS.items():
        value = recipient.get(name)
        if value in (None, ""):
            continue
        try:
            cleaned[name] = clean(_text(value))
        except ValidationError as error:
            problems[name] = error.messages
    if not problems and not cleaned.keys() & {"email", "phone"}:
        problems["email"] = ["A guest needs an email address or a phone number."]
    if problems:
        raise ValidationError(dict(problems))
    return cleaned


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise ValidationError("Must be text.", code="invalid")
