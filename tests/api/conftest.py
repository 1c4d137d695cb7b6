"""A caller of the API: real requests through Django's client, with a real key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from notifier.models import ApiKey
from preferences.models import User


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any
    headers: Any

    @property
    def code(self) -> str:
        return str(self.body["error"]["code"])

    @property
    def fields(self) -> dict[str, str]:
        return dict(self.body["error"]["fields"])


@dataclass(frozen=True)
class Caller:
    key: str | None
    row: ApiKey | None = None

    def __call__(self, method: str, path: str, body: Any = None, *, raw: bytes | None = None, **headers: str) -> Answer:
        if self.key is not None:
            headers.setdefault("Authorization", f"Api-Key {self.key}")
        data = raw if raw is not None else b"" if body is None else orjson.dumps(body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        response = Client().generic(method, path, data, content_type="application/json", headers=named)
        return Answer(response.status_code, orjson.loads(response.content or b"null"), response.headers)


@pytest.fixture(autouse=True)
def _no_collected_files(settings: Settings) -> None:
    """Tests run without collectstatic, as development does."""
    settings.WHITENOISE_AUTOREFRESH = True


@pytest.fixture
def caller(db: None) -> Callable[..., Caller]:
    """Makes callers; without scopes named, one who may do everything."""

    def make(*scopes: str, source: str = "shop", **limits: Any) -> Caller:
        row, key = ApiKey.issue("shop", scopes or ApiKey.SCOPES, source=source, **limits)
        return Caller(key, row)

    return make


@pytest.fixture
def api(caller: Callable[..., Caller]) -> Caller:
    return caller()


@pytest.fixture
def ada(db: None) -> User:
    return User.objects.create_user(email="ada@mail.example", phone="+4915112345678", locale="de")
