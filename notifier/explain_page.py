"""The admin's form that explains: whom, what happened, and below it what would be sent. Nothing is sent or written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django import forms
from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from channels import registry
from notifier.catalogue import Audience, event_types
from notifier.explain import PLANNED, Explanation, Option, Outlook, Target, explain
from notifier.models import NotificationEvent
from notifier.states import DeliveryStatus
from notifier.trigger import Trigger, TriggerError, parse
from preferences import people

PERMISSION = "notifier.view_notificationevent"
MANY = 5  # people of one address that are named
GUEST = {"email": "email", "phone": "phone", "locale": "locale", "timeZone": "time_zone"}
FIELDS = {"eventType": "event_type", "userId": "user", **{f"recipient.{name}": field for name, field in GUEST.items()}}


class Json(forms.JSONField):
    """Shown with a line for each key, as people read it; what cannot be read stays as it was typed."""

    def prepare_value(self, value: Any) -> Any:
        return json.dumps(value, indent=2, ensure_ascii=False) if isinstance(value, Mapping) else value


def _text(label: str, help_text: str = "") -> forms.CharField:
    return forms.CharField(label=label, help_text=help_text, required=False, widget=UnfoldAdminTextInputWidget)


class ExplainForm(forms.Form):
    """A trigger as staff write it down; `trigger` once it is valid."""

    event_type = forms.ChoiceField(label="What happened", widget=UnfoldAdminSelectWidget)
    user = _text("Customer", "User id, email, phone or username; empty for a guest and for staff types")
    email = _text("Guest's email")
    phone = _text("Guest's phone", "With its country code, as +49 151 12345678")
    locale = _text("Guest's locale", "As en or de-AT")
    time_zone = _text("Guest's time zone", "As Europe/Berlin")
    metadata = Json(label="Metadata", widget=UnfoldAdminTextareaWidget(attrs={"rows": 16, "spellcheck": "false"}))

    trigger: Trigger

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        choices = [(name, kind.label) for name, kind in event_types().items()]
        self.fields["event_type"].choices = choices  # type: ignore[attr-defined] # of a ChoiceField

    def clean_user(self) -> str:
        """The id of the one whom it names."""
        term = self.cleaned_data["user"].strip()
        if not term:
            return ""
        found = [str(user_id) for user_id in people.named(term, MANY + 1)]
        if not found:
            raise ValidationError("No active user has this id, email, phone or username.")
        if len(found) > 1:
            raise ValidationError(f"Several have it. Give the id: {', '.join(found[:MANY])}")
        return found[0]

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if not self.errors:
            try:
                self.trigger = parse(self._body(cleaned))
            except TriggerError as error:
                self.refuse(error)
        return cleaned

    def refuse(self, error: TriggerError) -> None:
        """Show each problem at its field."""
        for name, problem in error.fields.items():
            field = "metadata" if name.startswith("metadata") else FIELDS.get(name)
            where = name.removeprefix("metadata.") if field == "metadata" else ""
            self.add_error(field, f"{where}: {problem}" if where and where != "metadata" else problem)
        if not error.fields:
            self.add_error(None, str(error))

    def _body(self, cleaned: Mapping[str, Any]) -> dict[str, Any]:
        guest = {name: cleaned[field] for name, field in GUEST.items() if cleaned[field]}
        body = {"eventType": cleaned["event_type"], "metadata": cleaned["metadata"]}
        return body | ({"userId": cleaned["user"]} if cleaned["user"] else {}) | ({"recipient": guest} if guest else {})


def explain_page(request: HttpRequest, site: AdminSite) -> HttpResponse:
    """The form; with what came of it once it was sent. A body, not an address, says whom: servers log addresses."""
    if not request.user.has_perm(PERMISSION):
        raise PermissionDenied
    form = ExplainForm(request.POST) if request.method == "POST" else ExplainForm(initial=_initial(request))
    found: list[Explanation] | None = None
    if form.is_bound and form.is_valid():
        try:
            found = explain(form.trigger)
        except TriggerError as error:
            form.refuse(error)
    context = {
        **site.each_context(request),
        "title": "Explain",
        "form": form,
        "samples": {name: kind.sample for name, kind in event_types().items()},
        "found": None if found is None else [_shown(one) for one in found],
        "heading": form.trigger.event_type.label if found is not None else "",
    }
    return render(request, "notifier/explain.html", context)


def _initial(request: HttpRequest) -> dict[str, Any]:
    """As an event has it that the address names; else the first type's sample."""
    known = _uuid(request.GET.get("event", ""))
    event = NotificationEvent.objects.filter(id=known).first() if known else None
    if event is None or event.event_type not in event_types():
        kind = next(iter(event_types().values()))
        return {"event_type": kind.name, "metadata": kind.sample}
    guest = {field: (event.recipient or {}).get(name, "") for name, field in GUEST.items()}
    of_staff = event_types()[event.event_type].audience is Audience.STAFF
    user = "" if of_staff else event.user_id or ""
    return {"event_type": event.event_type, "metadata": event.metadata, "user": user, **guest}


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _shown(found: Explanation) -> dict[str, Any]:
    """One recipient as the template has it."""
    recipient, same = found.recipient, found.same_as
    return {
        "who": f"user {recipient.user_id}" if recipient.user_id else "a guest",
        "reads": f"{recipient.locale}, {recipient.time_zone}",
        "expires": _clock(found.expires_at),
        "same": same,
        "same_link": same and reverse("admin:notifier_notificationevent_change", args=[same.event_id]),
        "summary": _summary(found),
        "deliveries": [_row(outlook) for outlook in found.deliveries],
        "unplanned": found.unplanned,
    }


def _summary(found: Explanation) -> str:
    going = [d for d in found.deliveries if d.status == DeliveryStatus.QUEUED]
    held = sum(1 for d in going if d.hold_reason)
    parts = [(len(going) - held, "now"), (held, "later"), (len(found.deliveries) - len(going), "not sent")]
    return ", ".join(f"{number} {word}" for number, word in parts if number)


def _row(outlook: Outlook) -> dict[str, Any]:
    word, kind = _state(outlook)
    formats = registry.parts(outlook.channel) if outlook.content else {}
    return {
        "channel": outlook.channel,
        "label": render_to_string("notifier/label.html", {"text": word, "kind": kind}),
        "when": _when(outlook),
        "reason": outlook.skip_reason or outlook.hold_reason,
        "detail": outlook.detail,
        "to": ", ".join(_to(target) for target in outlook.targets),
        "fallback": _fallback(outlook),
        "parts": {name: text for name, text in outlook.content.items() if formats[name] == "text"},
    }


def _state(outlook: Outlook) -> tuple[str, str]:
    if outlook.status == DeliveryStatus.FAILED:
        return "cannot be rendered", "danger"
    if outlook.skip_reason:
        return "not sent", "default"
    return ("held", "warning") if outlook.hold_reason else ("sent now", "success")


def _when(outlook: Outlook) -> str:
    if outlook.hold_reason and outlook.due_at:
        return f"held until {_clock(outlook.due_at)}"
    return "at once" if outlook.status == DeliveryStatus.QUEUED else ""


def _to(target: Target) -> str:
    return target.address or (f"device {target.id}" if target.id else "the inbox")


def _fallback(outlook: Outlook) -> str:
    """What becomes of it where its channel fails."""
    if not outlook.fallbacks:
        return ""
    told = ", then ".join(_option(option) for option in outlook.fallbacks)
    after = outlook.fallback_after_seconds
    waits = f", or has not gone out {after:g} s after it was due" if after is not None else ""
    return f"If {outlook.channel} fails{waits}: {told}"


def _option(option: Option) -> str:
    if not option.obstacle:
        return option.channel
    if option.obstacle == PLANNED:
        return f"{option.channel} (is sent anyway)"
    return f"not {option.channel} ({option.obstacle})"


def _clock(moment: datetime) -> str:
    return f"{timezone.localtime(moment):%Y-%m-%d %H:%M} {timezone.localtime(moment):%Z}"
