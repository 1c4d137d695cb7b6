"""What is wrong, in words, from the live figures. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.utils import timezone

from channels.breaker import State
from notifier.catalogue import Priority
from notifier.doctor.of_work import OTHERS_WAIT, URGENT_WAITS
from notifier.figures import LATELY, Figures
from notifier.health import BEAT_IS_LATE

ENOUGH = 10  # messages of which a share says something
GOOD_SHARE = 95.0  # percent
PROVIDERS, EVENTS, LETTERS, SWITCHES = "providers", "events", "letters", "switches"  # where to look


@dataclass(frozen=True, slots=True)
class Problem:
    """`severe`: something stands still or is lost. `page`: where there is more about it, empty for none."""

    severe: bool
    text: str
    page: str = ""


def problems(figures: Figures) -> list[Problem]:
    """The severe ones first."""
    looks = (_servers, _synthetic, _paused, _breakers, _backlog, _shares, _letters, _held)
    return sorted((found for look in looks for found in look(figures)), key=lambda problem: not problem.severe)


def _servers(figures: Figures) -> Iterator[Problem]:
    if figures.signs is None:
        yield Problem(True, "Redis does not answer: events wait in PostgreSQL, and most figures are not known")
        return
    beat = figures.signs.beat
    if beat is None:
        yield Problem(True, "Beat: no tick is known; retries, fallbacks and repairs stand still")
    elif beat > BEAT_IS_LATE:
        yield Problem(True, f"Beat: its last tick was {duration(beat)} ago; retries, fallbacks and repairs stand still")
    if figures.unserved:
        yield Problem(True, f"No worker takes from {', '.join(figures.unserved)}")


def _synthetic(figures: Figures) -> Iterator[Problem]:
    if figures.missed:
        told = ", ".join(f"{name} ({reason})" for name, reason in figures.missed.items())
        yield Problem(True, f"The synthetic customer did not get, or not in time: {told}")


def _paused(figures: Figures) -> Iterator[Problem]:
    for pause in figures.paused:
        yield Problem(False, f"Paused: {pause}; what would go there waits", SWITCHES)


def _breakers(figures: Figures) -> Iterator[Problem]:
    for provider in figures.providers:
        since = f" since {timezone.localtime(provider.since):%H:%M}" if provider.since else ""
        because = f": {provider.reason}" if provider.reason else ""
        if provider.state == State.OPEN:
            yield Problem(True, f"{provider.channel} by {provider.name}: breaker open{since}{because}", PROVIDERS)
        elif provider.state == State.HALF_OPEN:
            yield Problem(False, f"{provider.channel} by {provider.name}: tried again{since}{because}", PROVIDERS)


def _backlog(figures: Figures) -> Iterator[Problem]:
    for waiting in figures.waiting:
        late, severe = URGENT_WAITS if waiting.priority == Priority.URGENT.name.lower() else OTHERS_WAIT
        if waiting.oldest > late:
            text = f"{waiting.priority.capitalize()} events wait, the oldest for {duration(waiting.oldest)}"
            yield Problem(waiting.oldest > severe, text, EVENTS)


def _shares(figures: Figures) -> Iterator[Problem]:
    for what, shares in (("deliveries were sent", figures.by_channel), ("attempts were accepted", figures.by_provider)):
        for share in shares:
            if share.all >= ENOUGH and share.percent < GOOD_SHARE:
                number = f"{share.good:,} of {share.all:,}"
                yield Problem(False, f"{share.name}: {number} {what} in the last {LATELY} minutes")


def _letters(figures: Figures) -> Iterator[Problem]:
    if number := sum(figures.new_letters.values()):
        cause = max(figures.new_letters, key=lambda name: figures.new_letters[name])
        most = f", {figures.new_letters[cause]:,} of them {cause}" if len(figures.new_letters) > 1 else f": {cause}"
        letters = "dead letter" if number == 1 else "dead letters"
        yield Problem(False, f"{number:,} new {letters} in the last {LATELY} minutes{most}", LETTERS)


def _held(figures: Figures) -> Iterator[Problem]:
    if figures.capped:
        text = f"{figures.capped:,} messages held in the last {LATELY} minutes: their recipients had their daily number"
        yield Problem(False, text)


def duration(seconds: float) -> str:
    """For people: one unit, as "40 s", "7 min", "3 h" or "2 days"."""
    for size, unit in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
