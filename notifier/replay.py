"""Dead letters that go out again."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.db import transaction

from notifier.models import DeadLetter


def replay(ids: Sequence[UUID]) -> int:
    """Make these dead letters' deliveries due again; how many events that concerns. Twice is as once.

    What is past its time to live, was replayed before, or reached its recipient by a fallback stays as it is.
    The caller rings the doorbell.
    """
    with transaction.atomic():
        return len(set(DeadLetter.objects.replay(ids)))
