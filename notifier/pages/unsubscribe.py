"""Unsubscribing by the link in a mail.

Mail programs post to it (RFC 8058, read 2026-11-25), and that ends mails of the kind at once. To look at it changes
nothing, since mail scanners follow every link: it shows a form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import translation
from django.utils.decorators import method_decorator
from django.utils.translation import gettext
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt

from notifier import throttle
from notifier.callers import name_customer
from notifier.catalogue import EventType, event_types
from notifier.links import Subject, preferences_url, read_unsubscribe
from notifier.models import Delivery
from notifier.pages.frame import dead_link, framed, language_of, too_many
from preferences import people, resolve
from preferences.addresses import masked
from preferences.models import User
from preferences.tokens import TokenError

EMAIL = "EMAIL"


@dataclass(frozen=True, slots=True)
class Reader:
    """Who unsubscribes from what: a user from mails of a type, or a guest's address from all mail (`user` None)."""

    user: User | None
    event_type: EventType | None
    address: str
    locale: str

    @property
    def is_mandatory(self) -> bool:
        return self.event_type is not None and EMAIL in self.event_type.mandatory

    def stop(self, *, everything: bool) -> None:
        if self.user is None:
            resolve.opt_out(resolve.EMAIL, self.address)
            return
        own = {choice for choice in resolve.load([self.user.id])[self.user.id].choices if choice[1] == EMAIL}
        name = "" if everything or self.event_type is None else self.event_type.name
        people.rechoose(self.user, {(name, EMAIL): False}, {c for c in own if c[0]} if not name else ())

    def go_on(self) -> None:
        """Undo: the mails come again."""
        if self.user is None:
            resolve.opt_in(resolve.EMAIL, self.address)
            return
        names = {"", self.event_type.name if self.event_type else ""}
        people.rechoose(self.user, {}, {(name, EMAIL) for name in names})


# as for the preference page: the link allows it, and no cookie is read
@method_decorator([csrf_exempt, never_cache], name="dispatch")
class UnsubscribeView(View):
    def dispatch(self, request: HttpRequest, *args: Any, token: str, **kwargs: Any) -> Any:
        try:
            subject = read_unsubscribe(token)
        except TokenError:
            return dead_link(request)
        if grant := throttle.refused(throttle.by_customer(subject.user_id or subject.delivery_id)):
            return too_many(request, grant)
        reader = _reader(subject)
        if reader is None:
            return dead_link(request)
        if reader.user:
            name_customer(request, reader.user.id)
        with translation.override(language_of(reader.locale)):
            return framed(super().dispatch(request, *args, reader=reader, **kwargs))

    def get(self, request: HttpRequest, reader: Reader) -> HttpResponse:
        return _page(request, reader, "ask")

    def post(self, request: HttpRequest, reader: Reader) -> HttpResponse:
        """One click by a mail program (its body: List-Unsubscribe=One-Click), or what the form chose."""
        if "undo" in request.POST:
            reader.go_on()
            return _page(request, reader, "undone")
        everything = request.POST.get("what") == "all"
        if reader.is_mandatory and not everything:
            return _page(request, reader, "ask")
        reader.stop(everything=everything)
        return _page(request, reader, "done", everything=everything or reader.user is None)


def _page(request: HttpRequest, reader: Reader, state: str, **more: Any) -> HttpResponse:
    kind = reader.event_type
    context = {
        "shop": settings.SHOP,
        "state": state,
        "address": masked(reader.address),
        "kind": kind and gettext(kind.label),
        "is_guest": reader.user is None,
        "mandatory": reader.is_mandatory,
        "why": gettext(kind.why_mandatory) if kind and kind.why_mandatory else "",
        "preferences_url": preferences_url(reader.user.id) if reader.user else "",
        **more,
    }
    return render(request, "notifier/pages/unsubscribe.html", context)


def _reader(subject: Subject) -> Reader | None:
    """None where what the link was about is gone."""
    if subject.user_id:
        user = User.objects.filter(id=subject.user_id, is_active=True).first()
        return Reader(user, event_types().get(subject.event_type), user.email, user.locale) if user else None
    return _guest(subject.delivery_id)


def _guest(delivery_id: Any) -> Reader | None:
    delivery = Delivery.objects.filter(id=delivery_id).select_related("event").first()
    recipient = (delivery and delivery.event.recipient) or {}
    address = recipient.get("email", "")
    return Reader(None, None, address, recipient.get("locale", settings.DEFAULT_LOCALE)) if address else None
