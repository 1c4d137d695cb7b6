"""Procfile, docker-compose.yml and Dockerfile start the same processes, and name the same queues."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
PROCESSES = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())
CONTROL_QUEUES = "events,control,urgent"


def test_the_procfile_lists_every_process() -> None:
    assert list(PROCESSES) == ["web", "worker-control", "worker", "beat", "flower"]


def test_one_worker_serves_the_control_queues_and_one_all_without_naming_them() -> None:
    assert f"--queues {CONTROL_QUEUES}" in PROCESSES["worker-control"]
    assert "queues" not in PROCESSES["worker"]
    assert CONTROL_QUEUES in COMPOSE["services"]["worker-control"]["command"]
    assert "--queues" not in COMPOSE["services"]["worker"]["command"]


def test_compose_runs_every_process_of_the_procfile() -> None:
    assert set(COMPOSE["services"]) == {"postgres", "redis", "migrate", *PROCESSES}


@pytest.mark.parametrize("name", ["migrate", *PROCESSES])
def test_our_services_wait_for_their_servers(name: str) -> None:
    service = COMPOSE["services"][name]
    conditions = {other: wait["condition"] for other, wait in service["depends_on"].items()}
    assert conditions["redis"] == "service_healthy"
    assert conditions.get("migrate") == "service_completed_successfully" or (
        conditions.get("postgres") == "service_healthy"
    )
    assert {"DATABASE_URL", "REDIS_URL"} <= set(service["environment"])
    assert service["env_file"] == ".env"


def test_queued_messages_survive_redis() -> None:
    command = " ".join(COMPOSE["services"]["redis"]["command"])
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command


@pytest.mark.parametrize("name", sorted(set(COMPOSE["services"]) - {"migrate", "beat", "flower"}))
def test_health_is_checked(name: str) -> None:
    assert COMPOSE["services"][name]["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}


def test_compose_keeps_to_its_specification() -> None:
    """The engine is not at hand here, so: every key is one that the Compose Specification knows."""
    known = {"build", "command", "depends_on", "env_file", "environment", "healthcheck", "image", "ports"}
    known |= {"restart", "stop_grace_period", "volumes"}
    assert {key for key in COMPOSE if not key.startswith("x-")} == {"name", "services", "volumes"}
    for service in COMPOSE["services"].values():
        assert set(service) <= known
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in COMPOSE["volumes"]
    assert all(
        set(service["depends_on"]) <= set(COMPOSE["services"])
        for service in COMPOSE["services"].values()
        if "depends_on" in service
    )


def test_the_image_holds_every_package_and_runs_as_a_plain_user() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    for package in ("config", "channels", "preferences", "notifier", "sandbox"):
        assert f"COPY {package} {package}" in lines
    assert "USER notifier" in lines


def test_compose_asks_for_no_secret_that_the_example_does_not_name() -> None:
    example = {line.split("=")[0] for line in (ROOT / ".env.example").read_text().splitlines() if "=" in line}
    asked = {part.split(":?")[0] for part in (ROOT / "docker-compose.yml").read_text().split("${") if ":?" in part}
    assert {name for name in asked if name.isupper()} <= example
