"""The headers of a mail by which a mail program unsubscribes with one click."""

from __future__ import annotations


def one_click(url: str) -> dict[str, str]:
    """RFC 8058, section 3.1 (read 2026-11-25): the program posts to the address, and asks nobody. None without one."""
    if not url:
        return {}
    return {"List-Unsubscribe": f"<{url}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}
