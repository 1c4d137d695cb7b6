"""Who may call what: the one table that the access matrix goes by. Every address that the web process has is in it.

Its key is the address as the URL configuration writes it. What is missing fails `test_every_address_has_its_rule`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib.auth.models import Group
from django.db.models import Model
from django.utils import timezone
from django_celery_beat import models as beat

from channels.models import BreakerChange, InboxMessage
from notifier.models import Alert, ApiKey, Pause, TemplateVersion, new_id
from notifier.querysets.templates import Place
from preferences.models import Change, Preference, SuppressedAddress, User
from tests.letters import make_event, make_letter

EVERYBODY = "everybody"
VICTIM = UUID(int=7)  # whose things others try to reach

#: Address -> method -> the scope that a key needs, or EVERYBODY. A method that is not named is nobody's.
API: Mapping[str, Mapping[str, str]] = {
    "notifications/trigger": {"POST": "trigger"},
    "notifications/trigger/bulk": {"POST": "trigger"},
    "notifications/explain": {"POST": "read"},
    "notifications/reconcile": {"POST": "read"},
    "notifications/reconcile/record": {"POST": "trigger"},
    "notifications/events": {"GET": "read"},
    "notifications/events/search": {"POST": "read"},
    "notifications/events/<uuid:event_id>": {"GET": "read"},
    "notifications/users/bulk": {"POST": "admin"},
    "notifications/users/<uuid:user_id>": {"PUT": "admin", "DELETE": "admin"},
    "notifications/users/<uuid:user_id>/export": {"GET": "admin"},
    "notifications/users/<uuid:user_id>/token": {"POST": "admin"},
    "notifications/users/<uuid:user_id>/devices/<path:token>": {"PUT": "admin", "DELETE": "admin"},
    "notifications/preferences": dict.fromkeys(("GET", "POST", "PUT", "DELETE"), "preferences"),
    "notifications/preferences/quiet-hours": {"GET": "preferences", "PUT": "preferences"},
    "notifications/inbox": {"GET": "read"},
    "notifications/inbox/<uuid:message_id>/read": {"POST": "read"},
    # the list shows addresses, which `read` shows nowhere; who searches knows the address
    "notifications/suppressed-addresses": {"GET": "admin", "POST": "admin"},
    "notifications/suppressed-addresses/search": {"POST": "read"},
    "notifications/suppressed-addresses/<int:suppression_id>": {"GET": "admin", "DELETE": "admin"},
    "notifications/alerts": {"GET": "read"},
    "notifications/alerts/<uuid:alert_id>/acknowledge": {"POST": "admin"},
    "notifications/pauses": {"GET": "read"},
    "notifications/pauses/<str:kind>/<str:name>": {"PUT": "admin", "DELETE": "admin"},
    "notifications/dead-letters": {"GET": "read"},
    "notifications/dead-letters/replay": {"POST": "admin"},
}

_CHOICE = {"userId": str(VICTIM), "channel": "SMS", "enabled": False}

#: What a customer's token may do for its own person: address -> method -> a body that would do it to somebody else.
CUSTOMER: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "notifications/preferences": {
        "GET": {},
        "POST": _CHOICE,
        "PUT": {"userId": str(VICTIM), "preferences": [{"channel": "SMS", "enabled": False}]},
        "DELETE": {},
    },
    "notifications/preferences/quiet-hours": {
        "GET": {},
        "PUT": {"userId": str(VICTIM), "from": "22:00", "until": "07:00"},
    },
    "notifications/inbox": {"GET": {}},
    "notifications/inbox/<uuid:message_id>/read": {"POST": {}},
}

#: Pages and machine addresses that ask for no key.
OPEN: Mapping[str, Mapping[str, str]] = {
    "": {"GET": EVERYBODY},  # leads to the admin
    "health/live": {"GET": EVERYBODY},
    "health/ready": {"GET": EVERYBODY},
    "metrics": {"GET": EVERYBODY},
    "api/schema": {"GET": EVERYBODY},
    "api/docs": {"GET": EVERYBODY},
}

#: Where a signature is what lets in, in the address or a header: how who has none is answered, by method (others: 405,
#: or the same). What a good one may do is for the tests of these pages.
SIGNED: Mapping[str, Mapping[str, int]] = {
    "preferences/<str:token>": {"GET": 404, "POST": 404},
    "unsubscribe/<str:token>": {"GET": 404, "POST": 404},
    "webhooks/<str:provider>": {"POST": 403},
}

#: Pages of the admin that belong to no model, by their name: what a staff member without any permission is answered.
#: Who is not logged in is sent to the login.
ADMIN_PAGES: Mapping[str, int] = {
    "index": 200,
    "search": 200,  # names of the models that one may see
    "login": 302,  # is logged in
    "logout": 405,  # by POST alone
    "password_change": 200,
    "password_change_done": 200,
    "autocomplete": 403,
    "jsi18n": 200,
    "view_on_site": 404,
    "app_list": 404,
    "preferences_change_export": 403,
    "notifier_notificationevent_explain": 403,
    "notifier_notificationevent_live": 403,
    "notifier_templateversion_edit": 403,
    "notifier_templateversion_preview": 405,  # by POST alone, which asks for the same permission
    "notifier_notificationevent_timeline": 403,
    "auth_user_password_change": 403,
    "": 404,  # whatever else; and the old addresses of objects, which lead to their pages
}
#: Without a login: the answers that are not "log in first".
ADMIN_OPEN: Mapping[str, frozenset[int]] = {
    "login": frozenset({200}),
    "logout": frozenset({302, 405}),
}

VIEW = frozenset({"changelist", "history", "change"})
EDIT = VIEW | {"add", "delete"}


def _interval() -> Model:
    made: Model = beat.IntervalSchedule.objects.create(every=1, period="days")
    return made


def _preference() -> Model:
    return Preference.objects.create(user=User.objects.create_user(), channel="SMS", enabled=False)


def _template() -> Model:
    return TemplateVersion.objects.save_draft(Place("ORDER_SHIPPED", "SMS", "en"), "", note="", author="", base=0)


#: Model of the admin -> the pages that even a superuser has of it, and how to make one.
ADMIN_MODELS: Mapping[str, tuple[frozenset[str], Callable[[], Any]]] = {
    "notifier_notificationevent": (VIEW, make_event),
    "notifier_deadletter": (VIEW, lambda: make_letter(make_event())),
    "notifier_pause": (
        frozenset({"changelist", "history", "change"}),
        lambda: Pause.objects.create(kind="CHANNEL", name="SMS"),
    ),
    "notifier_alert": (VIEW, lambda: Alert.objects.create(kind="FRAUD_ALERT", subject="1", text="Fraud alert")),
    "notifier_templateversion": (VIEW, _template),
    "notifier_apikey": (VIEW, lambda: ApiKey.issue("other", ["read"])[0]),
    "notifier_channels_inboxmessage": (
        VIEW,
        lambda: InboxMessage.objects.create(user_id=new_id(), delivery_id=new_id(), title="Shipped"),
    ),
    "notifier_channels_breakerchange": (VIEW, lambda: BreakerChange.objects.create(channel="SMS", state="OPEN")),
    "preferences_user": (EDIT, lambda: User.objects.create_user(email="ada@mail.example")),
    "preferences_change": (
        VIEW,
        lambda: Change.objects.create(action="INSERT", kind="PERSON", actor_kind="ENGINE"),
    ),
    "preferences_preference": (EDIT, _preference),
    "preferences_suppressedaddress": (EDIT, lambda: SuppressedAddress.objects.create(kind="email", address="a@b.c")),
    "auth_group": (EDIT, lambda: Group.objects.create(name="carriers")),
    "django_celery_beat_intervalschedule": (EDIT, _interval),
    "django_celery_beat_crontabschedule": (EDIT, beat.CrontabSchedule.objects.create),
    "django_celery_beat_solarschedule": (
        EDIT,
        lambda: beat.SolarSchedule.objects.create(event="sunset", latitude=52, longitude=13),
    ),
    "django_celery_beat_clockedschedule": (
        EDIT,
        lambda: beat.ClockedSchedule.objects.create(clocked_time=timezone.now() + timedelta(days=1)),
    ),
    "django_celery_beat_periodictask": (
        EDIT,
        lambda: beat.PeriodicTask.objects.create(name="t", task="notifier.sweep", interval=_interval()),
    ),
}
