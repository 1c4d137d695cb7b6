"""What processes use, by /proc (Linux only)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


def cpu_seconds(stat: str) -> float:
    """User and system time of a process and of its children that have ended, from the text of /proc/PID/stat."""
    fields = stat.rpartition(")")[2].split()  # the program's name, in brackets, may hold anything
    return sum(int(ticks) for ticks in fields[11:15]) / TICKS


def resident_mb(status: str) -> float:
    """From the text of /proc/PID/status; 0 for a process that has ended."""
    found = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


def tree(root: int) -> list[int]:
    """The process and all below it that live now."""
    found = [root]
    for pid in found:
        with suppress(OSError):
            for thread in (PROC / str(pid) / "task").iterdir():
                found += map(int, (thread / "children").read_text().split())
    return found


def cpu_of(roots: Iterable[int]) -> float:
    """CPU seconds that these processes and all that they ever started have used."""
    total = 0.0
    for root in roots:
        for pid in tree(root):
            with suppress(OSError):
                total += cpu_seconds((PROC / str(pid) / "stat").read_text())
    return total


def resident_of(root: int) -> list[float]:
    """MB of the process, then of each below it."""
    sizes = []
    for pid in tree(root):
        with suppress(OSError):
            sizes.append(round(resident_mb((PROC / str(pid) / "status").read_text()), 1))
    return sizes
