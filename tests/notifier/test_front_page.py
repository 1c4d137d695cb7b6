"""The admin's front page: the live figures, what is wrong in words, and who sees it."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries
from pytest_django.fixtures import Settings

from channels import registry
from channels.base import Permit
from channels.breaker import State
from channels.errors import OutcomeUnknown
from channels.testing import forget_gates
from notifier import figures, liveness, measures, tally
from notifier.charts import BELOW, HEIGHT, chart
from notifier.figures import Figures, Provider, Share, Waiting, minute_of, speeds
from notifier.liveness import Signs
from notifier.models import DeadLetter
from notifier.problems import duration, problems
from preferences.models import User
from tests import engine
from tests.ports import free_port
from tests.tallies import tally_of_nothing

NOW = datetime(2026, 11, 30, 14, 10, tzinfo=UTC)
INDEX, LIVE = reverse("admin:index"), reverse("admin:notifier_notificationevent_live")
REMOTE = {"PROVIDER": "channels.testing.RemoteProvider"}


@pytest.fixture
def staff(settings: Settings, client: Client, db: None) -> Iterator[Client]:
    """May see events, and nothing else. One remote provider; Beat and a worker of every queue live."""
    settings.WHITENOISE_AUTOREFRESH = True  # no collectstatic in tests
    settings.CHANNELS = {"TOY": {"CHANNEL": "channels.testing.ToyChannel", "PROVIDERS": [REMOTE]}}
    forget_gates()
    tally_of_nothing()
    liveness.ticked()
    liveness.alive("w1", [queue.name for queue in settings.CELERY_TASK_QUEUES])
    client.force_login(with_permissions("view_notificationevent"))
    here = settings.REDIS_URL
    yield client
    settings.REDIS_URL = here
    liveness.goodbye("w1")
    tally_of_nothing()
    forget_gates()


def with_permissions(*names: str) -> User:
    user: User = User.objects.create_user(f"staff {names}", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    return user


def shown(client: Client, address: str = LIVE) -> str:
    """What a person reads."""
    answer = client.get(address)
    assert answer.status_code == 200
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", answer.content.decode())).split())


def test_a_quiet_system(staff: Client, django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
    page = shown(staff, INDEX)
    assert "Nothing is wrong" in page
    assert "No events in the last hour." in page
    assert "Workers that live 1" in page
    assert "TOY by remote closed -" in page
    assert "Open dead letters None." in page
    with django_assert_max_num_queries(10):  # of them five are the session, its user and the permissions
        assert staff.get(LIVE).headers["Cache-Control"].startswith("max-age=0")


def test_what_was_counted_is_shown(staff: Client) -> None:
    took = measures.TIME_TO_PROVIDER
    tally.add({
        (measures.EVENTS_RECORDED.name, "ORDER_PLACED"): 1200,
        (measures.DELIVERIES.name, "TOY", "SENT"): 1999,
        (measures.DELIVERIES.name, "TOY", "FAILED"): 1,
        (measures.ATTEMPTS.name, "TOY", "remote", "ACCEPTED"): 9,
        (measures.ATTEMPTS.name, "TOY", "remote", "UNAVAILABLE"): 11,
        (measures.DEAD_LETTERS.name, "CRASHED"): 1,
        (measures.HOLDS.name, "CAP"): 3,
        **tally.observed(took, ("TOY", "remote", "urgent"), [0.01] * 60 + [0.3] * 38 + [5000.0] * 2),
    })  # fmt: skip
    tally.flush()
    page = shown(staff)
    for text in (
        "What is wrong",
        "TOY by remote: 9 of 20 attempts were accepted in the last 15 minutes",
        "1 new dead letter in the last 15 minutes: CRASHED",
        "3 messages held in the last 15 minutes: their recipients had their daily number",
        "1,200 events in the last hour, at most 1,200 a minute at",
        "1,999 sent, 1 failed so far",
        "TOY 99.9 % 1,999 of 2,000",
        "TOY by remote 45 % 9 of 20",
        "urgent ≤ 0.05 s ≤ 0.5 s > 1 h 100",
    ):
        assert text in page


def test_what_is_wrong_now(staff: Client) -> None:
    registry.gates()[0].record([OutcomeUnknown() for _ in range(6)], Permit(6))
    liveness.goodbye("w1")
    engine.trigger("ORDER_PACKED", User.objects.create().id)
    engine.pass_time(timedelta(minutes=2))
    page = shown(staff)
    assert re.search(r"TOY by remote: breaker open since \d\d:\d\d: 6 of 6 calls failed", page)
    assert re.search(r"TOY by remote open \d\d:\d\d", page)
    assert "No worker takes from events, control, urgent" in page
    assert "Warning: Bulk events wait, the oldest for 2 min" in page
    assert "bulk 1 2 min" in page
    assert page.index("Problem: No worker") < page.index("Warning: Bulk")


def test_dead_letters_lead_to_their_list(staff: Client) -> None:
    for _ in range(2):
        DeadLetter.objects.create(cause="CRASHED")
    DeadLetter.objects.create(cause="PLANNING", status="DISCARDED")
    assert "CRASHED 2" in shown(staff)
    where = reverse("admin:notifier_deadletter_changelist") + "?status__exact=OPEN&amp;q=CRASHED"
    assert where not in staff.get(LIVE).content.decode()  # it could not be seen

    staff.force_login(with_permissions("view_notificationevent", "view_deadletter"))
    assert where in staff.get(LIVE).content.decode()
    assert shown(staff, html.unescape(where)).count("CRASHED") >= 2


def test_without_redis_the_rest_is_shown(staff: Client, settings: Settings) -> None:
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    page = shown(staff, INDEX)
    assert "Redis does not answer: events wait in PostgreSQL, and most figures are not known" in page
    assert "Backlog" in page
    assert "TOY by remote not known" in page
    assert "Events a minute" not in page


def test_who_may_not_see_events_sees_the_plain_page(staff: Client) -> None:
    staff.force_login(with_permissions("view_deadletter"))
    page = staff.get(INDEX).content.decode()
    assert "front_page.js" not in page
    assert "Nothing is wrong" not in page
    assert "Dead letters" in page
    assert staff.get(LIVE).status_code == 403


def signs(beat: float | None = 1.0, **workers: frozenset[str]) -> Signs:
    return Signs(workers, beat)


def words(settings: Settings, **found: Any) -> list[str]:
    served = frozenset(queue.name for queue in settings.CELERY_TASK_QUEUES)
    known = {"waiting": [], "letters": [], "providers": [], "signs": signs(w1=served), **found}
    return [("! " if each.severe else "") + each.text for each in problems(Figures(NOW, **known))]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({}, []),
        (
            {"signs": None},
            ["! Redis does not answer: events wait in PostgreSQL, and most figures are not known"],
        ),
        ({"waiting": [Waiting("urgent", 1, False, 10.0), Waiting("bulk", 9, False, 60.0)]}, []),
        ({"waiting": [Waiting("urgent", 1, False, 11.0)]}, ["Urgent events wait, the oldest for 11 s"]),
        ({"waiting": [Waiting("urgent", 1, False, 61.0)]}, ["! Urgent events wait, the oldest for 61 s"]),
        ({"waiting": [Waiting("bulk", 1, False, 61.0)]}, ["Bulk events wait, the oldest for 61 s"]),
        ({"waiting": [Waiting("normal", 1, False, 7300.0)]}, ["! Normal events wait, the oldest for 2 h"]),
        ({"by_channel": [Share("SMS", 1, 9)]}, []),  # too few to say anything
        ({"by_channel": [Share("SMS", 95, 100)]}, []),
        ({"by_channel": [Share("SMS", 94, 100)]}, ["SMS: 94 of 100 deliveries were sent in the last 15 minutes"]),
        (
            {"new_letters": {"CRASHED": 1, "PLANNING": 4}},
            ["5 new dead letters in the last 15 minutes, 4 of them PLANNING"],
        ),
        (
            {
                "providers": [
                    Provider("PUSH", "fcm", State.HALF_OPEN),
                    Provider("EMAIL", "smtp", State.CLOSED, NOW),
                    Provider("SMS", "twilio", State.OPEN, NOW - timedelta(minutes=8)),
                ]
            },
            ["! SMS by twilio: breaker open since 14:02", "PUSH by fcm: tried again"],
        ),
    ],
)
def test_problems(settings: Settings, found: dict[str, Any], said: list[str]) -> None:
    assert words(settings, **found) == said


def test_a_beat_that_stopped(settings: Settings) -> None:
    served = frozenset(queue.name for queue in settings.CELERY_TASK_QUEUES)
    stand_still = "retries, fallbacks and repairs stand still"
    assert words(settings, signs=signs(15.0, w1=served)) == []
    assert words(settings, signs=signs(40.0, w1=served)) == [f"! Beat: its last tick was 40 s ago; {stand_still}"]
    assert words(settings, signs=signs(None, w1=served)) == [f"! Beat: no tick is known; {stand_still}"]


def test_a_provider_is_away_since_it_first_was() -> None:
    def change(minutes: int, state: str, provider: str = "twilio") -> tuple[str, str, str, datetime]:
        return "SMS", provider, state, NOW - timedelta(minutes=minutes)

    changes = [
        change(1, "OPEN"),
        change(2, "HALF_OPEN"),
        change(2, "CLOSED", "other"),
        change(3, "OPEN"),
        change(4, "CLOSED"),
        change(5, "OPEN"),
        change(6, "OPEN", "other"),
    ]
    assert figures.away_since(changes) == {("SMS", "twilio"): NOW - timedelta(minutes=3)}


def test_durations() -> None:
    said = [duration(seconds) for seconds in (0.4, 119, 120, 7199, 7200, 172_799, 172_800)]
    assert said == ["0 s", "119 s", "2 min", "120 min", "2 h", "48 h", "2 days"]


def test_a_chart_has_a_scale_and_says_what_it_shows() -> None:
    begin = NOW - timedelta(minutes=3)
    numbers = [(0, 0), (3, 1), (11, 2), (1, 0)]
    drawn = chart(
        "Deliveries a minute",
        "deliveries",
        [
            (begin + timedelta(minutes=place), [("good", "sent", sent), ("bad", "failed", failed)])
            for place, (sent, failed) in enumerate(numbers)
        ],
    )
    assert drawn.says == "13 in the last full minute, 18 deliveries in the last hour, at most 13 a minute at 14:09."
    assert [number for _, number in drawn.lines] == ["0", "10", "20"]
    assert [len(bar.parts) for bar in drawn.bars] == [0, 2, 2, 1]
    assert [bar.so_far for bar in drawn.bars] == [False, False, False, True]
    assert drawn.bars[1].says == "14:08 3 sent, 1 failed"
    good, bad = drawn.bars[2].parts
    assert good.y + good.height == pytest.approx(HEIGHT - BELOW)  # it stands on the line of nought
    assert bad.y + bad.height == pytest.approx(good.y)  # and the other on it


def test_the_figures_of_a_minute(settings: Settings) -> None:
    settings.CHANNELS = {"TOY": {"CHANNEL": "channels.testing.ToyChannel", "PROVIDERS": [REMOTE]}}
    counts = {
        (measures.EVENTS_RECORDED.name, "A"): 2,
        (measures.EVENTS_RECORDED.name, "B"): 3,
        (measures.DELIVERIES.name, "SMS", "SENT"): 4,
        (measures.DELIVERIES.name, "EMAIL", "SENT"): 1,
        (measures.DELIVERIES.name, "EMAIL", "SKIPPED"): 7,
    }
    assert minute_of(0, counts) == figures.Minute(datetime(1970, 1, 1, tzinfo=UTC), 5, 5, 0)
    took = tally.observed(measures.TIME_TO_PROVIDER, ("TOY", "remote", "bulk"), [0.2, 0.2, 7.0])
    bulk, toy = speeds(took)
    assert (bulk.name, bulk.number, bulk.at_most) == ("bulk", 3, (0.25, 10, 10))
    assert (toy.name, toy.at_most) == ("TOY", bulk.at_most)
