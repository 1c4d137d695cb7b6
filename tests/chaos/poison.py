"""A provider that a message can kill: whoever is to send to one of these numbers ends by SIGKILL."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

from channels.base import Message, Outcome
from channels.providers.twilio import TwilioProvider

POISON = "+1202555666"  # and one digit more


class PoisonProvider(TwilioProvider):
    def send(self, messages: Sequence[Message]) -> list[Outcome]:
        if any(message.address.startswith(POISON) for message in messages):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().send(messages)
