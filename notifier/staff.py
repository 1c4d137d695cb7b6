"""What staff may do: three groups, of which each `migrate` makes sure that they have at least these permissions.

A group of the event catalogue's (whom staff events are for) may be one of them; to be a recipient gives no permission.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.apps import apps
from django.db.models import Q

SUPPORT, OPERATIONS, ADMINISTRATORS = "support", "operations", "administrators"

#: People who answer customers: they look, and change nothing.
_SEES = (
    "notifier.view_notificationevent",
    "notifier.view_delivery",
    "notifier.view_attempt",
    "notifier.view_deadletter",
    "notifier.view_pause",
    "notifier.view_alert",
    "notifier.view_templateversion",
    "notifier_channels.view_inboxmessage",
    "notifier_channels.view_breakerchange",
    "preferences.view_user",
    "preferences.view_device",
    "preferences.view_preference",
    "preferences.view_suppressedaddress",
    "preferences.view_change",
)
#: People who keep it running: they also send again, discard, and say which addresses get nothing.
_RUNS = (
    *_SEES,
    "notifier.view_content",
    "notifier.replay_deadletter",
    "notifier.discard_deadletter",
    "notifier.acknowledge_alert",
    "notifier.change_pause",
    "notifier.change_rollout",
    "notifier.change_templateversion",
    "notifier.publish_template",
    "preferences.add_suppressedaddress",
    "preferences.change_suppressedaddress",
    "preferences.delete_suppressedaddress",
)
GRANTS: Mapping[str, Iterable[str]] = {SUPPORT: _SEES, OPERATIONS: _RUNS}


def make_groups(**_: Any) -> None:
    """The groups, with what is missing of their permissions; nothing is taken away. After each `migrate`."""
    groups = apps.get_model("auth", "Group").objects
    permissions = apps.get_model("auth", "Permission").objects
    for name, granted in GRANTS.items():
        chosen = Q()
        for permission in granted:
            app, _dot, codename = permission.partition(".")
            chosen |= Q(content_type__app_label=app, codename=codename)
        groups.get_or_create(name=name)[0].permissions.add(*permissions.filter(chosen))
    groups.get_or_create(name=ADMINISTRATORS)[0].permissions.add(*permissions.all())
