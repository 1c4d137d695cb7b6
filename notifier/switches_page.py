"""The admin's page of switches: what is paused, and how far each channel is brought in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils import timezone
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from channels import registry
from notifier import pauses
from notifier.catalogue import event_types
from notifier.models import Pause, Rollout
from preferences import people

VIEW, SWITCH, ROLL_OUT = "notifier.view_pause", "notifier.change_pause", "notifier.change_rollout"
NAMED = 1_000  # people by name


class PauseForm(forms.Form):
    """`on`: pause; else resume."""

    kind = forms.ChoiceField(choices=Pause.Kind.choices)
    name = forms.CharField(max_length=100)
    reason = forms.CharField(max_length=200, required=False)
    on = forms.BooleanField(required=False)


class RolloutForm(forms.Form):
    """Who gets a channel that is being brought in."""

    percent = forms.IntegerField(
        label="Share in percent",
        min_value=0,
        max_value=100,
        widget=UnfoldAdminTextInputWidget(attrs={"type": "number", "min": 0, "max": 100}),
    )
    users = forms.CharField(
        label="And these people",
        required=False,
        help_text="A line each: user id, email, phone or username",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3, "spellcheck": "false"}),
    )

    def clean_users(self) -> list[UUID]:
        lines = list(dict.fromkeys(line.strip() for line in self.cleaned_data["users"].splitlines() if line.strip()))
        if len(lines) > NAMED:
            raise ValidationError(f"At most {NAMED:,} people can be named; raise the share instead.")
        found = {line: people.named(line, NAMED) for line in lines}
        if unknown := [line for line, ids in found.items() if not ids]:
            raise ValidationError(f"Nobody active has: {', '.join(unknown)}")
        return sorted({user_id for ids in found.values() for user_id in ids})


def switches_page(request: HttpRequest, site: AdminSite) -> HttpResponse:
    """The page; a POST switches one thing and leads back to it."""
    if not request.user.has_perm(VIEW):
        raise PermissionDenied
    forms_by_channel = {channel: _rollout_form(channel) for channel in registry.names()}
    if request.method == "POST":
        channel = request.POST.get("channel", "")
        if channel in forms_by_channel:
            form = forms_by_channel[channel] = RolloutForm(request.POST, prefix=channel)
            switched = _roll_out(request, channel, form)
        else:
            switched = _switch(request)
        if switched:
            return HttpResponseRedirect(request.path)
    context = {
        **site.each_context(request),
        "title": "Switches",
        "groups": list(_groups()),
        "rollouts": [{"channel": channel, "form": form} for channel, form in forms_by_channel.items()],
        "may_switch": request.user.has_perm(SWITCH),
        "may_roll_out": request.user.has_perm(ROLL_OUT),
    }
    return render(request, "notifier/switches.html", context)


def _switch(request: HttpRequest) -> bool:
    if not request.user.has_perm(SWITCH):
        raise PermissionDenied
    form = PauseForm(request.POST)
    if not form.is_valid():
        messages.error(request, "; ".join(f"{name}: {text}" for name, texts in form.errors.items() for text in texts))
        return False
    kind, name = form.cleaned_data["kind"], form.cleaned_data["name"]
    try:
        if form.cleaned_data["on"]:
            pauses.pause(kind, name, form.cleaned_data["reason"])
            messages.warning(request, f"{name} is paused. What would go there waits, and expires in time.")
        elif pauses.resume(kind, name):
            messages.success(request, f"{name} goes on. What waited goes out within half a minute.")
    except pauses.UnknownNameError as error:
        messages.error(request, str(error))
        return False
    return True


def _roll_out(request: HttpRequest, channel: str, form: RolloutForm) -> bool:
    if not request.user.has_perm(ROLL_OUT):
        raise PermissionDenied
    if not form.is_valid():
        return False
    percent, users = form.cleaned_data["percent"], form.cleaned_data["users"]
    if percent == 100:
        Rollout.objects.filter(pk=channel).delete()
        messages.success(request, f"{channel} goes to everybody.")
    else:
        Rollout.objects.update_or_create(id=channel, defaults={"percent": percent, "users": users})
        named = f", and to {len(users)} people by name" if users else ""
        messages.success(request, f"{channel} goes to {percent} % of all recipients{named}.")
    return True


def _rollout_form(channel: str) -> RolloutForm:
    row = Rollout.objects.filter(pk=channel).first()
    initial = {"percent": row.percent, "users": "\n".join(map(str, row.users))} if row else {"percent": 100}
    return RolloutForm(initial=initial, prefix=channel)


def _groups() -> Iterator[Mapping[str, Any]]:
    """What can be paused, by kind, with what is."""
    going = {(pause.kind, pause.name): pause for pause in Pause.objects.all()}
    labels = {name: kind.label for name, kind in event_types().items()}
    for kind, names in pauses.pausable().items():
        rows = [
            {"name": name, "label": labels.get(name, ""), "pause": pause, "since": _since(pause)}
            for name in names
            for pause in [going.get((kind, name))]
        ]
        yield {"kind": kind, "title": f"{Pause.Kind(kind).label}s", "rows": rows}


def _since(pause: Pause | None) -> str:
    return f"{timezone.localtime(pause.paused_at):%Y-%m-%d %H:%M}" if pause else ""
