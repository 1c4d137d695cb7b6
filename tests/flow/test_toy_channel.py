"""A new channel is one class, one settings entry and its templates: nothing in notifier/ knows of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from channels.errors import ProviderUnavailable
from channels.testing import recording
from notifier import checks
from notifier.catalogue import event_types
from preferences.models import Preference, User
from tests import engine

pytestmark = pytest.mark.django_db

CATALOGUE = (replace(event_types()["ORDER_PACKED"], channels=("TOY",)),)


@pytest.fixture
def toy(settings: Settings, tmp_path: Path) -> None:
    for locale, text in (("en", "packed"), ("de", "gepackt")):
        template = tmp_path / "ORDER_PACKED" / f"TOY.{locale}.j2"
        template.parent.mkdir(exist_ok=True)
        template.write_text("{% block text %}{{ order_id }} " + text + "{% endblock %}")
    settings.MESSAGE_TEMPLATE_DIRS = [tmp_path, *settings.MESSAGE_TEMPLATE_DIRS]
    settings.CHANNELS = {
        "TOY": {
            "CHANNEL": "channels.testing.ToyChannel",
            "PROVIDERS": [{"PROVIDER": "channels.testing.RecordingProvider"}],
        }
    }
    settings.EVENT_CATALOGUE = f"{__name__}.CATALOGUE"


def test_a_toy_channel_delivers(toy: None, customer: Callable[..., User]) -> None:
    assert checks.check_catalogue() == []
    user = customer(locale="de")
    event = engine.trigger("ORDER_PACKED", user.id)
    engine.run()
    assert (engine.status(event), engine.states(event)) == ("SENT", {"TOY": "SENT"})
    (message,) = recording("TOY").messages
    assert (message.parts["text"], message.address) == ("ORD1 gepackt", str(user.id))


def test_it_is_retried_switched_off_and_explained_like_any_other(toy: None, customer: Callable[..., User]) -> None:
    recording("TOY").answers = [ProviderUnavailable("not now")]
    event = engine.trigger("ORDER_PACKED", customer().id)
    engine.run()
    assert engine.states(event) == {"TOY": "RETRYING"}
    other = customer()
    Preference.objects.create(user=other, event_type="ORDER_PACKED", channel="TOY", enabled=False)
    second = engine.trigger("ORDER_PACKED", other.id)
    engine.run()
    assert (engine.status(second), engine.states(second)) == ("SKIPPED", {"TOY": "SKIPPED OPTED_OUT"})
