"""Dead letters that go out again: chosen by a filter, judged anew, and spread over time."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import DataError, transaction
from django.db.models.functions import Now

from channels import registry
from notifier.catalogue import event_types
from notifier.events_in.decode import decode
from notifier.models import DeadLetter
from notifier.querysets.dead_letters import START, Cursor, Filter, Judged, Listed, Revival
from notifier.record import Recorded, record
from notifier.refusal import message_key
from notifier.sources import check_source
from notifier.trigger import InvalidTrigger, Trigger, TriggerError, parse

BATCH = 500  # dead letters a transaction


class LeftOut(enum.StrEnum):
    """Why a dead letter stays where it is."""

    REACHED = "REACHED"
    SUPERSEDED = "SUPERSEDED"
    EXPIRED = "EXPIRED"
    PENDING = "PENDING"
    REPLAYED = "REPLAYED"
    UNKNOWN_TYPE = "UNKNOWN_TYPE"
    INVALID = "INVALID"
    NOT_FOUND = "NOT_FOUND"


EXPLAINED: Mapping[str, str] = {
    LeftOut.REACHED: "its recipient was reached another way",
    LeftOut.SUPERSEDED: "a later stage of the order was recorded",
    LeftOut.EXPIRED: "past its time to live",
    LeftOut.PENDING: "its event is still under way",
    LeftOut.REPLAYED: "sent again already, or taken by another replay",
    LeftOut.UNKNOWN_TYPE: "its event type has left the catalogue",
    LeftOut.INVALID: "a refused trigger that is still not valid",
    LeftOut.NOT_FOUND: "there is no such dead letter",
}
FORCIBLE = frozenset({LeftOut.REACHED, LeftOut.SUPERSEDED, LeftOut.EXPIRED})


@dataclass(slots=True)
class Report:
    """How many dead letters went out again (or would), and how many stay, by reason. `more`: the limit ended it."""

    replayed: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    more: bool = False

    def add(self, other: Report) -> None:
        self.replayed += other.replayed
        self.left_out += other.left_out
        self.more = other.more

    @property
    def looked_at(self) -> int:
        return self.replayed + self.left_out.total()


@dataclass(frozen=True, slots=True)
class _Run:
    """What holds for all batches of a replay."""

    wanted: Filter
    force: bool
    dry: bool
    rate: float


@dataclass(frozen=True, slots=True)
class _Batch:
    """Letters as listed, what is to be done with those of deliveries, and the reasons against it by letter."""

    page: Sequence[Listed]
    going: Sequence[Judged]
    reasons: Mapping[UUID, str]


class _TooLate(Exception):  # noqa: N818 - undoes what was recorded
    def __init__(self, reason: LeftOut) -> None:
        self.reason = reason


def replay(
    wanted: Filter, *, force: bool = False, dry_run: bool = False, rate: float | None = None, limit: int | None = None
) -> Report:
    """Make these dead letters due again; twice is as once. The caller rings the doorbell.

    They are due one after the other, `rate` a second (settings.REPLAY_RATE), behind what earlier replays put there.
    Left out is what nobody needs any more, or not now (LeftOut); `force` sends what is REACHED, SUPERSEDED or
    EXPIRED all the same. A dry run only counts. `limit`: end with about so many; an event's letters go together.
    """
    total = Report()
    for report in batches(wanted, force=force, dry_run=dry_run, rate=rate, limit=limit):
        total.add(report)
    return total


def batches(
    wanted: Filter, *, force: bool = False, dry_run: bool = False, rate: float | None = None, limit: int | None = None
) -> Iterator[Report]:
    """The same, batch by batch: each is committed when its report comes, so whoever stops loses nothing.

    Oldest first. What becomes a dead letter after the start is left alone: it may be one of those just replayed.
    """
    run = _Run(DeadLetter.objects.up_to_now(wanted), force, dry_run, rate or settings.REPLAY_RATE)
    if wanted.ids is not None:
        yield Report(left_out=_closed(wanted.ids))
    after, room = START, limit
    while page := DeadLetter.objects.page(run.wanted, after, BATCH):
        report, after = _one_batch(run, page, room)
        if room is not None:
            room = max(0, room - report.replayed)
            report.more = room == 0 and bool(DeadLetter.objects.page(run.wanted, after, 1))
        yield report
        if room == 0:
            return


def problems(wanted: Filter) -> dict[str, str]:
    """What cannot be meant, by the filter's field: names that nobody knows, a time that ends before it begins."""
    types = event_types()
    channels = sorted({*registry.names(), *(c for t in types.values() for c in t.reachable_channels)})
    found = {}
    if unknown := sorted(set(wanted.event_types) - types.keys()):
        found["event_types"] = f"Unknown event type {', '.join(unknown)}; there are {', '.join(types)}."
    if unknown := sorted(set(wanted.channels) - set(channels)):
        found["channels"] = f"Unknown channel {', '.join(unknown)}; there are {', '.join(channels)}."
    if wanted.since and wanted.until and wanted.since >= wanted.until:
        found["until"] = "Must be later than since."
    return found


def _closed(ids: Sequence[UUID]) -> Counter[str]:
    """Of letters named by id: those that are not open, or not there."""
    found = dict(DeadLetter.objects.filter(id__in=list(ids)).values_list("id", "status"))
    left_out = Counter(LeftOut.REPLAYED.value for status in found.values() if status != "OPEN")
    return left_out + Counter({LeftOut.NOT_FOUND.value: len(set(ids) - found.keys())})


def _one_batch(run: _Run, page: Sequence[Listed], room: int | None) -> tuple[Report, Cursor]:
    """Replay a page, or as much of it as there is room for; where to go on."""
    with transaction.atomic():
        batch = _judged(run, page, room)
        if batch.going and not run.dry:
            _revive(run, batch.going)
    report = Report(replayed=len(batch.going))
    for letter in batch.page:
        reason = _record_again(run, letter.id) if letter.refused else batch.reasons[letter.id]
        if reason:
            report.left_out[str(reason)] += 1
        elif letter.refused:
            report.replayed += 1
    last = batch.page[-1]
    return report, (last.created_at, last.id)


def _judged(run: _Run, page: Sequence[Listed], room: int | None) -> _Batch:
    """What of a page goes; in a real run with the letters of the same events that lie on later pages."""
    listed = [letter.id for letter in page if not letter.refused]
    ids = DeadLetter.objects.with_siblings(listed, run.wanted, lock=not run.dry) if listed else []
    judged = DeadLetter.objects.judge(ids, event_types()) if ids else []
    reasons: dict[UUID, str] = dict.fromkeys(listed, LeftOut.REPLAYED)  # what another replay has locked
    reasons |= _reasons(judged, force=run.force)
    kept = _within(page, reasons, room)
    names = {letter.id for letter in kept}
    events = {j.event_id for j in judged if j.id in names and not reasons[j.id]}
    going = [j for j in judged if not reasons[j.id] and (j.id in names if run.dry else j.event_id in events)]
    return _Batch(kept, going, reasons)


def _reasons(judged: Collection[Judged], *, force: bool) -> dict[UUID, str]:
    """Why not, by letter. A stand-in waits for what becomes of the channel that it stands in for."""
    reasons: dict[UUID, str] = {}
    for letter in judged:
        reason = "" if force and letter.reason in FORCIBLE else letter.reason
        reasons[letter.id] = reason or ("" if letter.settled else LeftOut.PENDING)
    going = {(j.event_id, j.channel) for j in judged if not reasons[j.id]}
    waiting = [j.id for j in judged if not reasons[j.id] and (j.event_id, j.fallback_of) in going]
    return reasons if force else reasons | dict.fromkeys(waiting, LeftOut.PENDING)


def _within(page: Sequence[Listed], reasons: Mapping[UUID, str], room: int | None) -> Sequence[Listed]:
    """The page's beginning, with no more letters to replay than there is room for."""
    if room is None:
        return page
    going = [index for index, letter in enumerate(page) if not reasons.get(letter.id)]
    return page[: going[room]] if len(going) > room else page


def _revive(run: _Run, going: Sequence[Judged]) -> None:
    """Due one after the other, urgent ones first; an event's deliveries and the event itself at the same moment."""
    first = DeadLetter.objects.take_places(len(going), run.rate)
    dues: dict[UUID, datetime] = {}
    for place, letter in enumerate(sorted(going, key=lambda j: (j.priority, j.event_id))):
        dues.setdefault(letter.event_id, first + timedelta(seconds=place / run.rate))
    revivals = [Revival(letter.id, letter.delivery_id, dues[letter.event_id]) for letter in going]
    lives = {t.name: t.time_to_live.total_seconds() for t in event_types().values()}
    DeadLetter.objects.revive(revivals, force=run.force, times_to_live=lives)


def _record_again(run: _Run, letter_id: UUID) -> str:
    """Record a refused trigger, closing its letter in the same transaction; why not, empty when done."""
    with transaction.atomic():
        letters = DeadLetter.objects.filter(id=letter_id, status="OPEN")
        letter = (letters if run.dry else letters.select_for_update(skip_locked=True)).first()
        if letter is None:
            return LeftOut.REPLAYED
        try:
            with transaction.atomic():
                trigger, recorded = _recorded(letter, force=run.force)
                transaction.set_rollback(run.dry)
        except _TooLate as error:
            return error.reason
        except (TriggerError, DataError) as error:
            if not run.dry:
                DeadLetter.objects.filter(id=letter_id).update(last_error=_told(error))
            return LeftOut.INVALID
        if not run.dry:
            _close(run, letter, trigger, [found.event_id for found in recorded if found.created])
    return ""


def _recorded(letter: DeadLetter, *, force: bool) -> tuple[Trigger, list[Recorded]]:
    """Parse and record what was refused, under the letter's own key where the payload holds none.

    Raises TriggerError, or _TooLate where the news is no longer any; a forced one is only held up by what overtook
    it, since its claim would skip it anyway.
    """
    trigger = _parsed(letter)
    check_source(letter.source, trigger)
    lived = Now() - trigger.event_type.time_to_live
    if not force and DeadLetter.objects.filter(id=letter.id, created_at__lte=lived).exists():
        raise _TooLate(LeftOut.EXPIRED)
    recorded = record(trigger, letter.source)
    if not recorded:
        raise InvalidTrigger(f"Nobody is in the group {trigger.event_type.group!r}.")
    superseded_from = trigger.event_type.superseded_from
    created = [found.event_id for found in recorded if found.created]
    if superseded_from is not None and DeadLetter.objects.overtaken(created, superseded_from):
        raise _TooLate(LeftOut.SUPERSEDED)
    return trigger, recorded


def _parsed(letter: DeadLetter) -> Trigger:
    """From its bytes, as they were read when they came; under the same key, should it come by its bus once more."""
    if not letter.payload:
        raise InvalidTrigger("No payload was kept.")
    headers = (letter.origin or {}).get("headers", {})
    body, key = decode(bytes(letter.payload), headers)
    fallback = key or message_key(letter) or str(letter.id)
    return parse(body, fallback_key=fallback, origin={"deadLetter": str(letter.id)})


def _close(run: _Run, letter: DeadLetter, trigger: Trigger, created: Sequence[UUID]) -> None:
    """The new events take their places; their time to live counts from when the trigger came, unless forced."""
    first = DeadLetter.objects.take_places(len(created), run.rate)
    dues = [first + timedelta(seconds=place / run.rate) for place in range(len(created))]
    life = trigger.event_type.time_to_live
    events = [(i, due, (due if run.force else letter.created_at) + life) for i, due in zip(created, dues, strict=True)]
    DeadLetter.objects.close(letter.id, events)


def _told(error: TriggerError | DataError) -> str:
    """What is wrong, without any value of the payload."""
    if isinstance(error, DataError):
        return "The payload holds a value that cannot be stored."
    fields = "; ".join(f"{name}: {text}" for name, text in error.fields.items())
    return f"{error} {fields}".strip()[:500]
