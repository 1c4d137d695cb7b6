"""Rendering without its short cuts, as slow as it is plain: what notifier/render.py must come to, byte for byte.

Each block is rendered for itself in each format, each filter makes its value anew, and nothing is known beforehand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal, DecimalException
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from babel.numbers import format_currency, format_decimal, format_percent
from django.conf import settings
from jinja2 import FileSystemLoader, StrictUndefined, Template, TemplateNotFound, pass_context
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing
from markupsafe import Markup

from notifier import formats
from notifier.render import MessageContext, RenderError


def plain_render(channel: str, parts: Mapping[str, str], event_type: str, context: MessageContext) -> dict[str, str]:
    file = _find(f"{event_type}/{channel}", context.locale)
    if file is None:
        raise RenderError(f"{event_type}/{channel}", TemplateNotFound(f"{event_type}/{channel}.*.j2"))
    return {name: _part(name, format_, file, channel, _variables(context, file)) for name, format_ in parts.items()}


def _part(name: str, format_: str, file: str, channel: str, variables: Mapping[str, Any]) -> str:
    try:
        shown = _shown(name, format_, file, channel, variables)
    except Exception as error:  # noqa: BLE001 - as the product: whatever a template raises is the message's error
        raise RenderError(f"{file}, {name}", error) from None
    if name in {"subject", "title"}:
        return " ".join(shown.split())
    return re.sub(r"\n\s*\n\s*\n", "\n\n", str(shown)).strip()


def _shown(name: str, format_: str, file: str, channel: str, variables: Mapping[str, Any]) -> str:
    environment = _environment(format_, tuple(settings.MESSAGE_TEMPLATE_DIRS))
    layout = f"layouts/{channel}.{name}.j2"
    shared = _find(f"layouts/{channel}", file.split(".")[-2])
    if layout in _names(tuple(settings.MESSAGE_TEMPLATE_DIRS)):
        template = environment.get_template(layout)
        files = [environment.get_template(found) for found in (shared, file) if found]
        blocks = {block: found for found in files for block in found.blocks}
        message = {block: _block(found, block, format_, variables) for block, found in blocks.items()}
        return "".join(template.root_render_func(template.new_context({**variables, "message": message})))
    files = [environment.get_template(found) for found in (shared, file) if found]
    for found in reversed(files):
        if name in found.blocks:
            return _block(found, name, format_, variables)
    raise TemplateNotFound(f"block {name}")


def _block(template: Template, name: str, format_: str, variables: Mapping[str, Any]) -> str:
    shown = "".join(template.blocks[name](template.new_context(dict(variables)))).strip()
    return Markup(shown) if format_ == "html" else shown


def _find(stem: str, locale: str) -> str | None:
    tag = locale.replace("_", "-") if formats.LOCALE.fullmatch(locale) else settings.DEFAULT_LOCALE
    tags = ["-".join(tag.split("-")[:length]) for length in range(tag.count("-") + 1, 0, -1)]
    names = [f"{stem}.{candidate}.j2" for candidate in (*tags, settings.DEFAULT_LOCALE)]
    return next((name for name in names if name in _names(tuple(settings.MESSAGE_TEMPLATE_DIRS))), None)


@cache
def _names(directories: tuple[Path, ...]) -> frozenset[str]:
    return frozenset(FileSystemLoader(directories).list_templates())


def _variables(context: MessageContext, file: str) -> dict[str, Any]:
    pattern, language = str(settings.SHOP.get("order_url", "")), file.split(".")[-2]
    same = formats.babel_locale(context.locale).language == formats.babel_locale(language).language
    return {
        "shop": settings.SHOP,
        "order_id": " ".join(context.order_id.split()),
        "order_url": web_url(pattern.replace("{orderId}", quote(context.order_id, safe=""))),
        "metadata": context.metadata,
        "recorded_at": context.recorded_at,
        "event_id": str(context.event_id),
        "language": language,
        "locale": context.locale if same else language,
        "time_zone": context.time_zone,
        "links": context.links,
    }


class _Absent(StrictUndefined):
    def __bool__(self) -> bool:  # type: ignore[override] # Jinja types it as the function that raises
        if self._undefined_obj is missing:
            self._fail_with_undefined_error()
        return False


class _Environment(ImmutableSandboxedEnvironment):
    def getattr(self, obj: Any, attribute: str) -> Any:
        return self._key(obj, attribute) if isinstance(obj, Mapping) else super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        return self._key(obj, argument) if isinstance(obj, Mapping) else super().getitem(obj, argument)

    def _key(self, obj: Mapping[Any, Any], key: Any) -> Any:
        return obj[key] if key in obj else self.undefined(obj=obj, name=key)


@cache
def _environment(format_: str, directories: tuple[Path, ...]) -> _Environment:
    loader = FileSystemLoader(directories)
    options: Any = {"undefined": _Absent, "trim_blocks": True, "lstrip_blocks": True}
    environment = _Environment(loader=loader, autoescape=format_ == "html", optimized=False, **options)
    environment.filters.update(formats.FILTERS)
    environment.filters.update(FILTERS)
    return environment


def number(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        return None
    try:
        result = value if isinstance(value, Decimal) else Decimal(str(value).strip())
        if not result.is_finite() or abs(result) >= formats.LARGEST:
            return None
    except (DecimalException, ValueError):
        return None
    exponent = result.as_tuple().exponent
    return result if isinstance(exponent, int) and exponent >= formats.FINEST else None


@pass_context
def money(context: Context, value: object, currency: object) -> str:
    amount = number(value)
    if amount is None or not isinstance(currency, str) or not re.fullmatch("[A-Z]{3}", currency):
        return ""
    shown = format_currency(amount, currency, locale=formats.babel_locale(context["locale"]))
    return re.sub(r"(?<=[A-Za-z])(?=\d)", "\u00a0", shown)


@pass_context
def decimal(context: Context, value: object) -> str:
    amount = number(value)
    return "" if amount is None else format_decimal(amount, locale=formats.babel_locale(context["locale"]))


@pass_context
def percent(context: Context, value: object) -> str:
    share = number(value)
    return "" if share is None else format_percent(share, locale=formats.babel_locale(context["locale"]))


@pass_context
def order_lines(context: Context, items: object, currency: object) -> list[dict[str, str]]:
    found = items if isinstance(items, list | tuple) else ()
    named = [item for item in found if isinstance(item, Mapping) and formats.text(item.get("name"))]
    return [_order_line(context, item, currency) for item in named]


def _order_line(context: Context, item: Mapping[str, Any], currency: object) -> dict[str, str]:
    quantity, price = number(item.get("quantity", 1)), number(item.get("price"))
    amount = None if quantity is None or price is None else quantity * price
    return {
        "name": formats.text(item["name"]),
        "quantity": decimal(context, quantity),
        "price": money(context, price, currency),
        "amount": money(context, amount, currency),
    }


def web_url(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable() or " " in value:
        return ""
    try:
        parts = urlsplit(value)
    except ValueError:
        return ""
    return value if parts.scheme in {"http", "https"} and parts.hostname else ""


def one_line(value: str) -> str:
    return type(value)(" ".join(value.split()))


def gsm(value: str) -> str:
    table: dict[str, str | int | None] = {**formats.TO_GSM}
    return one_line(value.translate(str.maketrans(table)))


def lines(value: str) -> list[str]:
    return list(map(type(value), filter(None, map(str.strip, str(value).splitlines()))))


def facts(value: str) -> list[tuple[str, str]]:
    pairs = (line.partition(":") for line in str(value).splitlines())
    return [(type(value)(label.strip()), type(value)(rest.strip())) for label, _, rest in pairs if rest.strip()]


FILTERS: Mapping[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (decimal, facts, gsm, lines, money, one_line, order_lines, percent, web_url)
}
