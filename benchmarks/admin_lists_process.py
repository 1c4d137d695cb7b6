"""Open each of the admin's lists by Django's test client: `python -m benchmarks.admin_lists_process`.

Prints JSON: the median in milliseconds by page.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
import time

import django
from django.conf import settings

django.setup()

from django.test import Client  # noqa: E402 - models come after the setup
from django.urls import reverse  # noqa: E402 - as above

from notifier.models import NotificationEvent  # noqa: E402 - as above
from preferences.models import User  # noqa: E402 - as above

LISTS = {
    "events": "notifier_notificationevent",
    "dead letters": "notifier_deadletter",
    "inbox": "notifier_channels_inboxmessage",
    "users": "preferences_user",
    "preferences": "preferences_preference",
    "suppressed": "preferences_suppressedaddress",
    "history": "preferences_change",
}
FILTERS = {
    "events": [
        "status__exact=FAILED", "status__exact=SKIPPED", "status__exact=FAILED&within=30d", "event_type=FRAUD_ALERT",
        "priority__exact=0&within=7d", "within=7d", "q=failed",
    ],
    "dead letters": [
        "status=REPLAYED", "status=DISCARDED", "event_type=ORDER_PLACED&within=30d", "status=REPLAYED&within=30d",
        "q=EMAIL",
    ],
    "users": ["staff=yes", "staff=no", "is_active__exact=0"],
    "suppressed": ["kind__exact=phone", "reason__exact=OPTED_OUT", "q=gone77"],
    "history": ["kind__exact=API_KEY", "actor_kind__exact=STAFF&within=30d", "within=7d"],
}  # fmt: skip


def main(runs: int) -> None:
    settings.WHITENOISE_AUTOREFRESH = True  # nobody collected the static files
    settings.ALLOWED_HOSTS = ["*"]
    client = Client()
    root = User.objects.create_superuser("bench")
    client.force_login(root, backend="django.contrib.auth.backends.ModelBackend")
    measured = {}
    for name, path in _pages(client):
        _open(client, path)  # PostgreSQL is warm
        measured[name] = round(statistics.median(_open(client, path)[0] for _ in range(runs)), 1)
    print(json.dumps(measured))  # noqa: T201 - for the process that asked


def _pages(client: Client) -> list[tuple[str, str]]:
    pages = []
    for name, model in LISTS.items():
        path = reverse(f"admin:{model}_changelist")
        pages.append((name, path))
        pages += [(f"{name}, {query}", f"{path}?{query}") for query in FILTERS.get(name, ())]
        deep = path
        for _ in range(3):
            if found := re.search(r'rel="next" href="([^"]+)"', _open(client, deep)[1]):
                deep = f"{path}{found[1].replace('&amp;', '&')}"
        pages.append((f"{name}, page 4", deep))
    return pages + _searches()


def _searches() -> list[tuple[str, str]]:
    event = NotificationEvent.objects.select_related("user").exclude(user=None).order_by("-id")[1000]
    user = event.user
    assert user
    oldest = NotificationEvent.objects.order_by("id")[0]
    events, timeline = (reverse(f"admin:notifier_notificationevent_{page}") for page in ("changelist", "timeline"))
    terms = {"order": event.order_id, "event id": event.id, "user id": user.id, "email": user.email,
             "phone": user.phone.replace("+", "%2B"), "unknown": "ORD0"}  # fmt: skip
    found = [(f"{name} by {what}", f"{path}?q={term}") for name, path in (("events", events), ("timeline", timeline))
             for what, term in terms.items()]  # fmt: skip
    inbox, people = (reverse(f"admin:{LISTS[name]}_changelist") for name in ("inbox", "users"))
    return [
        *found,
        ("events, the last page", f"{events}?newer={oldest.id}"),
        ("event", reverse("admin:notifier_notificationevent_change", args=[event.id])),
        ("inbox by user id", f"{inbox}?q={user.id}"),
        ("users by email", f"{people}?q={user.email}"),
    ]


def _open(client: Client, path: str) -> tuple[float, str]:
    began = time.perf_counter()
    answer = client.get(path, secure=True)
    page = answer.content.decode()
    if answer.status_code != 200:
        raise RuntimeError(f"{path}: {answer.status_code}")
    return (time.perf_counter() - began) * 1000, page


if __name__ == "__main__":
    main(int(sys.argv[1]))
