"""A toy channel with its templates, whose provider does what a test wants: the flow without the wire."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from pytest_django.fixtures import Settings

from channels.base import Channel, Finding, Inquiry, Permit
from channels.testing import RecordingProvider, ToyChannel
from notifier.catalogue import RetryPolicy, event_types

TEXTS = {"en": "packed", "de": "gepackt"}
RETRY = RetryPolicy(max_tries=3, first_wait=10, longest_wait=60, fallback_after=timedelta(minutes=5))
CATALOGUE = (replace(event_types()["ORDER_PACKED"], channels=("TOY",), retries={"TOY": RETRY}),)
WITH_INBOX = (
    replace(event_types()["ORDER_PACKED"], channels=("TOY",), retries={"TOY": RETRY}, fallback={"TOY": ("IN_APP",)}),
)


class AskableProvider(RecordingProvider):
    """Knows what became of earlier messages: `findings`, one an inquiry; then nothing was taken."""

    def __init__(self) -> None:
        super().__init__()
        self.inquiries: list[Inquiry] = []
        self.findings: list[Finding] = []

    def ask(self, inquiries: Sequence[Inquiry]) -> list[Finding]:
        self.inquiries += inquiries
        return [self.findings.pop(0) if self.findings else [] for _ in inquiries]


class NarrowChannel(ToyChannel):
    """Has as much room as the test says; a message must not go out twice."""

    resend_unknown = False
    room: ClassVar[Permit] = Permit(1000)
    has_recovered: ClassVar[bool] = False

    def permit(self, wanted: int, *, urgent: bool = True) -> Permit:
        return replace(self.room, granted=min(wanted, self.room.granted))

    def recovered(self) -> bool:
        return self.has_recovered


def configure(
    settings: Settings,
    folder: Path,
    *,
    channel: type[Channel] = ToyChannel,
    provider: type[RecordingProvider] = RecordingProvider,
    catalogue: str = "CATALOGUE",
) -> None:
    """Make TOY a channel, and ORDER_PACKED its event type; with WITH_INBOX the inbox stands in for it."""
    for locale, text in TEXTS.items():
        template = folder / "ORDER_PACKED" / f"TOY.{locale}.j2"
        template.parent.mkdir(exist_ok=True)
        template.write_text("{% block text %}{{ order_id }} " + text + "{% endblock %}")
    settings.MESSAGE_TEMPLATE_DIRS = [folder, *settings.MESSAGE_TEMPLATE_DIRS]
    settings.CHANNELS = {
        "TOY": {"CHANNEL": _path(channel), "PROVIDERS": [{"PROVIDER": _path(provider)}]},
        "IN_APP": settings.CHANNELS["IN_APP"],
    }
    settings.EVENT_CATALOGUE = f"{__name__}.{catalogue}"


def _path(found: type) -> str:
    return f"{found.__module__}.{found.__qualname__}"
