"""The customer's preference page. Whoever has the signed link may see and change it; there is no login.

It works without JavaScript: a form and a button. With it each change is saved at once (htmx), and the form comes back.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any
from uuid import UUID
from zoneinfo import available_timezones

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import render
from django.utils import translation
from django.utils.decorators import method_decorator
from django.utils.translation import get_language_info, gettext
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt

from channels import registry
from notifier import tasks, throttle
from notifier.callers import name_customer
from notifier.catalogue import event_types
from notifier.links import read_preferences
from notifier.models import Delivery
from notifier.pages.choices import Changes, changes, channel_switches, topics
from notifier.pages.frame import dead_link, framed, language_of, too_many
from preferences import people, resolve
from preferences.addresses import masked
from preferences.models import User
from preferences.tokens import TokenError

SAVED = "saved"
PAGE, FORM = "notifier/pages/preferences.html", "notifier/pages/preferences_form.html"


# the link is what allows a change; no cookie is read, so there is nothing to forge a request with
@method_decorator([csrf_exempt, never_cache], name="dispatch")
class PreferencesView(View):
    def dispatch(self, request: HttpRequest, *args: Any, token: str, **kwargs: Any) -> Any:
        try:
            user_id = read_preferences(token)
        except TokenError:
            return dead_link(request)
        if grant := throttle.refused(throttle.by_customer(user_id)):
            return too_many(request, grant)
        user = User.objects.filter(id=user_id, is_active=True).first()
        if user is None:
            return dead_link(request)
        name_customer(request, user.id)
        with translation.override(language_of(user.locale)):
            return framed(super().dispatch(request, *args, user=user, **kwargs))

    def get(self, request: HttpRequest, user: User) -> HttpResponse:
        return render(request, PAGE, _context(user, saved=SAVED in request.GET))

    def post(self, request: HttpRequest, user: User) -> HttpResponse:
        """Save; then the page anew, or with htmx its form alone, in the language that was chosen."""
        problems = _save(user, request.POST)
        fragment = "HX-Request" in request.headers
        if not problems and not fragment:
            return HttpResponseRedirect(f"{request.path}?{SAVED}", status=303)
        with translation.override(language_of(user.locale)):
            context = _context(user, saved=not problems)
            if problems:  # what was typed stands there still
                context |= {"problems": problems, "on": request.POST.getlist("on"), "own": _own(request.POST)}
            status = 400 if problems and not fragment else 200  # htmx shows no answer of 400
            return render(request, FORM if fragment else PAGE, context, status=status)


def _save(user: User, form: QueryDict) -> dict[str, str]:
    """What is wrong with the form, by field; all of it is saved, or nothing."""
    try:
        person = people.draft(user, _own(form))
    except ValidationError as error:
        return {name: " ".join(messages) for name, messages in error.message_dict.items()}
    with transaction.atomic():
        person.save(update_fields=people.PAGE_FIELDS)
        people.rechoose(person, *_changes(user.id, form))
        asks = Delivery.objects.ask_again(user.id)
    if asks:
        tasks.ring()
    user.refresh_from_db()
    return {}


def _own(form: QueryDict) -> dict[str, str]:
    """What the form says of the person themselves, in the model's names."""
    return {name: str(form[name]) for name in ("locale", "time_zone", "quiet_from", "quiet_until") if name in form}


def _changes(user_id: UUID, form: QueryDict) -> tuple[Mapping[tuple[str, str], bool], frozenset[tuple[str, str]]]:
    person = resolve.load([user_id])[user_id]
    if "reset" in form:
        return {}, frozenset(person.choices)
    found: Changes = changes(person, event_types(), form.get("seen", "").split(), form.getlist("on"))
    return found.made, found.forgotten


def _context(user: User, **more: Any) -> dict[str, Any]:
    person = resolve.load([user.id])[user.id]
    kinds = registry.address_kinds()
    reachable = {channel: bool(person.addresses.get(kind)) for channel, kind in kinds.items()}
    found = topics(person, event_types().values(), kinds)
    switches = channel_switches(person, event_types().values(), kinds)
    every = [*switches, *(switch for topic in found for row in topic.rows for switch in row.switches)]
    on = [switch.name for switch in every if switch.on and not switch.mandatory]
    return {
        "shop": settings.SHOP,
        "own": {
            "quiet_from": user.quiet_from and f"{user.quiet_from:%H:%M}",
            "quiet_until": user.quiet_until and f"{user.quiet_until:%H:%M}",
            "time_zone": user.time_zone,
        },
        "locale": user.locale,
        "topics": found,
        "switches": switches,
        "on": on,
        "seen": " ".join(on),
        "labels": {name: gettext(registry.channel_class(name).label or name.capitalize()) for name in kinds},
        "whereto": {channel: _whereto(user, kinds[channel], reachable[channel]) for channel in kinds},
        "languages": {code: get_language_info(code)["name_local"] for code in settings.LOCALES},
        "language": language_of(user.locale),
        "time_zones": sorted({user.time_zone, *_places()}),
        **more,
    }


@cache
def _places() -> frozenset[str]:
    """Time zones as people know theirs, by continent and city: no abbreviations, and nothing for machines."""
    return frozenset(name for name in available_timezones() if "/" in name and not name.startswith(("Etc", "US")))


def _whereto(user: User, kind: str, reachable: bool) -> str:
    """Where a channel's messages arrive, so that nobody is surprised; personal data only in part."""
    if kind == resolve.EMAIL:
        return masked(user.email) or gettext("We have no email address of yours.")
    if kind == resolve.PHONE:
        return masked(user.phone) or gettext("We have no phone number of yours.")
    if kind == resolve.DEVICE:
        return gettext("On the devices with our app.") if reachable else gettext("No device with our app is known.")
    return gettext("When you open our app or your account.")
