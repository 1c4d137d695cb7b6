from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import orjson
from django.utils.translation import gettext_lazy
from rest_framework.renderers import JSONRenderer

from notifier.api.renderers import FastJSONRenderer

ANSWER = {
    "id": UUID(int=7),
    "at": datetime(2026, 11, 24, 8, 30, 0, 123456, tzinfo=UTC),
    "on the second": datetime(2026, 11, 24, 8, 30, tzinfo=UTC),
    "lazy": gettext_lazy("Not found."),
    "total": Decimal("12.50"),
    "wait": timedelta(seconds=90),
    "text": "Grüße \u2028",
    1: (True, None, 2.5),
}


def test_an_answer_reads_as_the_frameworks_own() -> None:
    assert orjson.loads(FastJSONRenderer().render(ANSWER)) == orjson.loads(JSONRenderer().render(ANSWER))


def test_no_content_is_no_text() -> None:
    assert FastJSONRenderer().render(None) == b""
