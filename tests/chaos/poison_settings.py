"""tests/chaos/quick_settings.py with a provider of SMS that a message can kill."""

from __future__ import annotations

from tests.chaos import quick_settings

globals().update({name: getattr(quick_settings, name) for name in dir(quick_settings) if name.isupper()})
for _provider in quick_settings.CHANNELS["SMS"]["PROVIDERS"]:
    _provider["PROVIDER"] = "tests.chaos.poison.PoisonProvider"
