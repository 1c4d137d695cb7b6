"""What tests of the tally share: a beginning from nought, and a scrape."""

from __future__ import annotations

from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from notifier import liveness, tally
from notifier.measures import MEASURES
from notifier.quick_redis import quick_redis


def tally_of_nothing() -> None:
    """Nothing was counted, neither here nor in Redis, which this process asks again."""
    quick_redis.forget()
    tally.forget()
    with liveness.client_with(1) as client:
        for key in (tally.TOTALS, *client.scan_iter(f"{tally.MINUTE}*")):
            client.delete(key)


def scrape(client: Client) -> dict[str, dict[tuple[str, ...], float]]:
    """Values by metric, and by the labels' values in the order of their declaration; a bucket's bound comes last."""
    declared = {measure.name: measure.labels for measure in MEASURES}
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(answer.content.decode()):
        labels = declared[family.name] if family.name in declared else declared[f"{family.name}_total"]
        for sample in family.samples:
            key = tuple(sample.labels[name] for name in (*labels, "le") if name in sample.labels)
            found.setdefault(sample.name, {})[key] = sample.value
    return found
