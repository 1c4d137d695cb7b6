"""The part of the demo that needs Django set up: its imports ask the settings, and those the environment."""

from __future__ import annotations

import json
import os
from urllib.parse import urlsplit

from demo_people import CUSTOMERS, STAFF_LOGIN, STAFF_PASSWORD, make_api_key, make_people
from demo_story import Story
from django.core.management import call_command
from django.db import connection

from config.celery import app

__all__ = [
    "STAFF_LOGIN",
    "STAFF_PASSWORD",
    "Story",
    "customers_as_json",
    "prepare",
    "shop_database",
    "shop_key",
    "workers_answering",
]

SHOP_DATABASE = "example_shop"
GUEST = {"email": "gina.guest@mail.example", "phone": "+12025550160", "locale": "en"}


def prepare() -> str:
    """Tables, people, and an API key, which is returned."""
    call_command("migrate", verbosity=0)
    make_people()
    return make_api_key("demo")


def customers_as_json() -> str:
    """The people at the shop counter (sandbox.shop says the shape)."""
    people = [{"id": str(person.id), "name": person.name, "note": person.note} for person in CUSTOMERS]
    return json.dumps([*people, {"name": "Gina Green", "note": "a guest", "recipient": GUEST}])


def shop_key() -> str:
    """The example shop's key: no more than such a service needs."""
    return make_api_key("example-shop", ["trigger", "read"])


def shop_database() -> str:
    """The address of a database of the shop's own, on the same server, made where it is missing."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM pg_database WHERE datname = %s", [SHOP_DATABASE])
        if cursor.fetchone() is None:
            cursor.execute(f"CREATE DATABASE {SHOP_DATABASE}")
    return urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{SHOP_DATABASE}").geturl()


def workers_answering(wanted: int) -> int:
    """How many workers answer a ping; returns as soon as the wanted number did."""
    return len(app.control.ping(timeout=0.5, limit=wanted) or ())
