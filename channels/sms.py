"""SMS: a text message to a phone."""

from __future__ import annotations

from channels.base import AddressKind, Channel


class SmsChannel(Channel):
    name = "SMS"
    address = AddressKind.PHONE
    parts = {"text": "text"}
    label = "SMS"
    resend_unknown = False  # a second SMS costs money, and annoys
