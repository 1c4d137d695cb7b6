"""settings.BUSES from the environment: a bus whose address is set can be consumed (docs/event-bus.md)."""

from __future__ import annotations

import re
from typing import Any

from config.environment import number, pairs, refuse, text

EVENTS_IN = "notifier.events_in"
TOPIC = "order-events"
OFF = "off"  # for a name that has a default


def buses_from_environment() -> dict[str, dict[str, Any]]:
    """BUSES, as notifier/events_in/bus.py reads it."""
    found = {"kafka": _kafka(), "sqs": _sqs(), "amqp": _amqp(), "pubsub": _pubsub()}
    return {name: entry for name, entry in found.items() if entry}


def _kafka() -> dict[str, Any]:
    servers = text("KAFKA_BOOTSTRAP_SERVERS")
    if not servers:
        return {}
    topic = _short("KAFKA_TOPIC", TOPIC, 200)
    options = {
        "servers": servers,
        "topic": topic,
        "group": text("KAFKA_GROUP", "notifier"),
        "dead_letters": _dead_letters("KAFKA_DEAD_LETTER_TOPIC", f"{topic}.dlq", topic),
        "options": {**_login(), **pairs("KAFKA_OPTIONS")},
    }
    return {
        "BUS": f"{EVENTS_IN}.kafka.KafkaBus",
        "CLIENT": "confluent-kafka",
        "SOURCE": _short("KAFKA_SOURCE", topic, 100),
        "OPTIONS": options,
    }


def _sqs() -> dict[str, Any]:
    queue = text("SQS_QUEUE_URL")
    if not queue:
        return {}
    if not re.fullmatch(r"https?://[^/]+(/[^/]+)*/[\w-]{1,80}(\.fifo)?", queue):
        refuse(f"SQS_QUEUE_URL={queue!r} is no queue's address, as https://sqs.eu-central-1.amazonaws.com/123/orders.")
    name, fifo = queue.removesuffix(".fifo"), ".fifo" if queue.endswith(".fifo") else ""
    return {
        "BUS": f"{EVENTS_IN}.sqs.SqsBus",
        "CLIENT": "boto3",
        "SOURCE": _short("SQS_SOURCE", queue.rpartition("/")[2], 100),
        "OPTIONS": {
            "queue_url": queue,
            "dead_letters": _dead_letters("SQS_DEAD_LETTER_QUEUE_URL", f"{name}-dlq{fifo}", queue),
            "visibility": number("SQS_VISIBILITY", 60, least=3),
        },
    }


def _amqp() -> dict[str, Any]:
    url = text("AMQP_URL")
    if not url:
        return {}
    if not all(re.match(r"amqps?://", one) for one in url.split(";")):  # it holds a password, so it is not shown
        refuse("AMQP_URL is no broker's address; write it as amqps://notifier:password@rabbit.example/host.")
    queue = _short("AMQP_QUEUE", TOPIC, 200)
    return {
        "BUS": f"{EVENTS_IN}.amqp.AmqpBus",
        "CLIENT": "kombu",
        "SOURCE": _short("AMQP_SOURCE", queue, 100),
        "OPTIONS": {
            "url": url,
            "queue": queue,
            "dead_letters": _dead_letters("AMQP_DEAD_LETTER_QUEUE", f"{queue}.dlq", queue),
            "heartbeat": number("AMQP_HEARTBEAT", 30, least=1),
        },
    }


def _pubsub() -> dict[str, Any]:
    subscription = text("PUBSUB_SUBSCRIPTION")
    if not subscription:
        return {}
    named = re.fullmatch(r"projects/([^/]+)/subscriptions/([^/]+)", subscription)
    if not named:
        refuse(f"PUBSUB_SUBSCRIPTION={subscription!r}: write it as projects/shop/subscriptions/order-events.")
    project, name = named.groups()
    seconds = number("PUBSUB_ACK_DEADLINE", 60, least=10)
    return {
        "BUS": f"{EVENTS_IN}.pubsub.PubSubBus",
        "CLIENT": "google-cloud-pubsub",
        "SOURCE": _short("PUBSUB_SOURCE", name, 100),
        "OPTIONS": {
            "subscription": subscription,
            "dead_letters": _dead_letters("PUBSUB_DEAD_LETTER_TOPIC", f"projects/{project}/topics/{name}.dlq", ""),
            "deadline": seconds if seconds <= 600 else refuse("PUBSUB_ACK_DEADLINE is at most 600."),
        },
    }


def _dead_letters(variable: str, default: str, consumed: str) -> str:
    name = text(variable, default)
    if name == consumed:
        refuse(f"{variable} is {name!r}, which is consumed: its messages would go round for ever.")
    return "" if name == OFF else name


def _short(name: str, default: str, limit: int) -> str:
    """It is a column's, or part of one."""
    value = text(name, default)
    return value if len(value) <= limit else refuse(f"{name} has more than {limit} characters.")


def _login() -> dict[str, str]:
    """By name and password over TLS; KAFKA_OPTIONS may say otherwise."""
    user, password = text("KAFKA_USERNAME"), text("KAFKA_PASSWORD")
    if bool(user) != bool(password):
        refuse("KAFKA_USERNAME and KAFKA_PASSWORD go together; set both or none.")
    if not user:
        return {}
    return {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": user,
        "sasl.password": password,
    }
