"""The manifests keep to Kubernetes' schemas, start what the Procfile starts, and stop it as the time chain asks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from django.conf import settings

from tests.deploy.known import all_known
from tests.deploy.promql import faults
from tests.deploy.test_process_files import PROCESSES, seconds, words
from tests.deploy.test_process_files import SERVICES as COMPOSE
from tests.deploy.test_rules import RECORDED

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes"
ROOT = FOLDER.parents[1]
VERSIONS = ("1.30", "1.37")  # from the oldest that should do to the newest that is known
KEPT = {"kustomization.yaml", "prometheus-adapter.yaml"}  # no manifests
FILES = sorted(path for path in FOLDER.rglob("*.yaml") if path.name not in KEPT)
MANIFESTS: list[dict[str, Any]] = [each for path in FILES for each in yaml.safe_load_all(path.read_text())]
DEPLOYMENTS = {
    each["metadata"]["name"].removeprefix("notifier-"): each for each in MANIFESTS if each["kind"] == "Deployment"
}
STATEMENT = 15  # seconds that one may take (config/settings.py)


def named(kind: str, name: str) -> dict[str, Any]:
    (found,) = [each for each in MANIFESTS if each["kind"] == kind and each["metadata"]["name"] == f"notifier-{name}"]
    return found


def pods() -> dict[str, dict[str, Any]]:
    """The spec of each kind of pod."""
    return {name: each["spec"]["template"]["spec"] for name, each in DEPLOYMENTS.items()} | {
        "migrate": named("Job", "migrate")["spec"]["template"]["spec"]
    }


def container(name: str) -> dict[str, Any]:
    (found,) = pods()[name]["containers"]
    return dict(found)


def label(manifest: dict[str, Any]) -> str:
    return f"{manifest['kind']} {manifest['metadata']['name']}"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("manifest", [each for each in MANIFESTS if each["kind"] not in {"ScaledObject"}], ids=label)
def test_manifests_keep_to_the_schemas(manifest: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


def test_a_misspelt_field_is_found() -> None:
    manifest = {**DEPLOYMENTS["web"], "spec": {**DEPLOYMENTS["web"]["spec"], "replica": 2}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, VERSIONS[-1], strict=True)


def test_kustomize_names_each_manifest_once() -> None:
    listed: list[Path] = []
    for path in FOLDER.rglob("kustomization.yaml"):
        found = yaml.safe_load(path.read_text())
        listed += [path.parent / name for name in found["resources"] if name.endswith(".yaml")]
        assert all((path.parent / name).exists() for name in [*found["resources"], *found.get("components", [])])
    assert sorted(listed) == [path for path in FILES if ".example." not in path.name]


@pytest.mark.parametrize("name", list(PROCESSES))
def test_processes_start_as_in_the_procfile(name: str) -> None:
    command = [word for word in container(name)["command"] if word != "--pidfile="]  # Beat's would be in the image
    asked = words(PROCESSES[name])
    assert command == (asked[3:] if asked[0] == "nice" else asked)  # in a container nobody else is to be nice to


def test_consumer_and_migration_start_as_in_compose() -> None:
    assert container("migrate")["command"] == COMPOSE["migrate"]["command"]
    expected = [word.replace("${NOTIFIER_BUS:-kafka}", "kafka") for word in COMPOSE["consumer"]["command"]]
    assert container("consumer")["command"] == expected


@pytest.mark.parametrize("name", ["worker", "worker-control"])
def test_workers_may_finish_what_they_do(name: str) -> None:
    assert pods()[name]["terminationGracePeriodSeconds"] > settings.TASK_TIME_LIMIT.total_seconds()


@pytest.mark.parametrize("name", ["worker", "worker-control", "web", "consumer"])
def test_the_time_to_stop_is_that_of_compose_or_longer(name: str) -> None:
    asked = pods()[name]["terminationGracePeriodSeconds"]
    assert asked >= seconds(COMPOSE[name]["stop_grace_period"]) > STATEMENT


@pytest.mark.parametrize("name", ["web", "worker-control", "worker", "beat", "flower", "consumer", "migrate"])
def test_containers_may_do_little(name: str) -> None:
    pod, only = pods()[name], container(name)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert f"USER {pod['securityContext']['runAsUser']}:" in (ROOT / "Dockerfile").read_text()
    assert pod["automountServiceAccountToken"] is False
    assert only["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"name": "tmp", "mountPath": "/tmp"} in only["volumeMounts"]
    assert {"requests", "limits"} <= set(only["resources"])


@pytest.mark.parametrize("name", list(DEPLOYMENTS))
def test_what_hangs_is_restarted(name: str) -> None:
    probe = container(name)["livenessProbe"]
    if "exec" in probe:
        assert probe["exec"]["command"] == COMPOSE[name]["healthcheck"]["test"][1:]


def test_web_is_asked_by_a_name_that_it_answers_to() -> None:
    hosts = named_config()["ALLOWED_HOSTS"].split(",")
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        (header,) = container("web")[probe]["httpGet"]["httpHeaders"]
        assert header["name"] == "Host"
        assert header["value"] in hosts
    assert "notifier-web.notifier.svc:8000" in (FOLDER / "README.md").read_text()
    assert "notifier-web.notifier.svc" in hosts


def named_config() -> dict[str, str]:
    (found,) = [each["data"] for each in MANIFESTS if each["kind"] == "ConfigMap"]
    return dict(found)


def test_every_variable_is_one_that_is_documented() -> None:
    (secret,) = [each["stringData"] for each in MANIFESTS if each["kind"] == "Secret"]
    patched = re.findall(r"/data/(\w+)", (FOLDER / "bus" / "kustomization.yaml").read_text())
    written = re.findall(r"^  # (\w+):", (FOLDER / "base" / "configmap.yaml").read_text(), re.MULTILINE)
    told = "".join((ROOT / "docs" / name).read_text() for name in ("configuration.md", "event-bus.md"))
    for name in [*named_config(), *secret, *patched, *written]:
        assert f"`{name}`" in told, name


@pytest.mark.parametrize("name", ["web", "worker-control", "worker", "consumer"])
def test_a_drained_node_takes_one_of_each_kind_at_a_time(name: str) -> None:
    budget = named("PodDisruptionBudget", name)["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["selector"] == DEPLOYMENTS[name]["spec"]["selector"]


def test_who_is_scaled_has_no_number_that_each_release_would_set_back() -> None:
    scaled = [each["spec"]["scaleTargetRef"]["name"] for each in MANIFESTS if "scaleTargetRef" in each.get("spec", {})]
    assert sorted(scaled) == ["notifier-web", "notifier-worker", "notifier-worker"]  # of one by KEDA
    for name in scaled:
        assert "replicas" not in DEPLOYMENTS[name.removeprefix("notifier-")]["spec"]


def test_autoscalers_ask_for_what_is_recorded() -> None:
    (scaled,) = [each for each in MANIFESTS if each["kind"] == "ScaledObject"]
    adapter = yaml.safe_load((FOLDER / "hpa" / "prometheus-adapter.yaml").read_text())["rules"]["external"][0]
    for query in (scaled["spec"]["triggers"][0]["metadata"]["query"], adapter["metricsQuery"], adapter["seriesQuery"]):
        assert "notifier:backlog:factor" in query
        assert faults(query, all_known(), RECORDED) == []
    external = named("HorizontalPodAutoscaler", "worker")["spec"]["metrics"][0]["external"]
    assert external["metric"]["name"] == adapter["name"]["as"]


def test_a_consumer_is_found_by_prometheus() -> None:
    service = named("Service", "consumer")["spec"]
    assert service["clusterIP"] == "None"
    assert str(service["ports"][0]["port"]) == container("consumer")["command"][-1]


def test_the_world_reaches_neither_metrics_nor_health() -> None:
    (ingress,) = [each["spec"] for each in MANIFESTS if each["kind"] == "Ingress"]
    paths = {path["path"] for rule in ingress["rules"] for path in rule["http"]["paths"]}
    assert not paths & {"/", "/metrics", "/health"}
