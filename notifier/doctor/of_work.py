"""The engine at work: who lives, what waits, and what was given up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from django.db.models import Min
from django.utils import timezone

from notifier import health, liveness
from notifier.catalogue import Priority
from notifier.doctor.finding import Finding, ok, problem, warning
from notifier.doctor.of_redis import PATIENCE
from notifier.models import DeadLetter, NotificationEvent, Pause
from notifier.states import DeadLetterStatus

MOST_COUNTED = 10_000  # so that a look at a large backlog is cheap
#: Seconds that the oldest due event waits before it is a warning, and before it is a problem.
URGENT_WAITS = (10.0, 60.0)
OTHERS_WAIT = (60.0, 600.0)


def workers() -> Iterator[Finding]:
    """Every queue has a worker that takes from it."""
    with liveness.client_with(PATIENCE) as client:
        found = liveness.signs(client).workers
    unserved = health.queues_without_worker(found)
    if unserved:
        advice = "Start the Procfile's worker-control and worker; the latter takes from all queues."
        yield problem("workers", f"{len(found)} live, and none takes from {', '.join(unserved)}.", advice)
    else:
        yield ok("workers", f"{len(found)} live, and every queue has one.")


def beat() -> Iterator[Finding]:
    """Beat's last tick."""
    with liveness.client_with(PATIENCE) as client:
        yield judge_beat(liveness.signs(client).beat)


def judge_beat(age: float | None) -> Finding:
    """Seconds since its last tick; None: none is known."""
    if age is not None and age <= health.BEAT_IS_LATE:
        return ok("beat", f"It ticked {age:.0f} s ago.")
    found = "No tick is known." if age is None else f"It ticked last {age:.0f} s ago."
    return problem("beat", found, "Start the Procfile's beat: retries, fallbacks and repairs stand still without it.")


def backlog() -> Iterator[Finding]:
    """How long what is due has waited, and how much there is of it."""
    lag = NotificationEvent.objects.lag(list(Priority))
    due = NotificationEvent.objects.filter(due_at__lte=timezone.now()).order_by()[: MOST_COUNTED + 1].count()
    yield judge_backlog(due, lag)


def judge_backlog(due: int, lag: Mapping[int, float]) -> Finding:
    """`due` events, counted up to one more than MOST_COUNTED; the age in seconds of the oldest by priority."""
    limits = {priority: URGENT_WAITS if priority == Priority.URGENT else OTHERS_WAIT for priority in lag}
    ages = ", ".join(f"{Priority(each).name.lower()} {seconds:.0f} s" for each, seconds in lag.items() if seconds)
    found = f"Events due: {counted(due)}; the oldest wait: {ages}." if ages else "Nothing waits."
    advice = "See whether workers live and providers answer; more workers drain a surge (docs/performance.md)."
    if any(seconds > limits[priority][1] for priority, seconds in lag.items()):
        return problem("backlog", found, advice)
    if any(seconds > limits[priority][0] for priority, seconds in lag.items()):
        return warning("backlog", found, advice)
    return ok("backlog", found)


def dead_letters() -> Iterator[Finding]:
    """What was given up, and nobody has seen to."""
    letters = DeadLetter.objects.filter(status=DeadLetterStatus.OPEN).order_by()
    number = letters[: MOST_COUNTED + 1].count()
    if not number:
        yield ok("dead letters", "None are open.")
        return
    oldest = letters.aggregate(oldest=Min("created_at"))["oldest"]
    days = (timezone.now() - oldest).days
    advice = "Look at them in the admin; manage.py replay_dead_letters --dry-run says what would be sent again."
    yield warning("dead letters", f"Open: {counted(number)}, the oldest for {days} days.", advice)


def counted(number: int) -> str:
    return f"over {MOST_COUNTED:,}" if number > MOST_COUNTED else f"{number:,}"


def pauses() -> Iterator[Finding]:
    """What operators have paused."""
    paused = [f"{pause} since {pause.paused_at:%Y-%m-%d %H:%M} UTC" for pause in Pause.objects.order_by("paused_at")]
    if paused:
        yield warning("pauses", f"Paused: {', '.join(paused)}.", "Resume them under Switches in the admin.")
    else:
        yield ok("pauses", "Nothing is paused.")
