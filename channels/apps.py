"""The channels app. Its label is explicit, since the bare one belongs to Django Channels."""

from __future__ import annotations

from django.apps import AppConfig


class ChannelsConfig(AppConfig):
    name = "channels"
    label = "notifier_channels"
    verbose_name = "Channels"
