"""Whatever keeps the database from working is a 503 with Retry-After, by errors of a real server."""

from __future__ import annotations

import pytest
from django.db import DatabaseError, connection, connections
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from notifier.api.errors import handle
from notifier.api.middleware import ApiErrors

pytestmark = pytest.mark.django_db(transaction=True)

ERRORS = {
    "connection ended by the server": "SELECT pg_terminate_backend(pg_backend_pid())",
    "statement took too long": "SET statement_timeout = 10; SELECT pg_sleep(5)",
    "read-only after a failover": "SET transaction_read_only = on; CREATE TABLE never ()",
    "lock not given": "SET lock_timeout = 10; DO $$ BEGIN RAISE lock_not_available; END $$",
    "too many connections": "DO $$ BEGIN RAISE too_many_connections; END $$",
    "starting up or shutting down": "DO $$ BEGIN RAISE cannot_connect_now; END $$",
}


def error_of(sql: str) -> DatabaseError:
    try:
        with connection.cursor() as cursor, pytest.raises(DatabaseError) as caught:
            cursor.execute(sql)
    finally:
        connections.close_all()  # what it set, or what is left of it
    return caught.value


@pytest.mark.parametrize("sql", ERRORS.values(), ids=ERRORS)
def test_a_view_answers_503(sql: str) -> None:
    answer = handle(error_of(sql), {})
    assert answer is not None
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert answer.data["error"]["code"] == "UNAVAILABLE"


@pytest.mark.parametrize(("path", "status"), [("/metrics", 503), ("/admin/", None)], ids=["ours", "the admin's"])
def test_what_is_no_view_of_the_api_does_too(path: str, status: int | None) -> None:
    error = error_of(ERRORS["connection ended by the server"])
    answer = ApiErrors(_never).process_exception(RequestFactory().get(path), error)
    assert (answer and answer.status_code) == status


def test_an_error_of_ours_is_none_of_the_databases() -> None:
    assert handle(ZeroDivisionError(), {}) is None
    assert ApiErrors(_never).process_exception(RequestFactory().get("/metrics"), ZeroDivisionError()) is None


def _never(_request: HttpRequest) -> HttpResponse:
    raise AssertionError("not asked")
