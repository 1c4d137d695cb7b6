"""How many events a second one consumer process records durably from a Kafka topic that is full, and what they cost."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

import orjson

from benchmarks.drain import CALLED, SLOWEST, received
from benchmarks.measures import spread
from benchmarks.processes import PROC, cpu_of, cpu_seconds
from benchmarks.stage import Stage, body
from tests.chaos.world import Person
from tests.events_in.brokers import KafkaTopic, Message, tansu, tansu_topic
from tests.events_in.consuming import metric
from tests.ports import free_port

EVENTS = 100_000
SPAN = """
    SELECT extract(epoch FROM max(recorded_at) - min(recorded_at))::float8 AS seconds, count(*) AS events
    FROM notifier_notificationevent WHERE source = %s
"""
ACCEPTED = """
    SELECT delivery.id::text, event.order_id
    FROM notifier_delivery AS delivery JOIN notifier_notificationevent AS event ON event.id = delivery.event_id
    WHERE event.order_id = ANY(%s) AND channel = ANY(%s)
"""
WARM_EVENTS = 50
GIVEN_UP = 300.0  # seconds


def kafka(stage: Stage, *, events: int = EVENTS) -> dict[str, float]:
    """Events a second from the first recorded to the last, and the CPU of all processes by part, in ms an event.

    The engine stands still. The broker is tansu, in memory; it and PostgreSQL (with fsync) share the cores. `client` is
    librdkafka's threads. The consumer's own thread is split by what decoding, validating and inserting cost alone, on
    such events; `loop` is the rest of it.
    """
    with tansu(stage.world.logs / "tansu.log") as broker:
        topic = tansu_topic(broker.address)
        topic.publish(_messages(stage.world.people, events))
        costs = _consume(stage, topic, broker.pid, events)
        (found,) = stage.query(SPAN, topic.source)
        stage.query("DELETE FROM notifier_notificationevent WHERE source = %s", topic.source)
    if found["events"] != events:
        raise RuntimeError(f"{found['events']} of {events} events from Kafka were recorded")
    parts = _parts(stage, events)
    costs["loop"] = max(0.0, costs.pop("own") - sum(parts.values()))
    return {"kafka": events / found["seconds"], **{f"kafka_cpu_ms_{name}": ms for name, ms in (costs | parts).items()}}


def kafka_latency(stage: Stage, rate: int, seconds: float) -> dict[str, float]:
    """Milliseconds from publishing on Kafka to each message's acceptance, at an even rate; the engine runs.

    Raises RuntimeError where a message never came.
    """
    log_from = stage.world.sandbox_log.stat().st_size
    with (
        tansu(stage.world.logs / "tansu.log") as broker,
        _consumer(stage, topic := tansu_topic(broker.address)) as port,
    ):
        topic.publish(_messages(stage.world.people, WARM_EVENTS))
        _until(port, WARM_EVENTS)
        published = _publish_evenly(topic, _messages(stage.world.people, round(rate * seconds)), rate)
        _until(port, WARM_EVENTS + len(published))
        stage.until_drained(60 + len(published) / SLOWEST)
    rows = stage.query(ACCEPTED, list(published), list(CALLED))
    log = received(stage, log_from)
    times = [log[row["id"]][0] - published[row["order_id"]] for row in rows if row["id"] in log]
    if len(times) != len(CALLED) * len(published):
        raise RuntimeError(f"of {len(published)} events {len(times)} messages came")
    return spread(times)


def _publish_evenly(topic: KafkaTopic, messages: Iterable[Message], rate: int) -> dict[str, float]:
    """When each order's message was handed to the producer, in ms since 1970."""
    published: dict[str, float] = {}
    began = time.time()
    for place, message in enumerate(messages):
        time.sleep(max(0.0, began + place / rate - time.time()))
        published[message.key] = 1000 * time.time()
        topic.publish([message])
    return published


def _messages(people: Sequence[Person], number: int) -> Iterator[Message]:
    for place in range(number):
        trigger = body(people[place % len(people)])
        yield Message(orjson.dumps(trigger), trigger["metadata"]["orderId"])


def _consume(stage: Stage, topic: KafkaTopic, broker: int, events: int) -> dict[str, float]:
    """CPU ms an event by what used them, between the first batch and the last event."""
    with _consumer(stage, topic) as port:
        consumer = stage.child("consumer").pid
        first = _until(port, 1)
        began = _used(stage, consumer, broker)
        _until(port, events)
        ended = _used(stage, consumer, broker)
    return {name: 1000 * (ended[name] - began[name]) / (events - first) for name in ended}


@contextmanager
def _consumer(stage: Stage, topic: KafkaTopic) -> Iterator[int]:
    """One process; its port."""
    port = free_port()
    stage.add("consumer", "manage", "consume_events", "--bus", "kafka", "--port", str(port))
    stage.start(["consumer"], {**topic.environment, "NOTIFIER_BUS_BACKLOG": "0"}, wait=False)
    yield port
    stage.stop(["consumer"])


def _used(stage: Stage, consumer: int, broker: int) -> dict[str, float]:
    """CPU seconds so far."""
    own = cpu_seconds((PROC / str(consumer) / "task" / str(consumer) / "stat").read_text())
    return {
        "own": own,
        "client": cpu_of([consumer]) - own,
        "broker": cpu_of([broker]),
        "postgres": cpu_of([stage.world.postgres.child.pid]),
    }


def _until(port: int, least: int) -> float:
    """How many are recorded, once they are so many: asked of the consumer, since counting rows costs PostgreSQL."""
    ends = time.monotonic() + GIVEN_UP
    while time.monotonic() < ends:
        with suppress(OSError):  # it starts
            if (found := metric(port, "notifier_bus_events_total", outcome="recorded")) >= least:
                return found
        time.sleep(0.2)
    raise RuntimeError(f"{least} events from Kafka were not recorded in {GIVEN_UP:.0f} s")


def _parts(stage: Stage, events: int) -> dict[str, float]:
    code = f"from benchmarks.bus_parts import measured; measured({min(events, 20_000)})"
    found: dict[str, float] = orjson.loads(stage.world.manage("shell", "--verbosity", "0", "--command", code))
    return found
