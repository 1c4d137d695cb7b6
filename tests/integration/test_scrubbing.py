"""Marked people, messages, keys and passwords go through every path there is, by real processes; no output shows them.

Output is what is read by others than those who may: the logs of all processes, the metrics, the events that Flower
lives on, what it asks workers, and the answers to other callers.
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis
from celery import Celery
from celery.events import EventReceiver
from django.conf import settings
from django.db import connection
from django.utils import timezone
from kombu import Connection

from notifier.links import preferences_url
from notifier.models import ApiKey, DeadLetter, NotificationEvent
from notifier.states import SETTLED
from preferences.models import Device, User
from tests import processes
from tests.ports import free_port
from tests.sandbox_process import Sandbox

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]

MARK = "zyxwvut"
EMAIL, GUEST = f"{MARK}.ada@mail.example", f"{MARK}.guest@mail.example"
PHONE = "+4915199887766"
SECRETS = (MARK, PHONE, PHONE[1:])
OTHERS = {"password": f"{MARK}-password", "api": f"nk_{MARK}key"}


@dataclass
class Outputs:
    """What was read where."""

    texts: dict[str, str] = field(default_factory=dict)

    def leaks(self) -> dict[str, str]:
        found = {}
        for name, text in self.texts.items():
            for secret in SECRETS:
                at = text.lower().find(secret)
                if at >= 0:
                    found[name] = text[max(0, at - 300) : at + 100]
        return found


class Web:
    """A caller over HTTP; keeps what answers to others than `key`'s owner said."""

    def __init__(self, url: str, key: str) -> None:
        self.url, self.key = url, key

    def __call__(self, method: str, path: str, body: object = None, *, key: str | None = None) -> tuple[int, str]:
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Authorization": f"Api-Key {key or self.key}"}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


@contextmanager
def running(sandbox: Sandbox, account: Path, logs: Path) -> Iterator[tuple[str, dict[str, Path]]]:
    """Web (its access log on, which the Procfile turns off), both workers in one, and Beat."""
    redis.Redis.from_url(settings.REDIS_URL).flushdb()
    port = free_port()
    commands = {
        "web": [sys.executable, "-m", "uvicorn", "config.asgi:application", "--port", str(port)],
        "worker": processes.celery("worker", "--concurrency", "2", "--loglevel", "INFO"),
        "beat": processes.celery("beat", "--loglevel", "INFO", "--schedule", str(logs / "beat")),
    }
    env = processes.environment(sandbox, account) | {"NOTIFIER_DATABASE_POOL": "4"}
    with processes.running(commands, env, logs) as paths:
        processes.wait_for(lambda: b"ready." in paths["worker"].read_bytes(), "worker ready")
        processes.wait_for(lambda: b"startup complete" in paths["web"].read_bytes(), "web ready")
        yield f"http://127.0.0.1:{port}", paths


def metadata(**more: Any) -> dict[str, Any]:
    return {"orderId": "ORD1", "trackingUrl": f"https://t.example/{MARK}", "reason": MARK, "note": MARK, **more}


def trigger_by_http(web: Web, ada: User) -> None:
    told = {"eventType": "ORDER_SHIPPED", "userId": str(ada.id), "metadata": metadata()}
    guest = {"eventType": "ORDER_PLACED", "recipient": {"email": GUEST, "phone": PHONE}, "metadata": metadata()}
    assert web("POST", "/notifications/trigger", told)[0] == 202
    assert web("POST", "/notifications/trigger/bulk", {"events": [guest, {"eventType": MARK}, told]})[0] == 202
    # what is wrong, in every way that comes to mind; only the caller itself sees its own words again
    for wrong in (
        {**told, "metadata": {"orderId": MARK * 50}},
        {**told, "userId": MARK},
        {**guest, "recipient": {"email": MARK, "phone": MARK, "locale": MARK}},
        {**told, MARK: MARK},
        b'{"eventType": "' + MARK.encode(),
        {**told, "metadata": metadata(note=f"{MARK}\0")},
    ):
        assert web("POST", "/notifications/trigger", wrong)[0] == 400
    assert web("POST", "/notifications/trigger", told, key=OTHERS["api"])[0] == 401


def trigger_by_celery(ada: User) -> None:
    caller = Celery("caller", broker=settings.REDIS_URL, set_as_current=False)

    def send(name: str, *, queue: str = "events", **kwargs: Any) -> None:
        caller.send_task(name, kwargs=kwargs, queue=queue, ignore_result=True)

    send("notifier.trigger", event_type="ORDER_DELAYED", user_id=str(ada.id), metadata=metadata())
    send("notifier.trigger", event_type="ORDER_PLACED", recipient={"email": GUEST}, metadata={"orderId": MARK * 50})
    send("notifier.trigger", event_type="ORDER_PLACED", recipient={"email": GUEST}, unexpected=MARK)
    send("notifier.trigger_many", events=[{"event_type": MARK, "metadata": MARK}, MARK])
    send("notifier.unheard_of", address=EMAIL)


def let_things_fail(sandbox: Sandbox, ada: User) -> None:
    """A provider that repeats the address in its refusal, a type that cannot be planned, a text that is too odd."""
    sandbox.fault(provider="twilio", mode="status", status=400, code="21211")
    sandbox.fault(provider="sendgrid", mode="status", status=400)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO notifier_notificationevent (id, source, body_hash, event_type, priority, user_id,
                recipient_key, order_id, metadata, status, round, plan_failures, expires_at)
            VALUES (%s, 'shop', 'x', 'NO_SUCH_TYPE', 1, %s, 'x', 'ORD9', %s, 'QUEUED', 8, 8,
                statement_timestamp() + interval '1 day')
            """,
            [uuid4(), ada.id, json.dumps(metadata())],
        )


def reconcile(web: Web, ada: User) -> None:
    """Of orders that are missing, and of what is none: a guest's, and one whose state, time and recipient are wrong."""
    base = {"state": "placed", "time": timezone.now().isoformat(), "metadata": metadata(orderId="ignored")}
    listed = [
        {**base, "orderId": "ORD7", "userId": str(ada.id)},
        {**base, "orderId": "ORD8", "recipient": {"email": GUEST, "phone": MARK}},
        {**base, "orderId": "ORD9", "state": MARK, "time": MARK},
        MARK,
    ]
    for path in ("/notifications/reconcile", "/notifications/reconcile/record"):
        assert web("POST", path, {"orders": listed, "graceMinutes": 0, "states": {MARK: MARK}})[0] == 400
        assert web("POST", path, {"orders": listed, "graceMinutes": 0})[0] == 200


def touch_the_person(web: Web, ada: User) -> None:
    person = f"/notifications/users/{ada.id}"
    assert web("PUT", person, {"email": EMAIL, "phone": PHONE})[0] == 200
    assert web("PUT", person, {"email": f"{MARK} is no address"})[0] == 400
    assert web("PUT", f"{person}/devices/{MARK}-token", {"platform": "ios"})[0] == 201
    assert web("PUT", f"{person}/devices/{MARK}-token", {"platform": MARK})[0] == 400
    assert web("DELETE", f"/notifications/users/{uuid4()}/devices/{MARK}-token")[0] == 404
    choice = {"userId": str(ada.id), "eventType": MARK, "channel": "SMS", "enabled": False}
    assert web("POST", "/notifications/preferences", choice)[0] == 400
    gone = {"kind": "email", "address": f"{MARK}.gone@mail.example"}
    assert web("POST", "/notifications/suppressed-addresses", gone)[0] == 201
    assert web("POST", "/notifications/suppressed-addresses", gone | {"address": MARK})[0] == 400
    assert web("POST", "/notifications/suppressed-addresses/search", gone)[0] == 200
    page = preferences_url(ada.id).removeprefix(settings.PUBLIC_URL)
    for path in (page, f"/preferences/{MARK}.token", f"/unsubscribe/{MARK}.token"):
        web("GET", path)
    body = f"username=root&password={OTHERS['password']}".encode()
    assert web("POST", "/admin/login/", body)[0] == 403


def test_nothing_of_people_is_in_any_output(sandbox: Sandbox, service_account: Path, tmp_path: Path) -> None:
    ada = User.objects.create_user(email=EMAIL, phone=PHONE)
    Device.objects.create(user=ada, token=f"{MARK}-device")
    _, key = ApiKey.issue("shop", ApiKey.SCOPES)
    told = Outputs()
    events: list[dict[str, Any]] = []
    with running(sandbox, service_account, tmp_path) as (url, logs), listening(events) as drain:
        web = Web(url, key)
        trigger_by_http(web, ada)
        trigger_by_celery(ada)
        processes.wait_for(lambda: DeadLetter.objects.filter(delivery=None).count() >= 3, "refused triggers")
        let_things_fail(sandbox, ada)
        trigger_by_http(web, ada)
        reconcile(web, ada)
        touch_the_person(web, ada)
        processes.wait_for(lambda: DeadLetter.objects.filter(cause="PLANNING").exists(), "what cannot be planned")
        processes.wait_for(all_settled, "all events are settled")
        told.texts["metrics"] = web("GET", "/metrics")[1]
        letters = web("GET", "/notifications/dead-letters?status=OPEN")[1]
        told.texts["dead letters by the API"] = letters
        told.texts["what Flower asks"] = flower_asks()
        drain()
        told.texts["task events"] = json.dumps(events, default=str)
    told.texts |= {name: path.read_text(errors="replace") for name, path in logs.items()}

    assert "\n\n".join(f"{k}: {v}" for k, v in told.leaks().items()) == ""
    received = {event["name"] for event in events if event["type"] == "task-received"}
    assert received >= {"notifier.trigger", "notifier.trigger_many", "notifier.deliver"}
    shown = {event["args"] for event in events if event["type"] == "task-received"}
    assert {"ORDER_DELAYED order ORD1", "ORDER_PLACED order …", "events (2): …, …"} <= shown
    assert "Bad Request" in told.texts["web"], "else nothing was logged that could leak"
    assert "/preferences/…" in told.texts["web"]
    assert "unregistered task" in told.texts["worker"]
    assert json.loads(letters)["results"]
    assert key not in told.texts["web"] + told.texts["worker"]


def all_settled() -> bool:
    return not NotificationEvent.objects.exclude(status__in=SETTLED).exists()


@contextmanager
def listening(events: list[dict[str, Any]]) -> Iterator[Any]:
    """As Flower does; gives what takes the events that are there."""
    caller = Celery("flower", broker=settings.REDIS_URL, set_as_current=False)
    with (
        Connection(settings.REDIS_URL) as link,
        EventReceiver(link, {"*": events.append}, app=caller).consumer_context() as subscribed,
    ):
        listener: Connection = subscribed[0]  # type: ignore[index] # the stubs take the tuple for its last part

        def drain() -> None:
            try:
                while True:
                    listener.drain_events(timeout=1)
            except TimeoutError:
                return

        drain()  # only now the subscription is in force
        yield drain


def flower_asks() -> str:
    command = processes.celery("inspect", "active", "--timeout", "3", "--json")
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=processes.ROOT).stdout
