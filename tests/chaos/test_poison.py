"""T11: a message that kills its worker. Needs: the bound on crashes, and that who crashed goes alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.poison import POISON
from tests.chaos.stage import Stage
from tests.chaos.world import Plan, running

pytestmark = pytest.mark.processes

MOST_CRASHES = 3  # settings.MAX_CRASHES
SETTINGS = {"DJANGO_SETTINGS_MODULE": "tests.chaos.poison_settings"}


@pytest.fixture(scope="module")
def shared_stage() -> Iterator[Stage]:
    with running("test-poison", Plan(environment=SETTINGS, people=8)) as world:
        yield Stage(world)


def poison(stage: Stage, number: int) -> str:
    return stage.world.trigger("ORDER_SHIPPED", {"recipient": {"phone": f"{POISON}{number % 10}"}})


def crashes(stage: Stage, event: str) -> list[str]:
    return [attempt["outcome"] for attempt in stage.attempts(event, "SMS")]


def test_poison_is_given_up_and_takes_nobody_along(stage: Stage) -> None:
    """It falls in with others the first time; afterwards it goes alone."""
    bad = poison(stage, 1)
    good = [stage.trigger("SMS") for _ in range(8)]
    stage.until_settled(bad, *good)
    assert stage.statuses(bad)["SMS"] == "FAILED"
    assert crashes(stage, bad) == ["UNKNOWN"] * MOST_CRASHES
    for event in good:
        assert stage.statuses(event)["SMS"] == "SENT"
        assert len(stage.taken(event, "SMS")) == 1


@pytest.mark.slow
def test_much_poison_starves_nobody(stage: Stage) -> None:
    """Real crashes, one after the other; and more rows whose process is long gone than a sweep takes in."""
    bad = [poison(stage, n) for n in range(8)]
    stage.until(lambda: any(crashes(stage, event) for event in bad), "a first crash")
    old = [stage.trigger("SMS") for _ in range(60)]
    stage.until_settled(*old)
    copies = """
        INSERT INTO notifier_delivery (id, event_id, channel, status, skip_reason, hold_reason, detail, fallback_of,
            attempt, tries, crashes, provider, provider_message_id, lease_until)
        SELECT gen_random_uuid(), gen_random_uuid(), 'GONE', 'SENDING', '', '', '', '', 1, 1, 2, '', '',
               now() - interval '1 minute' FROM generate_series(1, 700)
    """
    stage.world.query(copies)
    good = [stage.trigger() for _ in range(10)]
    assert stage.until_settled(*good) < 20
    stage.until_settled(*bad, deadline=120)
    assert {stage.statuses(event)["SMS"] for event in bad} == {"FAILED"}
    assert all(len(crashes(stage, event)) <= MOST_CRASHES for event in bad)
    stage.until(lambda: not stage.world.one("SELECT count(*) FROM notifier_delivery WHERE status = 'SENDING'"), "swept")
    stage.world.query("DELETE FROM notifier_deadletter WHERE channel = 'GONE'")
    stage.world.query("DELETE FROM notifier_delivery WHERE channel = 'GONE'")
