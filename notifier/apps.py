"""The core app."""

from __future__ import annotations

import logging

from django.apps import AppConfig
from django.conf import settings

from notifier import checks

log = logging.getLogger(__name__)


class NotifierConfig(AppConfig):
    name = "notifier"
    verbose_name = "Notifications"

    def ready(self) -> None:
        """Have Django run our checks at every start, and say whether this is staging."""
        checks.register_all()
        if settings.STAGING_RECIPIENTS:
            log.warning(checks.STAGING_IS_ON)
