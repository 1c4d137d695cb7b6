"""The tasks of benchmarks.naive: one write by the ORM in each step."""

from __future__ import annotations

import base64
import json
import os
import urllib.parse
import urllib.request
from typing import cast

from celery import chord, shared_task
from django.db.models.functions import Now

from channels.models import InboxMessage
from notifier.models import Delivery, NotificationEvent
from preferences.models import User
from sandbox import credentials

CHANNELS = ("EMAIL", "SMS", "IN_APP")
SANDBOX = os.environ.get("TWILIO_BASE_URL", "")


@shared_task(name="naive.handle")
def handle(user_id: str, order_id: str, source: str) -> None:
    """Record, plan, publish."""
    event = NotificationEvent.objects.create(
        source=source, idempotency_key=order_id, body_hash=b"", event_type="ORDER_SHIPPED", priority=1,
        user_id=user_id, recipient_key=user_id, order_id=order_id, metadata={"orderId": order_id},
        expires_at=Now(), due_at=None, status="DISPATCHED",
    )  # fmt: skip
    deliveries = [Delivery.objects.create(event=event, channel=channel) for channel in CHANNELS]
    chord([send.si(str(delivery.id)) for delivery in deliveries], settle.si(str(event.id))).apply_async()


@shared_task(name="naive.send")
def send(delivery_id: str) -> None:
    delivery = Delivery.objects.select_related("event__user").get(pk=delivery_id)
    user = cast("User", delivery.event.user)
    text = f"Your order {delivery.event.order_id} is on its way."
    if delivery.channel == "EMAIL":
        _email(user.email or "", text)
    elif delivery.channel == "SMS":
        _sms(user.phone or "", text)
    else:
        InboxMessage.objects.create(user_id=user.id, delivery_id=delivery.id, title="Shipped", body=text)
    delivery.status = "SENT"
    delivery.save()


@shared_task(name="naive.settle")
def settle(event_id: str) -> None:
    event = NotificationEvent.objects.get(pk=event_id)
    event.status, event.settled_at = "SENT", Now()
    event.save()


def _email(address: str, text: str) -> None:
    mail = {
        "personalizations": [{"to": [{"email": address}]}],
        "from": {"email": "orders@shop.example"},
        "subject": "Shipped",
        "content": [{"type": "text/plain", "value": text}],
    }
    headers = {"Authorization": f"Bearer {credentials.SENDGRID_API_KEY}", "Content-Type": "application/json"}
    _post("/v3/mail/send", json.dumps(mail).encode(), headers)


def _sms(number: str, text: str) -> None:
    account = credentials.TWILIO_ACCOUNT_SID
    token = base64.b64encode(f"{account}:{credentials.TWILIO_AUTH_TOKEN}".encode()).decode()
    form = urllib.parse.urlencode({"To": number, "From": credentials.TWILIO_FROM, "Body": text})
    path = f"/2010-04-01/Accounts/{account}/Messages.json"
    _post(path, form.encode(), {"Authorization": f"Basic {token}"})


def _post(path: str, body: bytes, headers: dict[str, str]) -> None:
    with urllib.request.urlopen(urllib.request.Request(f"{SANDBOX}{path}", body, headers), timeout=5) as answer:
        answer.read()
