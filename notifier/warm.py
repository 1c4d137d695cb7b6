"""What a worker's first rounds would otherwise wait for: the people of the latest events, in the cache of people."""

from __future__ import annotations

from django.conf import settings

from notifier.models import NotificationEvent
from preferences import resolve

LATEST = 5_000  # events, whose people are likely to be told of more
BATCH = 500  # people that are read at once, as by a plan


def warm() -> int:
    """How many people were looked up; none without a cache. Who is in it already costs no more than a look."""
    if not settings.PEOPLE_CACHE_SECONDS:
        return 0
    people = NotificationEvent.objects.latest_people(LATEST)
    for start in range(0, len(people), BATCH):
        resolve.load(people[start : start + BATCH], whole=False)
    return len(people)
