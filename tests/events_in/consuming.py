"""A running consumer, and what its port tells of it."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.integration.started import Started, started
from tests.processes import wait_for


def get(port: int, page: str) -> tuple[int, str]:
    """Status and text of an answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{page}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def metric(port: int, name: str, **labels: str) -> float:
    """The sum over the samples that have these labels."""
    _, text = get(port, "/metrics")
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())


@dataclass(frozen=True, slots=True)
class Consuming(Started):
    port: int

    def get(self, page: str) -> tuple[int, str]:
        return get(self.port, page)

    def metric(self, name: str, **labels: str) -> float:
        return metric(self.port, name, **labels)

    def is_served(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.get("/health/live")[0] == 200
        except OSError:
            return False

    def wait_until_ready(self) -> None:
        wait_for(lambda: self.get("/health/ready")[0] == 200, f"{self.log.name}: ready", 60)

    def wait_until_it_ends(self) -> int:
        return self.process.wait(60)


@contextmanager
def consuming(command: list[str], env: Mapping[str, str], log: Path, port: int) -> Iterator[Consuming]:
    with started(command, env, log) as one:
        consumer = Consuming(one.process, one.log, port)
        wait_for(consumer.is_served, f"{log.name}: its port", 60)
        yield consumer
