"""The people behind events and deliveries, user or guest, in a constant number of queries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol
from uuid import UUID

from preferences import resolve
from preferences.resolve import NOBODY, Recipient


class Addressed(Protocol):
    """An event, or a delivery with what it needs of its event."""

    @property
    def id(self) -> UUID: ...
    @property
    def user_id(self) -> UUID | None: ...
    @property
    def recipient(self) -> Mapping[str, str] | None: ...


def recipients(rows: Iterable[Addressed]) -> dict[UUID, Recipient]:
    """Each row's recipient by the row's id; NOBODY for a user who was erased meanwhile."""
    chosen = list(rows)
    user_ids = {row.user_id for row in chosen if row.user_id}
    users = resolve.load(user_ids, whole=resolve.comes_whole(len(user_ids)))
    guests = [(row.id, row.recipient) for row in chosen if row.recipient is not None]
    found = dict(zip((i for i, _ in guests), resolve.guests([guest for _, guest in guests]), strict=True))
    known = {row.id: users[row.user_id] for row in chosen if row.user_id in users}
    return {row.id: known.get(row.id) or found.get(row.id, NOBODY) for row in chosen}
