"""A world that tests share, and the mark of those that are too slow for script/test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.stage import Stage
from tests.chaos.world import Plan, running

QUICK = {"DJANGO_SETTINGS_MODULE": "tests.chaos.quick_settings"}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "slow: left out unless chosen: pytest -m slow tests/chaos, or script/chaos --tests"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Slow tests run when they are asked for, by mark or by name."""
    if "slow" in config.option.markexpr or any("::" in argument for argument in config.args):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]


@pytest.fixture(scope="package")
def shared_stage() -> Iterator[Stage]:
    with running("test-chaos", Plan(environment=QUICK, people=8)) as world:
        yield Stage(world)


@pytest.fixture
def stage(shared_stage: Stage) -> Iterator[Stage]:
    """Everything runs and nothing is open, before and after; in the end all that ever happened is judged."""
    shared_stage.until_up()
    yield shared_stage
    shared_stage.until_up()
    shared_stage.until_settled()
    shared_stage.check()
