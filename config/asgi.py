"""The web process: `uvicorn config.asgi:application`."""

import os

import django

from config.handler import ThreadKeepingHandler

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
# each request has a thread here, and each thread would keep a connection of its own
os.environ.setdefault("NOTIFIER_DATABASE_POOL", "20")
django.setup(set_prefix=False)
application = ThreadKeepingHandler()
