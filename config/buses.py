"""settings.BUSES from the environment: a bus whose address is set can be consumed (docs/event-bus.md)."""

from __future__ import annotations

from typing import Any

from config.environment import pairs, refuse, text

EVENTS_IN = "notifier.events_in"
TOPIC = "order-events"
OFF = "off"  # for a name that has a default


def buses_from_environment() -> dict[str, dict[str, Any]]:
    """BUSES, as notifier/events_in/bus.py reads it."""
    return {name: entry for name, entry in {"kafka": _kafka()}.items() if entry}


def _kafka() -> dict[str, Any]:
    servers = text("KAFKA_BOOTSTRAP_SERVERS")
    if not servers:
        return {}
    topic = _short("KAFKA_TOPIC", TOPIC, 200)
    dead_letters = text("KAFKA_DEAD_LETTER_TOPIC", f"{topic}.dlq")
    if dead_letters == topic:
        refuse(f"KAFKA_DEAD_LETTER_TOPIC is {topic!r}, which is consumed: its messages would go round for ever.")
    options = {
        "servers": servers,
        "topic": topic,
        "group": text("KAFKA_GROUP", "notifier"),
        "dead_letters": "" if dead_letters == OFF else dead_letters,
        "options": {**_login(), **pairs("KAFKA_OPTIONS")},
    }
    return {
        "BUS": f"{EVENTS_IN}.kafka.KafkaBus",
        "CLIENT": "confluent-kafka",
        "SOURCE": _short("KAFKA_SOURCE", topic, 100),
        "OPTIONS": options,
    }


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
