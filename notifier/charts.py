"""Bar charts as SVG that the server draws: no script, and colours from a style sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

WIDTH, HEIGHT = 480, 140  # of the drawing, in its own units
LEFT, TOP, BELOW = 44, 8, 20  # room for the numbers at the side, above, and for the times
GAP = 2  # between two bars
CLOCK = 32  # how much room a time takes


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a bar. `kind` names its colour."""

    kind: str
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """`says`: what stands there when somebody points at it. `so_far`: its minute has not ended."""

    x: float
    width: float
    parts: Sequence[Part]
    says: str
    so_far: bool


@dataclass(frozen=True, slots=True)
class Chart:
    """`says` tells in words what is drawn. `lines`: (y, number) of the scale; `times`: (x, text)."""

    title: str
    says: str
    bars: Sequence[Bar]
    lines: Sequence[tuple[float, str]]
    times: Sequence[tuple[float, str]]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT


def chart(title: str, noun: str, minutes: Sequence[tuple[datetime, Sequence[tuple[str, str, int]]]]) -> Chart:
    """A bar a minute, of (kind, name, number) from below; the last minute has not ended yet."""
    sums = [sum(number for _, _, number in pieces) for _, pieces in minutes]
    top = _round(max(sums, default=0))
    step = (WIDTH - LEFT) / max(len(minutes), 1)
    bars = [
        Bar(
            round(LEFT + place * step, 1),
            round(step - GAP, 1),
            _parts(pieces, top),
            f"{_clock(at)} {', '.join(f'{number:,} {name}' for _, name, number in pieces)}",
            place == len(minutes) - 1,
        )
        for place, (at, pieces) in enumerate(minutes)
    ]
    lines = [(round(_y(number, top), 1), _short(number)) for number in (0, top // 2, top)]
    last = len(minutes) - CLOCK / step  # a time beyond would be cut off
    times = [
        (round(LEFT + place * step, 1), _clock(at))
        for place, (at, _) in enumerate(minutes)
        if at.minute % 15 == 0 and place <= last
    ]
    return Chart(title, _in_words(noun, [at for at, _ in minutes], sums), bars, lines, times)


def _parts(pieces: Sequence[tuple[str, str, int]], top: int) -> list[Part]:
    parts, below = [], 0
    for kind, _, number in pieces:
        if number:
            upper, lower = _y(below + number, top), _y(below, top)
            parts.append(Part(kind, round(upper, 1), round(lower - upper, 1)))
        below += number
    return parts


def _y(number: float, top: int) -> float:
    return TOP + (HEIGHT - TOP - BELOW) * (1 - number / top)


def _round(number: int) -> int:
    """The scale's end: 2, 4, 6, 8, 10, 20, 40 and so on, so that its half is a whole number too."""
    size = 1
    while number > 10 * size:
        size *= 10
    return next(end for end in range(2 * size, 11 * size, 2 * size) if number <= end)


def _short(number: int) -> str:
    """As 500 or 20k, for there is little room."""
    thousand = 1000
    return f"{number / thousand:g}k" if number >= thousand else str(number)


def _in_words(noun: str, times: Sequence[datetime], sums: Sequence[int]) -> str:
    if not any(sums):
        return f"No {noun} in the last hour."
    most = max(range(len(sums)), key=lambda place: sums[place])
    full = f"{sums[-2]:,} in the last full minute, " if len(sums) > 1 else ""
    return f"{full}{sum(sums):,} {noun} in the last hour, at most {sums[most]:,} a minute at {_clock(times[most])}."


def _clock(at: datetime) -> str:
    return f"{timezone.localtime(at):%H:%M}"
