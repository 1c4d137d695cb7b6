"""How many of a worker's processes may be at one provider at a time: half of them, so that a slow one stops no other.

A provider that takes calls and does not answer would else have every process wait for it, and the other channels'
messages with them. Slots are record locks on a file that a worker's processes inherit: the kernel frees those of a
process that was killed. Where nobody shared the file (web, commands, a single process) there is no limit.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 0.5  # seconds that a slot is waited for: a slice of 50 messages usually takes a tenth of it
REST = 1.0  # seconds without a further wait after that: who is there is slow
LOOK_EVERY = 0.005  # seconds
PLACES = 1 << 20  # where a provider's slots begin in the file: apart, as good as always
STRIDE = 256  # slots a provider has at most


@dataclass(slots=True)
class _Shared:
    file: int | None = None  # its descriptor; the file has no name any more
    limit: int = 0


_shared = _Shared()


def share(processes: int) -> None:
    """In a worker's main process, before it forks: of so many processes half may be at a provider, one at least."""
    forget()
    _shared.file, path = tempfile.mkstemp(prefix="notifier-slots-")
    Path(path).unlink()
    _shared.limit = min(max(1, processes // 2), STRIDE)


def forget() -> None:
    """Share no longer: there is no limit."""
    if _shared.file is not None:
        os.close(_shared.file)
    _shared.file = None


class Slots:
    """Those of one provider. A process holds one at most."""

    def __init__(self, name: str) -> None:
        self._first = zlib.crc32(name.encode()) % PLACES * STRIDE
        self._held: int | None = None
        self._rests_until = 0.0

    def take(self) -> bool:
        """Whether this process may go to the provider. Waits a little for those who are there."""
        if _shared.file is None or self._held is not None:
            return True
        began = time.monotonic()
        patience = PATIENCE if began > self._rests_until else 0.0
        while not self._find():
            if time.monotonic() >= began + patience:
                if patience:
                    self._rests_until = time.monotonic() + REST
                return False
            time.sleep(LOOK_EVERY)
        return True

    def give_back(self) -> None:
        if _shared.file is not None and self._held is not None:
            fcntl.lockf(_shared.file, fcntl.LOCK_UN, 1, self._held)
            self._held = None

    def _find(self) -> bool:
        assert _shared.file is not None  # noqa: S101 - take has looked
        for place in range(self._first, self._first + _shared.limit):
            try:
                fcntl.lockf(_shared.file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            except OSError:
                continue
            self._held = place
            return True
        return False
