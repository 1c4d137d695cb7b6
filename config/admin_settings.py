"""How the admin looks, what its sidebar holds, and how often a wrong password is taken."""

from datetime import timedelta

from django.templatetags.static import static
from django.urls import reverse_lazy

UNFOLD = {
    "SITE_TITLE": "Notifier",
    "SITE_HEADER": "Notifier",
    "SITE_SUBHEADER": "Order notifications",
    "SITE_SYMBOL": "notifications",
    "SHOW_VIEW_ON_SITE": False,
    "ENVIRONMENT": "notifier.admin.environment",
    "STYLES": [lambda _request: static("preferences/history.css")],
    "SIDEBAR": {
        "show_search": True,
        "navigation": [
            {
                "title": "Notifications",
                "items": [
                    {
                        "title": "Events",
                        "icon": "notifications",
                        "link": reverse_lazy("admin:notifier_notificationevent_changelist"),
                    },
                    {
                        "title": "Dead letters",
                        "icon": "report",
                        "link": reverse_lazy("admin:notifier_deadletter_changelist"),
                    },
                    {
                        "title": "Providers",
                        "icon": "sensors",
                        "link": reverse_lazy("admin:notifier_channels_breakerchange_changelist"),
                    },
                    {
                        "title": "Inbox",
                        "icon": "inbox",
                        "link": reverse_lazy("admin:notifier_channels_inboxmessage_changelist"),
                    },
                ],
            },
            {
                "title": "People",
                "items": [
                    {"title": "Users", "icon": "person", "link": reverse_lazy("admin:preferences_user_changelist")},
                    {"title": "Groups", "icon": "group", "link": reverse_lazy("admin:auth_group_changelist")},
                    {
                        "title": "Preferences",
                        "icon": "tune",
                        "link": reverse_lazy("admin:preferences_preference_changelist"),
                    },
                    {
                        "title": "Suppressed addresses",
                        "icon": "block",
                        "link": reverse_lazy("admin:preferences_suppressedaddress_changelist"),
                    },
                ],
            },
            {
                "title": "Access",
                "items": [
                    {"title": "API keys", "icon": "key", "link": reverse_lazy("admin:notifier_apikey_changelist")},
                    {
                        "title": "History",
                        "icon": "history",
                        "link": reverse_lazy("admin:preferences_change_changelist"),
                    },
                ],
            },
        ],
    },
}

# who guesses passwords guesses many, also of many users: so it is the address that is counted, and no staff member can
# be locked out from elsewhere. A right password begins anew
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = ["ip_address"]
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_LOCKOUT_CALLABLE = "notifier.lockout.locked_out"
AXES_ENABLE_ADMIN = False
AXES_DISABLE_ACCESS_LOG = True
AXES_VERBOSE = False
