"""settings.CHANNELS: what is configured is what is there, and a mistake is one readable line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django.fixtures import Settings

from channels import registry
from channels.base import AddressKind, Channel, Message, Outcome, Provider, Receipt
from channels.errors import MessageRejected, OutcomeUnknown, ProviderUnavailable
from channels.in_app import InAppChannel
from channels.testing import RecordingProvider, ToyChannel, recording
from config.providers import channels_from_environment

TOY = "channels.testing.ToyChannel"
RECORDING = {"PROVIDER": "channels.testing.RecordingProvider"}
MESSAGE = Message("delivery", 1, "user", {"text": "hello"})


class BareChannel(Channel):
    """Sends by itself, without a provider."""

    name = "BARE"
    address = AddressKind.USER
    parts = {"text": "text"}

    def send(self, messages: Any) -> list[Outcome]:
        return [Receipt("bare") for _ in messages]


class CountingProvider(Provider):
    """Counts how often it was made."""

    name = "counting"
    made = 0

    def __init__(self) -> None:
        type(self).made += 1


def configure(settings: Settings, *providers: dict[str, Any], channel: str = TOY) -> None:
    settings.CHANNELS = {"TOY": {"CHANNEL": channel, "PROVIDERS": list(providers)}}


def test_the_four_channels() -> None:
    assert registry.names() == ("EMAIL", "SMS", "PUSH", "IN_APP")
    assert [registry.address_kind(name) for name in registry.names()] == ["email", "phone", "device", "user"]
    assert registry.address_kinds() == {"EMAIL": "email", "SMS": "phone", "PUSH": "device", "IN_APP": "user"}
    assert {name: dict(registry.parts(name)) for name in registry.names()} == {
        "EMAIL": {"subject": "text", "html": "html", "text": "text"},
        "SMS": {"text": "text"},
        "PUSH": {"title": "text", "body": "text"},
        "IN_APP": {"title": "text", "body": "text"},
    }
    assert isinstance(registry.get("IN_APP"), InAppChannel)


@pytest.mark.parametrize("name", ["EMAIL", "SMS", "PUSH", "IN_APP"])
def test_shipped_settings_build(name: str) -> None:
    assert registry.get(name).name == name
    assert registry.get(name).providers


def test_toy_channel_is_one_settings_entry(settings: Settings) -> None:
    configure(settings, RECORDING)
    assert registry.names() == ("TOY",)
    assert isinstance(registry.get("TOY"), ToyChannel)
    assert registry.get("TOY").send([MESSAGE]) == [Receipt("recording", "delivery.1")]
    assert recording("TOY").messages == [MESSAGE]


def test_changed_settings_are_taken_up(settings: Settings) -> None:
    configure(settings, RECORDING)
    before = registry.get("TOY")
    assert registry.get("TOY") is before
    settings.LANGUAGE_CODE = "de"  # another setting changes nothing
    assert registry.get("TOY") is before
    configure(settings, RECORDING)
    assert registry.get("TOY") is not before


def test_providers_are_made_when_first_asked_for(settings: Settings) -> None:
    CountingProvider.made = 0
    configure(settings, {"PROVIDER": f"{__name__}.CountingProvider"})
    registry.address_kind("TOY")
    assert CountingProvider.made == 0
    registry.get("TOY")
    registry.get("TOY")
    assert CountingProvider.made == 1


def test_channel_that_sends_by_itself_needs_no_provider(settings: Settings) -> None:
    settings.CHANNELS = {"BARE": {"CHANNEL": f"{__name__}.BareChannel"}}
    assert registry.get("BARE").send([MESSAGE]) == [Receipt("bare")]


def test_unknown_channel() -> None:
    with pytest.raises(KeyError, match="channel FAX is not configured"):
        registry.get("FAX")


SENDGRID = "channels.providers.sendgrid.SendGridProvider"


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ({}, "CHANNELS['TOY']['CHANNEL']: None doesn't look like a module path."),
        ({"CHANNEL": "no.such.Channel"}, "CHANNELS['TOY']['CHANNEL']: No module named 'no'."),
        (
            {"CHANNEL": "channels.base.Provider"},
            "CHANNELS['TOY']['CHANNEL']: channels.base.Provider is not a subclass of Channel.",
        ),
        (
            {"CHANNEL": "channels.registry.names"},
            "CHANNELS['TOY']['CHANNEL']: channels.registry.names is not a subclass of Channel.",
        ),
        (
            {"CHANNEL": "channels.sms.SmsChannel"},
            "CHANNELS['TOY']['CHANNEL']: SmsChannel is the channel 'SMS'.",
        ),
        ({"CHANNEL": TOY}, "CHANNELS['TOY']['PROVIDERS'] is empty."),
        (
            {"CHANNEL": TOY, "PROVIDERS": [RECORDING, {}]},
            "CHANNELS['TOY']['PROVIDERS'][1]['PROVIDER']: None doesn't look like a module path.",
        ),
        (
            {"CHANNEL": TOY, "PROVIDERS": [{"PROVIDER": TOY}]},
            f"CHANNELS['TOY']['PROVIDERS'][0]['PROVIDER']: {TOY} is not a subclass of Provider.",
        ),
        (
            {"CHANNEL": TOY, "PROVIDERS": [{"PROVIDER": SENDGRID, "OPTIONS": {"sender": "a@b.example"}}]},
            "CHANNELS['TOY']['PROVIDERS'][0]['OPTIONS']: SendGridProvider missing a required argument: 'api_key'.",
        ),
        (
            {"CHANNEL": TOY, "PROVIDERS": [{**RECORDING, "OPTIONS": {"hue": "red"}}]},
            "CHANNELS['TOY']['PROVIDERS'][0]['OPTIONS']: RecordingProvider got an unexpected keyword argument 'hue'.",
        ),
        *[
            (
                {"CHANNEL": TOY, "PROVIDERS": [{**RECORDING, "RATE": rate}]},
                f"CHANNELS['TOY']['PROVIDERS'][0]['RATE']: {rate!r} is not a whole number of messages a second.",
            )
            for rate in (-1, 0.5, "100", None, True)
        ],
        (
            {
                "CHANNEL": TOY,
                "PROVIDERS": [{"PROVIDER": SENDGRID, "OPTIONS": {"api_key": "", "sender": "a@b.example"}}],
            },
            "CHANNELS['TOY']['PROVIDERS'][0]['OPTIONS']: sendgrid: option 'api_key' is empty.",
        ),
    ],
)
def test_mistake_is_one_readable_line(settings: Settings, entry: dict[str, Any], line: str) -> None:
    settings.CHANNELS = {"TOY": entry}
    with pytest.raises(ImproperlyConfigured) as caught:
        registry.get("TOY")
    assert str(caught.value) == line


def test_rates_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: Settings) -> None:
    def rates() -> dict[str, int]:
        shop, url = settings.SHOP, "http://127.0.0.1:1"
        found = channels_from_environment(debug=True, data_dir=tmp_path, sandbox_url=url, public_url=url, shop=shop)
        settings.CHANNELS = {name: found[name] for name in ("EMAIL", "SMS", "PUSH")}
        return {gate.provider: gate.rate for gate in registry.gates()}

    monkeypatch.setenv("SMTP_URL", "smtp://127.0.0.1:1")
    assert rates() == {"sendgrid": 0, "smtp": 0, "twilio": 100, "fcm": 10_000}
    for number, name in enumerate(("SENDGRID", "SMTP", "TWILIO", "FCM")):
        monkeypatch.setenv(f"{name}_RATE", str(number + 1))
    assert rates() == {"sendgrid": 1, "smtp": 2, "twilio": 3, "fcm": 4}
    monkeypatch.setenv("FCM_RATE", "many")
    with pytest.raises(SystemExit, match="FCM_RATE='many' is not a whole number"):
        rates()


@pytest.mark.parametrize(("value", "mails"), [("", 4), ("1", 1), ("100", 100)])
def test_mails_a_call_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: Settings, value: str, mails: int
) -> None:
    monkeypatch.setenv("SENDGRID_BATCH", value)
    shop, url = settings.SHOP, "http://127.0.0.1:1"
    found = channels_from_environment(debug=True, data_dir=tmp_path, sandbox_url=url, public_url=url, shop=shop)
    assert found["EMAIL"]["PROVIDERS"][0]["OPTIONS"]["batch"] == mails


def test_next_provider_carries_what_the_first_surely_did_not(settings: Settings) -> None:
    configure(settings, RECORDING, RECORDING)
    channel = registry.get("TOY")
    first, second = channel.providers
    assert isinstance(first, RecordingProvider)
    assert isinstance(second, RecordingProvider)
    rejected, unknown = MessageRejected(), OutcomeUnknown()
    first.answers = [ProviderUnavailable(), rejected, unknown]
    messages = [Message(f"delivery-{n}", 1, "user", {"text": ""}) for n in range(4)]
    assert channel.send(messages) == [
        Receipt("recording", "delivery-0.1"),
        rejected,
        unknown,
        Receipt("recording", "delivery-3.1"),
    ]
    assert second.messages == messages[:1]


def test_no_provider_left(settings: Settings) -> None:
    configure(settings, RECORDING)
    away = ProviderUnavailable("away", provider="recording", status=503, code="x")
    recording("TOY").answers = [away]
    assert registry.get("TOY").send([MESSAGE]) == [away]
    assert str(away) == "recording, HTTP 503, code x, away"
    assert str(ProviderUnavailable()) == "ProviderUnavailable"
    assert ToyChannel([]).send([MESSAGE])[0].provider == ""


def test_recording_is_asked_of_a_recording_channel_alone() -> None:
    with pytest.raises(TypeError, match="IN_APP is configured with InboxProvider"):
        recording("IN_APP")
