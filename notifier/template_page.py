"""The admin's editor of message templates, with its preview, versions and tests."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.admin import AdminSite
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from notifier import formats, serving
from notifier.catalogue import EventType, event_types
from notifier.models import TemplateVersion
from notifier.querysets.templates import ChangedMeanwhile, Place, TemplateQuerySet
from notifier.render import file_source
from notifier.states import TemplateState
from notifier.template_check import problems
from notifier.template_list import (
    NOTHING,
    VIEW,
    ask,
    broken_ones,
    clock,
    edit_address,
    label,
    named,
    places,
    serves_label,
)
from notifier.template_preview import difference, preview
from notifier.template_trial import NotSentError, send_test

CHANGE, PUBLISH = "notifier.change_templateversion", "notifier.publish_template"
PLACE = re.compile(r"(\w+)/(\w+)\.([\w-]+)")
SHOWN = 50  # versions on the page
NOTE = 200  # characters
NUL = "\0"  # which PostgreSQL keeps in no text
CONFLICT = "Your text is still here, compared with theirs below. Save again to put it in its place."
COLOURS = {TemplateState.PUBLISHED: "success", TemplateState.DRAFT: "info", TemplateState.SUPERSEDED: "default"}


@dataclass(slots=True)
class _Draft:
    """The editor's fields as they were sent. `base`: the newest version that was seen, `serving` what served."""

    place: Place
    source: str
    note: str = ""
    base: int = 0
    serving: int = 0
    number: str = ""  # of the version that a button names

    @classmethod
    def sent(cls, request: HttpRequest) -> _Draft:
        sent = request.POST
        return cls(
            place=_place(sent.get("template", "")),
            source=sent.get("source", "").replace("\r\n", "\n").replace(NUL, ""),
            note=sent.get("note", "").replace(NUL, "").strip()[:NOTE],
            base=_number(sent.get("base", "")),
            serving=_number(sent.get("serving", "")),
            number=sent.get("number", ""),
        )


def edit(request: HttpRequest, site: AdminSite) -> HttpResponse:
    """The editor; a POST does what its button says, and what is refused stays on the page."""
    ask(request, VIEW)
    if request.method != "POST":
        place = _place(request.GET.get("template", ""))
        source = _opened(place, request.GET.get("version", ""))
        return _editor(request, site, _Draft(place, source))
    draft = _Draft.sent(request)
    action = _ACTIONS.get(request.POST.get("action", ""))
    if action is None:
        raise Http404
    try:
        done = action(request, draft)
    except ChangedMeanwhile as met:
        theirs = named(met.number)
        messages.error(request, f"Not saved: somebody else saved or published {theirs} meanwhile. {CONFLICT}")
        return _editor(request, site, draft, against=theirs, status=409)
    if done:
        serving.forget()
        return redirect(edit_address(draft.place))
    return _editor(request, site, draft, again=True)


def _save(request: HttpRequest, draft: _Draft) -> bool:
    ask(request, CHANGE)
    version = _stored(request, draft)
    if version:
        messages.success(request, f"Saved as {version.label}. It does not serve yet.")
    return version is not None


def _stored(request: HttpRequest, draft: _Draft) -> TemplateVersion | None:
    """A new version, or the newest one where nothing was changed; None where it is not fit."""
    if not _is_fit(request, draft.source, draft.place):
        return None
    newest: TemplateVersion | None = _versions(draft.place).first()
    if newest and newest.number == draft.base and newest.source == draft.source:
        return newest
    return TemplateVersion.objects.save_draft(
        draft.place, draft.source, note=draft.note, author=request.user.get_username(), base=draft.base
    )


def _is_fit(request: HttpRequest, source: str, place: Place) -> bool:
    errors = [found for found in problems(source, place) if found.error]
    for found in errors:
        messages.error(request, f"Not saved. {f'Line {found.line}: ' if found.line else ''}{found.text}")
    return not errors


def _publish(request: HttpRequest, draft: _Draft) -> bool:
    ask(request, CHANGE)
    ask(request, PUBLISH)
    version = _stored(request, draft)
    return version is not None and _serve(request, draft, version.number)


def _roll_back(request: HttpRequest, draft: _Draft) -> bool:
    """To an older version, or to the file."""
    ask(request, PUBLISH)
    if draft.number == "file":
        return _serve(request, draft, None)
    version = _versions(draft.place).filter(number=_number(draft.number)).first()
    if version is None:
        raise Http404
    return _is_fit(request, version.source, draft.place) and _serve(request, draft, version.number)


def _serve(request: HttpRequest, draft: _Draft, number: int | None) -> bool:
    publisher = request.user.get_username()
    TemplateVersion.objects.publish(draft.place, number, publisher=publisher, instead_of=draft.serving)
    what = f"v{number} serves" if number else "The file serves again"
    messages.success(request, f"{what}, from the messages of the next seconds on.")
    return True


def _test(request: HttpRequest, draft: _Draft) -> bool:
    """Nothing is saved, so the text stays on the page."""
    ask(request, CHANGE)
    if _is_fit(request, draft.source, draft.place):
        try:
            number = send_test(UUID(str(request.user.pk)), draft.source, draft.place)
            devices = f", to {number} devices" if number > 1 else ""
            messages.success(request, f"Sent to you by {draft.place.channel}{devices}.")
        except NotSentError as error:
            messages.warning(request, str(error))
    return False


_ACTIONS: Mapping[str, Callable[[HttpRequest, _Draft], bool]] = {
    "save": _save,
    "publish": _publish,
    "roll_back": _roll_back,
    "test": _test,
}


@require_POST
def preview_as_json(request: HttpRequest) -> HttpResponse:
    """What the text that was sent would say; and how it differs from the version that is named."""
    ask(request, VIEW)
    draft = _Draft.sent(request)
    locale = request.POST.get("locale", "")
    locale = locale if formats.LOCALE.fullmatch(locale) else draft.place.locale
    shown = preview(draft.source, draft.place, locale, only_required=request.POST.get("data") == "least")
    against = request.POST.get("against", "")
    shown["difference"] = difference(_opened(draft.place, against), draft.source) if against else None
    return JsonResponse(shown)


def _editor(
    request: HttpRequest, site: AdminSite, draft: _Draft, *, against: str = "", again: bool = False, status: int = 200
) -> HttpResponse:
    """`again`: it still goes by the versions that its author saw; else by those of now."""
    place, versions = draft.place, _versions(draft.place)
    newest, serves = versions.first(), versions.filter(state=TemplateState.PUBLISHED).first()
    kind, may = event_types()[place.event_type], request.user.has_perm
    context = {
        **site.each_context(request),
        "title": f"{kind.label} by {place.channel} in {place.locale}",
        "draft": draft,
        "base": draft.base if again else newest.number if newest else 0,
        "serving": draft.serving if again else serves.number if serves else 0,
        "serves": serves_label(serves),
        "broken": broken_ones([serves]) if serves else [],
        "versions": [_version_row(version) for version in versions[:SHOWN]],
        "against": against,
        "locales": _locales(place),
        "variables": _variables(kind),
        "may_change": may(CHANGE),
        "may_publish": may(PUBLISH),
    }
    return render(request, "notifier/template_editor.html", context, status=status)


def _version_row(version: TemplateVersion) -> dict[str, Any]:
    state = "broken" if version.broken_at else TemplateState(version.state).label.lower()
    return {
        "number": version.number,
        "label": version.label,
        "state": label(state, "danger" if version.broken_at else COLOURS[TemplateState(version.state)]),
        "serves": version.state == TemplateState.PUBLISHED,
        "author": version.author,
        "when": clock(version.created_at),
        "published": f"{clock(version.published_at)} by {version.published_by}" if version.published_at else NOTHING,
        "note": version.note or NOTHING,
        "open": f"{edit_address(version.place)}&version={version.label}",
    }


def _variables(kind: EventType) -> list[tuple[str, str]]:
    """(name, what it is) of what a template may fill in."""
    required = kind.schema.get("required", ())
    keys = [
        (f"metadata.{key}", "always there" if key in required else "may be absent")
        for key in kind.schema.get("properties", {})
    ]
    return [
        ("order_id", "the order's number"),
        ("order_url", "the order's page, where SHOP_ORDER_URL is set"),
        *keys,
        ("recorded_at", "when it happened"),
        ("shop.name", "also shop.url, shop.support_email, shop.legal_footer"),
        ("links.preferences", "also links.unsubscribe; in mails"),
        ("locale, language, time_zone", "the recipient's, and the template's language"),
    ]


def _locales(place: Place) -> list[str]:
    """Whose eyes one may look through: a number and a date differ from Austria to Germany."""
    regions = {"en": ["en-GB", "en-US"], "de": ["de-AT", "de-CH"]}
    return [place.locale, *regions.get(place.locale, [])]


def _opened(place: Place, version: str) -> str:
    """The text of a version, "v12", or of the file; of the newest where none is named."""
    if version == "file":
        return file_source(place.event_type, place.channel, place.locale) or ""
    known = _versions(place)
    row = known.filter(number=_number(version)).first() if version else known.first()
    if row is None and version:
        raise Http404
    return row.source if row else _opened(place, "file")


def _versions(place: Place) -> TemplateQuerySet:
    return TemplateVersion.objects.of(place).order_by("-number")


def _number(text: str) -> int:
    digits = text.removeprefix("v")
    return int(digits) if digits.isdecimal() and len(digits) < 19 else 0


def _place(text: str) -> Place:
    """As "ORDER_SHIPPED/EMAIL.en". Raises Http404 for what is in no catalogue."""
    found = PLACE.fullmatch(text)
    kind = event_types().get(found[1]) if found else None
    if found is None or kind is None or Place(*found.groups()) not in places(kind):
        raise Http404
    return Place(*found.groups())
