"""The plans of what the code sends."""

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
    """Collects the plans of what runs inside: for the values given, and as the server keeps them for any values."""
    found: list[Plan] = []

    def explain(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.lstrip().startswith(EXPLAINED):
            with driver.cursor() as cursor:  # which this wrapper does not see
                found.append(_explained(cursor, sql, sql, params))
        return execute(sql, params, many, context)

    connection.ensure_connection()
    driver = connection.connection
    threshold, most = driver.prepare_threshold, driver.prepared_max
    driver.execute("DEALLOCATE ALL")
    driver.prepare_threshold, driver.prepared_max = 0, None
    try:
        with connection.execute_wrapper(explain):
            yield found
    finally:
        driver.prepare_threshold, driver.prepared_max = threshold, most
    found += _kept(driver)


def _kept(driver: Any) -> list[Plan]:
    with driver.cursor() as cursor:
        cursor.execute("SET plan_cache_mode = force_generic_plan")
        cursor.execute("SELECT name, statement, cardinality(parameter_types) FROM pg_prepared_statements")
        kept = [(f"{name}({', '.join(['NULL'] * number)})" if number else name, sql) for name, sql, number in cursor]
        found = [_explained(cursor, sql, f"EXECUTE {call}") for call, sql in kept if sql.lstrip().startswith(EXPLAINED)]
        cursor.execute("RESET plan_cache_mode")
    return found


def _explained(cursor: Any, sql: str, statement: str, params: Any = None) -> Plan:
    cursor.execute(f"EXPLAIN (FORMAT JSON) {statement}", params, prepare=False)
    return Plan(sql, tuple(_nodes(cursor.fetchone()[0][0]["Plan"])))


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from _nodes(inner)
