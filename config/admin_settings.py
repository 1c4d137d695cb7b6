"""How the admin looks and what its sidebar holds."""

from django.urls import reverse_lazy

UNFOLD = {
    "SITE_TITLE": "Notifier",
    "SITE_HEADER": "Notifier",
    "SITE_SUBHEADER": "Order notifications",
    "SITE_SYMBOL": "notifications",
    "SHOW_VIEW_ON_SITE": False,
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
                ],
            },
        ],
    },
}
