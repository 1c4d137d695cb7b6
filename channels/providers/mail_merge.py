"""Mail merge backwards: what texts that are already rendered share, and what each has of its own, under tags.

It knows no templates. Lines that are equal in all texts are shared; each run of lines that are not becomes a tag.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

MARK = "%own"  # every tag begins so; no character of it means anything in HTML


def merge(texts: Sequence[Sequence[str]], first: int = 0) -> tuple[str, dict[str, list[str]]]:
    """The shared text, and for each tag in it the values of all texts. Tags are numbered from `first` on.

    `texts` are lists of lines, equally many in each. The shared text with each tag replaced by a text's value is that
    text again, to the byte, unless MARK stands in a line. A value is empty only where no shared line is before it.
    """
    shared: list[str] = []
    own: dict[str, list[str]] = {}
    columns = list(zip(*texts, strict=True))
    done = 0
    for start, end in _runs(at for at, lines in enumerate(columns) if lines.count(lines[0]) < len(lines)):
        if end - start == 1 and "" in columns[start]:
            start = max(start - 1, done)  # noqa: PLW2901 - with the line before, the value is not empty
        tag = f"{MARK}{first + len(own)}%"
        own[tag] = ["\n".join(lines[start:end]) for lines in texts]
        shared += [*texts[0][done:start], tag]
        done = end
    return "\n".join([*shared, *texts[0][done:]]), own


def _runs(places: Iterable[int]) -> list[list[int]]:
    """[start, end] of each run of neighbours."""
    runs: list[list[int]] = []
    for place in places:
        if runs and runs[-1][1] == place:
            runs[-1][1] += 1
        else:
            runs.append([place, place + 1])
    return runs
