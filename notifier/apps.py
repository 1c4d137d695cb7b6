"""The core app."""

from __future__ import annotations

import logging

from django.apps import AppConfig
from django.conf import settings
from django.db.models.signals import post_migrate

from notifier import checks, staff

log = logging.getLogger(__name__)


class NotifierConfig(AppConfig):
    name = "notifier"
    verbose_name = "Notifications"

    def ready(self) -> None:
        """Run our checks at every start, say whether this is staging, and make staff's groups after every `migrate`."""
        checks.register_all()
        post_migrate.connect(staff.make_groups, sender=self)  # the last app: all permissions are there by then
        if settings.STAGING_RECIPIENTS:
            log.warning(checks.STAGING_IS_ON)
