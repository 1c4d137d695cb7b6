"""What a query names: metrics, with labels and values. A parser for what is written here, not for all of PromQL."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from tests.deploy.known import VALUES

NAME = re.compile(r"\b(?:notifier[_:][a-zA-Z0-9_:]+|up\b)")
SELECTOR = re.compile(r"\b(notifier[_:][a-zA-Z0-9_:]+|up)\{([^}]*)\}")
MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"')


def faults(query: str, known: Mapping[str, Sequence[str]], recorded: Collection[str] = ()) -> list[str]:
    """What the query names and is not there: metrics, labels of a metric, and values of labels whose list is closed."""
    found = [f"no metric {name}" for name in NAME.findall(query) if name not in known and name not in recorded]
    for name, matchers in SELECTOR.findall(query):
        for label, value in MATCHER.findall(matchers):
            if name in known and label not in known[name]:
                found.append(f"{name} has no label {label}")
            if "$" not in value:
                words = set(value.split("|"))
                found.extend(f'no {label}="{word}"' for word in sorted(words - VALUES.get(label, frozenset(words))))
    return found
