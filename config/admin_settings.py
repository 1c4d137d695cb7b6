"""How the admin looks, what its sidebar holds, and how often a wrong password is taken."""

from datetime import timedelta
from typing import Any

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse_lazy


def _page(title: str, icon: str, app: str, model: str, page: str = "changelist") -> dict[str, Any]:
    """A list in the sidebar, or another page, of whoever may see the model."""
    return {
        "title": title,
        "icon": icon,
        "link": reverse_lazy(f"admin:{app}_{model}_{page}"),
        "permission": lambda request: request.user.has_perm(f"{app}.view_{model}"),
    }


def _shows_events(request: HttpRequest) -> bool:
    """The pages that explain and that tell have addresses below theirs, and entries of their own."""
    match = request.resolver_match
    name = (match and match.url_name) or ""
    return name.startswith("notifier_notificationevent_") and not name.endswith(("_explain", "_timeline"))


UNFOLD = {
    "SITE_TITLE": "Notifier",
    "SITE_HEADER": "Notifier",
    "SITE_SUBHEADER": "Order notifications",
    "SITE_SYMBOL": "notifications",
    "SHOW_VIEW_ON_SITE": False,
    "ENVIRONMENT": "notifier.admin.environment",
    "DASHBOARD_CALLBACK": "notifier.front_page.dashboard",
    "STYLES": [
        lambda _request: static("preferences/lists.css"),
        lambda _request: static("notifier/admin.css"),
    ],
    "SIDEBAR": {
        "show_search": True,
        "navigation": [
            {
                "title": "Notifications",
                "items": [
                    _page("Events", "notifications", "notifier", "notificationevent") | {"active": _shows_events},
                    _page("Timeline", "timeline", "notifier", "notificationevent", "timeline"),
                    _page("Explain", "contact_support", "notifier", "notificationevent", "explain"),
                    _page("Switches", "toggle_on", "notifier", "pause"),
                    _page("Alerts", "warning", "notifier", "alert"),
                    _page("Dead letters", "report", "notifier", "deadletter"),
                    _page("Providers", "sensors", "notifier_channels", "breakerchange"),
                    _page("Inbox", "inbox", "notifier_channels", "inboxmessage"),
                    _page("Templates", "edit_document", "notifier", "templateversion"),
                ],
            },
            {
                "title": "People",
                "items": [
                    _page("Users", "person", "preferences", "user"),
                    _page("Groups", "group", "auth", "group"),
                    _page("Preferences", "tune", "preferences", "preference"),
                    _page("Suppressed addresses", "block", "preferences", "suppressedaddress"),
                ],
            },
            {
                "title": "Access",
                "items": [
                    _page("API keys", "key", "notifier", "apikey"),
                    _page("History", "history", "preferences", "change"),
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
