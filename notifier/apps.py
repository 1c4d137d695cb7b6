"""The core app."""

from __future__ import annotations

from django.apps import AppConfig

from notifier import checks as checks  # registers them


class NotifierConfig(AppConfig):
    name = "notifier"
    verbose_name = "Notifications"
