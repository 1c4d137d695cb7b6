"""What a template would say, with sample data alone: as the page shows it while somebody writes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from difflib import SequenceMatcher
from typing import Any

from channels import registry
from channels.base import AddressKind
from notifier import message_size
from notifier.catalogue import event_types
from notifier.querysets.templates import Place
from notifier.render import RenderError, from_source, render
from notifier.template_check import keeps_rules, least, problems, sample_context

DARK_MODE = re.compile(r"@media\s*\(\s*prefers-color-scheme:\s*dark\s*\)")
CONTEXT = 3  # lines of a diff around what has changed


def preview(source: str, place: Place, locale: str, *, only_required: bool = False) -> dict[str, Any]:
    """`problems` and `message`, the latter None where nothing can be shown. `locale`: the recipient's."""
    found = problems(source, place)
    return {
        "problems": [asdict(problem) for problem in found],
        "fit": not any(problem.error for problem in found),
        "message": _message(source, place, locale, only_required=only_required) if keeps_rules(source) else None,
    }


def _message(source: str, place: Place, locale: str, *, only_required: bool) -> dict[str, Any] | None:
    kind, channel = event_types()[place.event_type], registry.channel_class(place.channel)
    context = sample_context(kind, locale, least(kind) if only_required else None, links=channel.links)
    try:
        template = from_source(source, "v0", place.event_type, place.channel, place.locale)
        parts = render(place.channel, channel.parts, place.event_type, context, template)
    except RenderError:
        return None  # which `problems` has told
    return _shown(channel.address, channel.parts, parts, place)


def _shown(address: AddressKind, formats: Mapping[str, str], parts: Mapping[str, str], place: Place) -> dict[str, Any]:
    pages = {name: text for name, text in parts.items() if formats[name] == "html"}
    shown: dict[str, Any] = {"texts": {name: text for name, text in parts.items() if name not in pages}}
    if pages:
        html = next(iter(pages.values()))
        # what the reader's own system says must not decide here
        shown |= {"light": DARK_MODE.sub("@media not all", html), "dark": DARK_MODE.sub("@media all", html)}
    if address == AddressKind.PHONE:
        shown["facts"] = _of_sms(" ".join(parts.values()))
    elif address == AddressKind.DEVICE:
        data = {"order_id": "", "event_id": "", "url": "", "delivery_id": "", "attempt": "", "event_type": ""}
        size = message_size.push(parts, {**data, **_sample_data(place)})
        told = f"{size:,} of {message_size.PUSH_LIMIT:,} bytes, with what the app gets"
        shown["facts"] = [told, *(["Too large: FCM refuses it."] if size > message_size.PUSH_LIMIT else [])]
    return shown


def _of_sms(text: str) -> list[str]:
    size = message_size.sms(text)
    room = message_size.PART[size.encoding] if size.segments > 1 else message_size.ALONE[size.encoding]
    counted = f"{size.segments} segment{'' if size.segments == 1 else 's'}"
    told = [f"{counted} of {room} places, {size.encoding}", f"{size.characters} characters, {size.places} places"]
    if size.forced_by:
        told.append(
            f"UCS-2 because of {' '.join(size.forced_by)}: without it, a segment has {message_size.PART['GSM-7']}"
        )
    return told


def _sample_data(place: Place) -> dict[str, str]:
    """What claim and the provider put beside the text, in its usual length."""
    sample, any_id = event_types()[place.event_type].sample, "00000000-0000-7000-8000-000000000000"
    url, order = str(sample.get("trackingUrl", "")), str(sample.get("orderId", ""))
    own = {"delivery_id": any_id, "event_id": any_id, "attempt": "1", "event_type": place.event_type}
    return {**own, "url": url, "order_id": order}


def difference(old: str, new: str) -> list[dict[str, Any]]:
    """Rows of a diff: `sign` ("-", "+", " ", or "…" for what is left out), `old` and `new` line numbers, `text`."""
    before, after = old.splitlines(), new.splitlines()
    rows: list[dict[str, Any]] = []
    for group in SequenceMatcher(None, before, after, autojunk=False).get_grouped_opcodes(CONTEXT):
        if rows or group[0][1]:
            rows.append({"sign": "…", "old": "", "new": "", "text": ""})
        for tag, start, end, new_start, new_end in group:
            if tag == "equal":
                rows += [_row(" ", start + i + 1, new_start + i + 1, before[start + i]) for i in range(end - start)]
                continue
            rows += [_row("-", i + 1, "", before[i]) for i in range(start, end)]
            rows += [_row("+", "", i + 1, after[i]) for i in range(new_start, new_end)]
    return rows


def _row(sign: str, old: int | str, new: int | str, text: str) -> dict[str, Any]:
    return {"sign": sign, "old": old, "new": new, "text": text}
