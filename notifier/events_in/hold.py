"""Messages in hand are asked more time for while they are stored, where a broker gives them to others after a while."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Condition, Thread


class Hold:
    """Calls `extend` with what is in hand every `every` seconds, in a thread of its own. `extend` raises nothing."""

    def __init__(self, extend: Callable[[Sequence[str]], None], every: float) -> None:
        self._extend, self._every = extend, every
        self._in_hand: Sequence[str] = ()
        self._over = False
        self._changed = Condition()
        self._thread = Thread(target=self._keep, name="hold", daemon=True)
        self._thread.start()

    def take(self, handles: Sequence[str]) -> None:
        """These are in hand now."""
        with self._changed:
            self._in_hand = handles
            self._changed.notify()

    def let_go(self) -> None:
        """Nothing is in hand any more. An extension that is under way is waited for."""
        self.take(())

    def close(self) -> None:
        with self._changed:
            self._over = True
            self._changed.notify()
        self._thread.join()

    def _keep(self) -> None:
        with self._changed:
            while not self._over:
                changed = self._changed.wait(self._every)
                if self._in_hand and not changed:
                    self._extend(self._in_hand)
