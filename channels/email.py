"""EMAIL: a mail with an HTML and a text body."""

from __future__ import annotations

from channels.base import AddressKind, Channel


class EmailChannel(Channel):
    name = "EMAIL"
    address = AddressKind.EMAIL
    parts = {"subject": "text", "html": "html", "text": "text"}
    slice_size = 100  # mails share calls
    links = True
    label = "Email"
