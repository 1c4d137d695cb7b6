"""PUSH: a notification to each of a person's devices."""

from __future__ import annotations

from channels.base import AddressKind, Channel


class PushChannel(Channel):
    name = "PUSH"
    address = AddressKind.DEVICE
    parts = {"title": "text", "body": "text"}
    label = "Push"
