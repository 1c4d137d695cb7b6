"""The web process: `uvicorn config.asgi:application`."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
# each request has a thread of its own here, and would keep a connection of its own
os.environ.setdefault("NOTIFIER_DATABASE_POOL", "20")
application = get_asgi_application()
