"""The Celery app with one guard switched off, named by NOTIFIER_SABOTAGE: `celery -A tests.chaos.sabotage worker …`.

A check that cannot fail proves nothing: with each guard off, the same check must find losses or doubles. The product
stays clean; here its functions are replaced when a worker starts, and an assertion says when they have moved.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

import django

from config.celery import app  # noqa: F401 - what `-A` looks for

django.setup()

from notifier import sweep  # noqa: E402 - models, which need Django set up
from notifier.models import Delivery  # noqa: E402
from notifier.querysets import deliveries  # noqa: E402
from notifier.querysets.deliveries import DeliveryQuerySet  # noqa: E402


def without_sweeper() -> None:
    """Nothing that a crash left behind is found again."""
    _replace(sweep, "sweep", lambda **_: sweep.Swept())


def without_lease() -> None:
    """A send is freed, and so made again, while its process is still at it."""

    def lease_expired(self: DeliveryQuerySet, limit: int) -> list[Delivery]:
        every = "SELECT * FROM notifier_delivery WHERE status = 'SENDING' LIMIT %s FOR UPDATE SKIP LOCKED"
        return list(self.raw(every, [limit]))

    _replace(DeliveryQuerySet, "lease_expired", lease_expired)


def without_fence() -> None:
    """Whoever comes late writes over what happened meanwhile."""
    fence = r"delivery\.status = 'SENDING' AND delivery\.attempt = r\.attempt"
    sql, found = re.subn(fence, "TRUE", deliveries._FINISH)
    assert found, "the fence is not where it was: notifier/querysets/deliveries.py"
    _replace(deliveries, "_FINISH", sql)


def without_claim() -> None:
    """Rows are sent without being marked first, so that two messages both send them."""

    sql, found = re.subn(r"placed\.obstacle = '' AND placed\.fits\n", "FALSE\n", deliveries._CLAIM)
    assert found, "the claim is not where it was: notifier/querysets/deliveries.py"
    _replace(deliveries, "_CLAIM", sql)


def _replace(owner: Any, name: str, value: Any) -> None:
    assert hasattr(owner, name), f"{owner} has no {name} any more"
    setattr(owner, name, value)


GUARDS: dict[str, Callable[[], None]] = {
    "sweeper": without_sweeper,
    "lease": without_lease,
    "fence": without_fence,
    "claim": without_claim,
}
GUARDS[os.environ["NOTIFIER_SABOTAGE"]]()
