"""Settings for mypy alone: with the apps that are not Notifier's own, whose models it would else not know."""

from config import settings as own

globals().update({name: getattr(own, name) for name in dir(own) if name.isupper()})

INSTALLED_APPS = [*globals()["INSTALLED_APPS"], "notifier_client.outbox", "examples.shop"]
NOTIFIER_URL = "http://127.0.0.1:1"
NOTIFIER_API_KEY = "none"
NOTIFIER_OUTBOX = {"URL": NOTIFIER_URL, "API_KEY": NOTIFIER_API_KEY}
