"""Line plots as SVG, with a style sheet that follows the reader's colour scheme."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

Points = Sequence[tuple[float, float]]

WIDTH, LEFT, RIGHT = 800, 70, 180  # pixels; the lines' names stand at the right
TOP, ABOVE, BELOW = 42, 40, 50  # over the first panel, over each for its label, under the last for the x axis
NAMES_APART, TEXT_SINKS = 16, 4  # pixels: from name to name, and from a line to the foot of the text beside it

STYLE = """
text { font: 12px system-ui, "Segoe UI", "Helvetica Neue", "DejaVu Sans", sans-serif; fill: #59636e }
text.title { font-size: 16px; font-weight: 600; fill: #1f2328 }
.end { text-anchor: end } .middle { text-anchor: middle }
.paper { fill: #ffffff } .grid { stroke: #dfe4e9 } .axis { stroke: #8c959f }
path { fill: none; stroke: currentColor; stroke-width: 1.75; stroke-linejoin: round }
path.dashed { stroke-width: 1.5; stroke-dasharray: 5 4 } circle, text.name { fill: currentColor }
.blue { color: #0969da } .orange { color: #bc4c00 } .green { color: #1a7f37 } .grey { color: #6e7781 }
@media (prefers-color-scheme: dark) {
  text { fill: #9198a1 } text.title { fill: #f0f6fc }
  .paper { fill: #0d1117 } .grid { stroke: #262c36 } .axis { stroke: #656c76 }
  .blue { color: #58a6ff } .orange { color: #f0883e } .green { color: #3fb950 } .grey { color: #9198a1 }
}
"""


@dataclass(frozen=True, slots=True)
class Line:
    """`colour`: a class of STYLE. `dots`: each point is a measurement. `dashed`: something to compare with."""

    name: str
    points: Points
    colour: str
    dots: bool = False
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    """From the first tick to the last. `label`: with the unit. `log`: equal steps are equal factors."""

    label: str
    ticks: Sequence[float]
    log: bool = False

    def place(self, value: float) -> float:
        """0 at the first tick, 1 at the last; 0 where there is but one."""
        low, high, at = (math.log(one) if self.log else one for one in (self.ticks[0], self.ticks[-1], value))
        return (at - low) / ((high - low) or 1)


def linear(label: str, most: float) -> Axis:
    """From 0 to a round number that is not below, in at most five steps."""
    size = 10 ** math.floor(math.log10(most or 1))
    step = next(size * factor for factor in (0.2, 0.25, 0.5, 1, 2) if most <= 5 * size * factor)
    return Axis(label, [step * number for number in range(max(1, math.ceil(most / step)) + 1)])


def logarithmic(label: str, least: float, most: float) -> Axis:
    """1, 2, 5, 10, 20 and so on around these."""
    steps = [factor * 10.0**power for power in range(-3, 9) for factor in (1, 2, 5)]
    first, last = max(step for step in steps if step <= least), min(step for step in steps if step >= most)
    return Axis(label, [step for step in steps if first <= step <= last], log=True)


@dataclass(frozen=True, slots=True)
class Panel:
    """Lines over one x axis. `height`: of the plot itself, in pixels."""

    y: Axis
    lines: Sequence[Line]
    height: int = 280


def figure(title: str, x: Axis, panels: Sequence[Panel]) -> str:
    """A whole SVG document; the panels stand one below the other, and share the x axis."""
    parts, top = list[str](), TOP
    for panel in panels:
        parts += _panel(panel, x, top := top + ABOVE)
        top += panel.height
    height = top + BELOW
    parts += [_text(_x(x, tick), top + 18, f"{tick:,g}", "middle") for tick in x.ticks]
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, top + 40, x.label, "middle"))
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{height}" rx="6"/>',
        _text(20, 34, title, "title"),
    )
    return "\n".join((*head, *parts, "</svg>\n"))


def _panel(panel: Panel, x: Axis, top: int) -> Iterator[str]:
    right, bottom = WIDTH - RIGHT, top + panel.height
    yield _text(20, top - 12, panel.y.label, "label")
    for tick in panel.y.ticks:
        y = _y(panel, top, tick)
        yield _rule(LEFT, y, right, y, "grid" if y < bottom else "axis")
        yield _text(LEFT - 8, y + TEXT_SINKS, f"{tick:,g}", "end")
    for tick in x.ticks:
        yield _rule(_x(x, tick), bottom, _x(x, tick), bottom + 4, "axis")
    for line in panel.lines:
        yield from _line(line, [(_x(x, one), _y(panel, top, other)) for one, other in line.points])
    for line, y in _names(panel, top):
        yield _text(right + 10, y + TEXT_SINKS, line.name, f"name {line.colour}")


def _line(line: Line, places: Points) -> Iterator[str]:
    kind = f"{line.colour} dashed" if line.dashed else line.colour
    yield f'<path class="{kind}" d="M{" L".join(f"{x:.1f} {y:.1f}" for x, y in places)}"/>'
    for x, y in places if line.dots else ():
        yield f'<circle class="{line.colour}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'


def _names(panel: Panel, top: int) -> Iterator[tuple[Line, float]]:
    """Beside the ends of the lines, the lowest first; those that would overlap move up."""
    ends = [(_y(panel, top, line.points[-1][1]), number) for number, line in enumerate(panel.lines)]
    free = math.inf
    for y, number in sorted(ends, reverse=True):
        free = min(y, free) - NAMES_APART
        yield panel.lines[number], free + NAMES_APART


def _x(axis: Axis, value: float) -> float:
    return LEFT + axis.place(value) * (WIDTH - RIGHT - LEFT)


def _y(panel: Panel, top: int, value: float) -> float:
    return top + (1 - panel.y.place(value)) * panel.height


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _rule(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
