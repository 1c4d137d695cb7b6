"""settings.CHANNELS from the environment: a provider with credentials is on, half of them is a start error.

With DEBUG an unset provider is the sandbox; in production its channel is off, with a warning by notifier/checks.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import environ

from config.environment import all_or_none, number, text
from sandbox import credentials

PROVIDERS = "channels.providers"
TIMEOUT = 5.0  # seconds a call to a provider may take, connecting included

# Messages a second that an account takes by default, over all workers; 0 is no limit.
SENDGRID_RATE = 0  # its documentation names none for mail/send; a 429 is waited out ("Rate limits")
SENDGRID_BATCH = 4  # mails a call: as many outcomes stay unknown when its answer is lost
SMTP_RATE = 0  # the mail server's own affair
TWILIO_RATE = 100  # a short code's; other senders carry less, and Twilio queues the rest ("Rate limits and queues")
FCM_RATE = 10_000  # 600,000 a minute for a project (Firebase, "Throttling and quotas")


def channels_from_environment(
    *, debug: bool, data_dir: Path, sandbox_url: str, public_url: str, shop: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """CHANNELS: per channel its class, and its providers in the order in which they are asked."""
    sandbox = sandbox_url if debug else ""
    found = {
        "EMAIL": ("channels.email.EmailChannel", [*_sendgrid(sandbox, shop), *_smtp(shop)]),
        "SMS": ("channels.sms.SmsChannel", _twilio(sandbox, public_url)),
        "PUSH": ("channels.push.PushChannel", _fcm(sandbox, data_dir)),
        "IN_APP": ("channels.in_app.InAppChannel", [{"PROVIDER": "channels.in_app.InboxProvider", "OPTIONS": {}}]),
    }
    channels: dict[str, dict[str, Any]] = {
        name: {"CHANNEL": path, "PROVIDERS": providers} for name, (path, providers) in found.items() if providers
    }
    if "SMS" in channels:
        channels["SMS"]["DAILY_BUDGET"] = number("SMS_DAILY_BUDGET", 0)
    return channels


def _sendgrid(sandbox: str, shop: Mapping[str, str]) -> list[dict[str, Any]]:
    key = text("SENDGRID_API_KEY", credentials.SENDGRID_API_KEY if sandbox else "")
    options = {
        "api_key": key,
        "base_url": text("SENDGRID_BASE_URL", sandbox or "https://api.sendgrid.com"),
        "sender": shop["email_from"],
        "reply_to": shop["email_reply_to"],
        "timeout": TIMEOUT,
        "batch": number("SENDGRID_BATCH", SENDGRID_BATCH),
    }
    rate = number("SENDGRID_RATE", SENDGRID_RATE)
    return [{"PROVIDER": f"{PROVIDERS}.sendgrid.SendGridProvider", "OPTIONS": options, "RATE": rate}] if key else []


def _smtp(shop: Mapping[str, str]) -> list[dict[str, Any]]:
    url = text("SMTP_URL")
    if not url:
        return []
    parsed = environ.Env.email_url_config(url)
    options = {
        "backend": parsed["EMAIL_BACKEND"],
        "backend_options": {
            "host": parsed["EMAIL_HOST"],
            "port": parsed["EMAIL_PORT"],
            "username": parsed["EMAIL_HOST_USER"],
            "password": parsed["EMAIL_HOST_PASSWORD"],
            "use_tls": parsed.get("EMAIL_USE_TLS", False),
            "use_ssl": parsed.get("EMAIL_USE_SSL", False),
        },
        "sender": shop["email_from"],
        "reply_to": shop["email_reply_to"],
        "timeout": TIMEOUT,
    }
    rate = number("SMTP_RATE", SMTP_RATE)
    return [{"PROVIDER": f"{PROVIDERS}.smtp.DjangoEmailProvider", "OPTIONS": options, "RATE": rate}]


def _twilio(sandbox: str, public_url: str) -> list[dict[str, Any]]:
    names = ("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_FROM")
    if not all_or_none(*names) and not sandbox:
        return []
    options = {
        "account_sid": text("TWILIO_ACCOUNT_SID", credentials.TWILIO_ACCOUNT_SID),
        "auth_token": text("TWILIO_AUTH_TOKEN", credentials.TWILIO_AUTH_TOKEN),
        "sender": text("TWILIO_FROM", credentials.TWILIO_FROM),
        "base_url": text("TWILIO_BASE_URL", sandbox or "https://api.twilio.com"),
        "public_url": public_url if sandbox or text("PUBLIC_URL") else "",  # Twilio cannot call a loopback address
        "timeout": TIMEOUT,
    }
    rate = number("TWILIO_RATE", TWILIO_RATE)
    return [{"PROVIDER": f"{PROVIDERS}.twilio.TwilioProvider", "OPTIONS": options, "RATE": rate}]


def _fcm(sandbox: str, data_dir: Path) -> list[dict[str, Any]]:
    configured = all_or_none("FCM_PROJECT_ID", "FCM_SERVICE_ACCOUNT_FILE")
    if not configured and not sandbox:
        return []
    account = text("FCM_SERVICE_ACCOUNT_FILE")
    if not configured:
        account = str(data_dir / "sandbox-service-account.json")
        if not Path(account).exists():
            Path(account).parent.mkdir(parents=True, exist_ok=True)
            credentials.write_service_account(Path(account), f"{sandbox}/token")
    options = {
        "project_id": text("FCM_PROJECT_ID", credentials.FCM_PROJECT_ID),
        "service_account_file": account,
        "base_url": text("FCM_BASE_URL", sandbox or "https://fcm.googleapis.com"),
        "timeout": TIMEOUT,
    }
    rate = number("FCM_RATE", FCM_RATE)
    return [{"PROVIDER": f"{PROVIDERS}.fcm.FcmProvider", "OPTIONS": options, "RATE": rate}]
