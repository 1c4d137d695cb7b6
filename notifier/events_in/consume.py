"""The loop of a consumer: fetch, store, commit, one batch after the other, until it is told to stop.

While the database is away, or as many events wait in it as NOTIFIER_BUS_BACKLOG says, the bus is paused: nothing is
taken, and the place in the group is kept.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from django.conf import settings
from django.db import Error, connection

from notifier import tasks
from notifier.catalogue import Priority
from notifier.events_in.bus import Bus, DeadLetterQueueError, Incoming
from notifier.events_in.health import Pulse
from notifier.events_in.metrics import BusMetrics
from notifier.events_in.progress import Progress
from notifier.events_in.take import Taken, take
from notifier.models import NotificationEvent

log = logging.getLogger(__name__)

WAIT = 0.5  # seconds without a message, after which the loop looks around
LOOK_EVERY = 2.0  # seconds between two looks at the backlog and the lag
FIRST_WAIT, LONGEST_WAIT = 0.5, 15.0  # seconds between two tries at a database that is away, doubling
RELIEVED = 0.8  # of the backlog's limit, from which on it goes on
BACKLOG, DATABASE = "backlog", "database"


class Consumer:
    """One process's part of a bus."""

    def __init__(self, bus: Bus, source: str, metrics: BusMetrics, pulse: Pulse, progress: Progress) -> None:
        self._bus, self._source = bus, source
        self._metrics, self._pulse, self._progress = metrics, pulse, progress
        self._limit = settings.BUS_BATCH  # messages of the next batch
        self._held = ""  # why nothing is taken
        if bus.on_confirmed is not None:
            bus.on_confirmed = metrics.commit.observe
        self._wait, self._try_at, self._look_at = FIRST_WAIT, 0.0, 0.0

    def run(self, stopping: Callable[[], bool]) -> None:
        """Until `stopping`; the batch in hand is stored and committed then, and the group is left."""
        try:
            while not stopping():
                self.turn()
        finally:
            self._bus.close()

    def turn(self) -> None:
        """One batch, or a short wait."""
        self._look_around()
        batch = self._bus.fetch(self._limit, WAIT)
        self._pulse.beat()
        if batch or not self._held:  # what was given back is still the oldest
            self._metrics.holding(min((m.published_at for m in batch if m.published_at), default=None))
        if batch:
            self._handle(batch)
        self._progress.show(self._held)

    def _handle(self, batch: Sequence[Incoming]) -> None:
        began = time.monotonic()
        try:
            taken = take(batch, self._source)
        except Error as error:
            self._give_back(batch, error)
            return
        stored = time.monotonic()
        tasks.ring()
        self._copy_refused(taken)
        began_commit = time.monotonic()
        self._bus.commit(batch)
        self._metrics.store.observe(stored - began)
        if self._bus.on_confirmed is None:
            self._metrics.commit.observe(time.monotonic() - began_commit)
        self._count(batch, taken)
        self._limit = min(settings.BUS_BATCH, self._limit * 2)

    def _give_back(self, batch: Sequence[Incoming], error: Error) -> None:
        """A smaller batch next time: one that takes too long for the database would come back for ever."""
        self._limit = max(1, len(batch) // 2)
        self._metrics.given_back.inc()
        log.warning("%d messages not stored, given back: %s", len(batch), type(error).__name__)
        self._hold(DATABASE)
        self._bus.give_back(batch)
        self._wait, self._try_at = FIRST_WAIT, time.monotonic() + FIRST_WAIT

    def _copy_refused(self, taken: Taken) -> None:
        if not taken.refused:
            return
        try:
            self._bus.dead_letter(taken.refused)
        except DeadLetterQueueError as error:
            self._metrics.uncopied.inc(error.missed)
            self._progress.trouble(str(error))

    def _count(self, batch: Sequence[Incoming], taken: Taken) -> None:
        self._metrics.batch.observe(len(batch))
        self._metrics.recorded.inc(taken.recorded)
        self._metrics.repeated.inc(taken.repeated)
        self._metrics.refused.inc(len(taken.refused))
        for refused in taken.refused:
            self._metrics.refuse(refused)
        self._progress.add(taken)

    # --- back-pressure -----------------------------------------------------------------------------------------
    def _look_around(self) -> None:
        now = time.monotonic()
        looks = now >= self._look_at
        if looks:
            self._look_at = now + LOOK_EVERY
            self._look_at_lag()
        if self._held == DATABASE:
            if now >= self._try_at:
                self._try_database()
        elif looks:
            try:
                self._look_at_backlog()
            except Error:
                self._hold(DATABASE)
                self._try_at = now + FIRST_WAIT

    def _look_at_lag(self) -> None:
        lag = self._bus.lag()
        self._metrics.lag.set(float("nan") if lag is None else lag)
        self._progress.lag = lag
        if not self._held:
            self._pulse.waits_for = "" if self._bus.is_connected() else "bus"

    def _look_at_backlog(self) -> None:
        limit = settings.BUS_BACKLOG
        if not limit:
            return
        waiting = NotificationEvent.objects.backlog(list(Priority), limit)
        if waiting >= limit:
            self._hold(BACKLOG)
        elif self._held == BACKLOG and waiting < limit * RELIEVED:
            self._go_on()

    def _try_database(self) -> None:
        """A connection that broke is closed; the next statement makes a new one."""
        try:
            connection.close()
            connection.ensure_connection()
        except Error as error:
            self._wait = min(LONGEST_WAIT, self._wait * 2)
            log.warning("the database is away, trying again in %.0f s: %s", self._wait, type(error).__name__)
            self._try_at = time.monotonic() + self._wait
            return
        self._wait = FIRST_WAIT
        self._go_on()

    def _hold(self, reason: str) -> None:
        if self._held != reason:
            self._held = self._pulse.waits_for = reason
            self._bus.pause()
            self._metrics.pause(reason)
            log.warning("paused: waits for the %s", reason)

    def _go_on(self) -> None:
        log.info("goes on: the %s is no longer waited for", self._held)
        self._held = self._pulse.waits_for = ""
        self._metrics.pause("")
        self._bus.resume()
