"""What the short fuzzing of tests/api/test_fuzz.py and the long one of script/fuzz have in common."""

from __future__ import annotations

from pathlib import Path

OPTIONS = Path(__file__).resolve().parent / "schemathesis.toml"

#: People whose ids the schema's examples name; Python for `manage.py shell`.
PEOPLE = """
from uuid import UUID
from preferences.models import User
ada = UUID("01931f6e-7d3a-7000-8000-000000000001")
User.objects.get_or_create(id=ada, email="ada@mail.example", phone="+4915112345678")
"""
