from __future__ import annotations

import re

import pytest
from django.core.management import call_command
from django.test import Client


def test_the_schema_is_valid_and_complete(tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("schema") / "schema.yml"

    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(file))

    schema = file.read_text()
    assert "/notifications/trigger/bulk:" in schema
    assert "Idempotency-Key" in schema
    assert "ORDER_SHIPPED" in schema
    assert "eventType:" in schema
    assert "event_type" not in schema


def test_the_docs_load_nothing_from_elsewhere(db: None) -> None:
    page = Client().get("/api/docs").content.decode()

    sources = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert sources
    assert all(source.startswith(("/", "data:")) for source in sources)
    assert Client().get("/api/schema").status_code == 200
