"""Values of the metadata as a person reads them: money, dates and numbers in the recipient's locale and zone.

Metadata comes from callers. A value that a filter cannot make sense of becomes "", so that a template leaves
it out instead of failing: `{% if metadata.eta|date %}…{% endif %}`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, tzinfo
from decimal import Decimal, DecimalException
from functools import lru_cache, partial
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_time
from babel.numbers import format_currency, format_decimal, format_percent
from django.utils.timezone import localtime
from jinja2 import pass_context
from jinja2.runtime import Context
from markupsafe import Markup

Form: TypeAlias = Literal["full", "long", "medium", "short"]

WRITTEN = (str, int, float, Decimal)
MAPPING = (dict, Mapping)  # a dict is known at once, an abstract class costs a look-up
LARGEST = Decimal(10**15)  # beyond it a number is no price, and writing out its digits could fill the memory
FINEST = -20  # digits after the point; the same for very small ones
# Babel takes 10 to 20 µs a value, most of it to look up patterns. Prices and days come again: within a mail (HTML
# and text) and from order to order. So what it made is kept, by the value as text: 0 and -0 are equal, and look unlike.
KEPT = 8192
FEW = 128  # of what comes again but within a message
LONGEST = 64  # characters of a number that is kept, lest someone's long ones fill the memory
CURRENCY = re.compile(r"[A-Z]{3}")
LOCALE = re.compile(r"[A-Za-z0-9]{1,8}([-_][A-Za-z0-9]{1,8}){0,3}")
# What typography adds and the phone's 7-bit alphabet (GSM 03.38) lacks: spaces, dashes, quotes, the ellipsis.
# One such sign, from Babel or from a pasted text, would more than halve the room of an SMS.
TO_GSM = {
    **dict.fromkeys("\u00a0\u2002\u2003\u2007\u2009\u202f", " "),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"),
    **dict.fromkeys("\u0060\u00b4\u2018\u2019\u201a\u2039\u203a", "'"),
    **dict.fromkeys("\u00ab\u00bb\u201c\u201d\u201e", '"'),
    "\u2026": "...",
    "\u200b": "",
}
NOT_GSM = re.compile(f"[{''.join(TO_GSM)}]")  # to look for them is faster than str.translate


@lru_cache(maxsize=1024)
def babel_locale(name: str) -> Locale:
    """The Babel locale of a language tag ("de-AT"); if Babel does not know it, of its language or English."""
    for candidate in (name, name.replace("_", "-").split("-")[0]):
        if LOCALE.fullmatch(candidate):
            try:
                return Locale.parse(candidate.replace("_", "-"), sep="-")
            except (UnknownLocaleError, ValueError):
                continue
    return Locale("en")


@lru_cache(maxsize=1024)
def zone(name: str) -> tzinfo:
    """The time zone of an IANA name; UTC if there is none of that name."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # OSError: the name of a folder of zones ("Europe")
        return UTC


def number(value: object) -> Decimal | None:
    """A JSON number, or a string that holds one ("49.90"). None for anything else."""
    written = _written(value)
    return _number(written) if len(written) <= LONGEST else _number.__wrapped__(written)


def _written(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, WRITTEN):
        return ""
    try:
        return str(value).strip()
    except ValueError:  # an int too long to be written out
        return ""


@lru_cache(maxsize=KEPT)
def _number(written: str) -> Decimal | None:
    try:
        result = Decimal(written)
        if not result.is_finite() or abs(result) >= LARGEST:  # of what is too large even the sign cannot be changed
            return None
    except DecimalException:
        return None
    exponent = result.as_tuple().exponent
    return result if isinstance(exponent, int) and exponent >= FINEST else None


def moment(value: object) -> date | datetime | None:
    """A date or an aware datetime from an ISO 8601 string (a time without offset is UTC). None for others."""
    if isinstance(value, str):
        try:
            value = date.fromisoformat(value) if len(value) <= 10 else datetime.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    return value if isinstance(value, date) else None


def text(value: object, limit: int | None = None) -> str:
    """A string or number on one line, cut to `limit` characters. "" for anything else."""
    if isinstance(value, bool) or not isinstance(value, WRITTEN):
        return ""
    try:
        line = " ".join(str(value).split())
    except ValueError:  # an int too long to be written out
        return ""
    return line if limit is None or len(line) <= limit else line[: limit - 3].rstrip() + "..."


def texts(value: object) -> list[str]:
    """The strings and numbers of a list, each on one line. [] for anything that is not a list."""
    return [line for line in map(text, value) if line] if isinstance(value, list | tuple) else []


def web_url(value: object) -> str:
    """The value if it is a plain http or https address, fit to be a link; else ""."""
    return value if isinstance(value, str) and _is_web_url(value) else ""


@lru_cache(maxsize=FEW)
def _is_web_url(value: str) -> bool:
    if not value.isprintable() or " " in value:
        return False
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)


def one_line(value: str) -> str:
    """All white space, line breaks too, as single blanks. Markup stays Markup: in HTML it is escaped but once."""
    words = str(value) if isinstance(value, Markup) else value  # Markup would make Markup of each word
    return _same(value)(" ".join(words.split()))


def gsm(value: str) -> str:
    """A message for phones: on one line, typographic signs replaced by those of the GSM alphabet."""
    return one_line(NOT_GSM.sub(lambda sign: TO_GSM[sign[0]], one_line(value)))


def lines(value: str) -> list[str]:
    """The lines that are not empty. Markup stays Markup."""
    return list(map(_same(value), _lines(value)))


def facts(value: str) -> list[tuple[str, str]]:
    """Lines of the form "Label: value" as pairs; lines without a value are left out. Markup stays Markup."""
    same = _same(value)
    pairs = (line.partition(":") for line in _lines(value))
    return [(same(label.strip()), same(shown)) for label, _, rest in pairs if (shown := rest.strip())]


def _same(value: str) -> Callable[[str], str]:
    """Makes a string of the value's type; of Markup, at half of what its own way takes."""
    return partial(str.__new__, Markup) if type(value) is Markup else type(value)


def _lines(value: str) -> list[str]:
    """As `lines`, but plain: each step of Markup makes a new Markup, at several times the cost."""
    return [line for line in map(str.strip, str(value).splitlines()) if line]


@pass_context
def money(context: Context, value: object, currency: object) -> str:
    """An amount in a currency given by its ISO 4217 code; "" if either makes no sense."""
    return _in_money(value, currency, context["locale"])


def _in_money(value: object, currency: object, locale: str) -> str:
    amount, code = number(value), _code(currency)
    return "" if amount is None or not code else _money(str(amount), code, locale)


def _code(currency: object) -> str:
    return currency if isinstance(currency, str) and CURRENCY.fullmatch(currency) else ""


@lru_cache(maxsize=KEPT)
def _money(amount: str, currency: str, locale: str) -> str:
    shown = format_currency(amount, currency, locale=babel_locale(locale))
    return re.sub(r"(?<=[A-Za-z])(?=\d)", "\u00a0", shown)  # CHF 12.50: a rule of CLDR that Babel leaves out


@pass_context
def decimal(context: Context, value: object) -> str:
    """A number with the locale's signs."""
    amount = number(value)
    return "" if amount is None else _decimal(str(amount), context["locale"])


@lru_cache(maxsize=KEPT)
def _decimal(amount: str, locale: str) -> str:
    return str(format_decimal(amount, locale=babel_locale(locale)))


@pass_context
def percent(context: Context, value: object) -> str:
    """A share (0.42) in per cent, without decimals."""
    share = number(value)
    return "" if share is None else _percent(str(share), context["locale"])


@lru_cache(maxsize=KEPT)
def _percent(share: str, locale: str) -> str:
    return str(format_percent(share, locale=babel_locale(locale)))


@pass_context
def day(context: Context, value: object, form: Form = "full") -> str:
    """The day of a date or, in the recipient's zone, of a moment: "Tuesday, December 1, 2026"."""
    at = _local(context, value)
    return "" if at is None else _day(at.date() if isinstance(at, datetime) else at, form, context["locale"])


@lru_cache(maxsize=KEPT)
def _day(of: date, form: Form, locale: str) -> str:
    return format_date(of, form, locale=babel_locale(locale))


@pass_context
def when(context: Context, value: object, form: Form = "full") -> str:
    """As `day`, and the time of day if the value has one: "Tuesday, December 1, 2026, 2:30 PM"."""
    at = _local(context, value)
    shown = day(context, at, form)
    if not isinstance(at, datetime):
        return shown
    return f"{shown}, {_clock(at.time().replace(microsecond=0), context['locale'])}"


@lru_cache(maxsize=KEPT)
def _clock(of: time, locale: str) -> str:
    return format_time(of, "short", locale=babel_locale(locale))


@pass_context
def order_lines(context: Context, items: object, currency: object) -> list[dict[str, str]]:
    """The metadata's `items` ({"name", "quantity", "price" of one piece}), ready to be shown.

    Each line is {"name", "quantity", "price" of one piece, "amount"}; what is missing or odd is "". An item
    without a name is left out; a quantity that is missing counts as one.
    """
    found = items if isinstance(items, list | tuple) else ()
    named = [(name, item) for item in found if isinstance(item, MAPPING) and (name := text(item.get("name")))]
    code, locale = _code(currency), context["locale"]
    return [{"name": name, **_amounts(item, code, locale)} for name, item in named]


def _amounts(item: Mapping[str, Any], currency: str, locale: str) -> Mapping[str, str]:
    quantity, price = _written(item.get("quantity", 1)), _written(item.get("price"))
    line = _line if len(quantity) + len(price) <= LONGEST else _line.__wrapped__
    return line(quantity, price, currency, locale)


@lru_cache(maxsize=KEPT)
def _line(quantity: str, price: str, currency: str, locale: str) -> Mapping[str, str]:
    pieces, each = number(quantity), number(price)
    amount = None if pieces is None or each is None else pieces * each
    return {
        "quantity": "" if pieces is None else _decimal(str(pieces), locale),
        "price": _in_money(each, currency, locale),
        "amount": _in_money(amount, currency, locale),
    }


def _local(context: Context, value: object) -> date | datetime | None:
    at = moment(value)
    if not isinstance(at, datetime):
        return at
    try:
        return localtime(at, zone(context["time_zone"]))
    except OverflowError:  # the first and the last day of the calendar
        return None


#: The filters of message templates, by name.
FILTERS: Mapping[str, Callable[..., Any]] = {
    "date": day,
    "decimal": decimal,
    "facts": facts,
    "gsm": gsm,
    "lines": lines,
    "money": money,
    "one_line": one_line,
    "order_lines": order_lines,
    "percent": percent,
    "text": text,
    "texts": texts,
    "web_url": web_url,
    "when": when,
}
