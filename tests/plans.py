"""The plans of what the code sends: each statement is explained a moment before it runs, with the same parameters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import connection

EXPLAINED = ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")


@dataclass(frozen=True, slots=True)
class Plan:
    """A statement as it was sent, and its nodes as EXPLAIN names them."""

    sql: str
    nodes: tuple[dict[str, Any], ...]

    @property
    def indexes(self) -> set[str]:
        return {node["Index Name"] for node in self.nodes if "Index Name" in node}

    def read_whole(self) -> set[tuple[str, str]]:
        """(table, index) of what is read from end to end: an index without a condition, or "" the table itself."""
        scans = ("Seq Scan", "Index Scan", "Index Only Scan")
        found = [node for node in self.nodes if node["Node Type"] in scans and "Index Cond" not in node]
        return {(node["Relation Name"], node.get("Index Name", "")) for node in found}


@contextmanager
def plans() -> Iterator[list[Plan]]:
    """Collects the plans of what runs inside."""
    found: list[Plan] = []

    def explain(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.lstrip().startswith(EXPLAINED):
            with connection.connection.cursor() as cursor:  # the driver's own, which this wrapper does not see
                cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", params)
                found.append(Plan(sql, tuple(_nodes(cursor.fetchone()[0][0]["Plan"]))))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explain):
        yield found


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from _nodes(inner)
