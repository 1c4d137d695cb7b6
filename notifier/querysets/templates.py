"""Of the versions of message templates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import connection, models, transaction
from django.db.models.functions import Now

from notifier.states import TemplateState

if TYPE_CHECKING:
    from notifier.models import TemplateVersion


@dataclass(frozen=True, slots=True)
class Place:
    """What a version stands in for: one message file."""

    event_type: str
    channel: str
    locale: str

    def __str__(self) -> str:
        return f"{self.event_type}/{self.channel}.{self.locale}"


@dataclass(frozen=True, slots=True)
class Serving:
    """A published version, and what served before it; None is the file."""

    place: Place
    number: int
    replaces: int | None
    broken: bool


class ChangedMeanwhile(Exception):  # noqa: N818 - it is no error, somebody was faster
    """Somebody else has saved or published since the page was opened; `number` is theirs, 0 the file."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class TemplateQuerySet(models.QuerySet["TemplateVersion"]):
    def of(self, place: Place) -> TemplateQuerySet:
        return self.filter(event_type=place.event_type, channel=place.channel, locale=place.locale)

    def serving(self) -> list[Serving]:
        """All that are published; what each process asks every two seconds. Walks template_published."""
        with connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT event_type, channel, locale, id, replaces, broken_at IS NOT NULL
                FROM notifier_templateversion WHERE state = 'PUBLISHED'
                """
            )
            return [Serving(Place(*row[:3]), *row[3:]) for row in cursor.fetchall()]

    def save_draft(self, place: Place, source: str, *, note: str, author: str, base: int) -> TemplateVersion:
        """A new version, after the newest one that its author saw (`base`, 0: none). Raises ChangedMeanwhile."""
        with transaction.atomic():
            self._lock(place)
            newest = self.of(place).order_by("-number").values_list("number", flat=True).first() or 0
            if newest != base:
                raise ChangedMeanwhile(newest)
            return self.create(
                event_type=place.event_type,
                channel=place.channel,
                locale=place.locale,
                source=source,
                note=note,
                author=author,
            )

    def publish(self, place: Place, number: int | None, *, publisher: str, instead_of: int) -> None:
        """DRAFT or SUPERSEDED -> PUBLISHED, and the one before -> SUPERSEDED. None: the file serves again.

        `instead_of`: what its publisher saw serving, 0 for the file. Raises ChangedMeanwhile, or DoesNotExist.
        """
        with transaction.atomic():
            self._lock(place)
            before = self.of(place).filter(state=TemplateState.PUBLISHED).first()
            if (before.number if before else 0) != instead_of:
                raise ChangedMeanwhile(before.number if before else 0)
            if before and before.number != number:
                self.filter(number=before.number).update(state=TemplateState.SUPERSEDED)
            if number is not None:
                self.of(place).get(number=number)
                self.filter(number=number).update(
                    state=TemplateState.PUBLISHED,
                    published_at=Now(),
                    published_by=publisher,
                    replaces=_last_good(before, number),
                    broken_at=None,
                    broken_why="",
                )

    def note_broken(self, number: int, why: str) -> bool:
        """Write down that a version failed; True for the first to say so."""
        return bool(self.filter(number=number, broken_at=None).update(broken_at=Now(), broken_why=why[:500]))

    def _lock(self, place: Place) -> None:
        """One writer for each place, until the transaction ends."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"template {place}"])


def _last_good(before: TemplateVersion | None, number: int) -> int | None:
    """What a version replaces: what served before it, unless that is broken, or the version itself."""
    if before is None:
        return None
    return before.replaces if before.broken_at or before.number == number else before.number
