"""The outbox as a Django app: "notifier_client.outbox" in INSTALLED_APPS."""

from __future__ import annotations

from django.apps import AppConfig
from django.core import checks

from notifier_client.outbox.configuration import check_settings


class OutboxConfig(AppConfig):
    name = "notifier_client.outbox"
    label = "notifier_outbox"
    verbose_name = "Notifier's outbox"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        checks.register(check_settings)
