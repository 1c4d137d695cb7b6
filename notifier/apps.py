"""The core app."""

from __future__ import annotations

from django.apps import AppConfig

from notifier import checks


class NotifierConfig(AppConfig):
    name = "notifier"
    verbose_name = "Notifications"

    def ready(self) -> None:
        """Have Django run our checks at every start."""
        checks.register_all()
