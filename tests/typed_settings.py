"""Settings for mypy alone: with the apps that are not Notifier's own, whose models it would else not know."""

from config import settings as own

globals().update({name: getattr(own, name) for name in dir(own) if name.isupper()})

INSTALLED_APPS = [*globals()["INSTALLED_APPS"], "notifier_client.outbox"]
NOTIFIER_OUTBOX = {"URL": "http://127.0.0.1:1", "API_KEY": "none"}
