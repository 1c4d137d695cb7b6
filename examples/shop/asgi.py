"""For uvicorn: `uvicorn examples.shop.asgi:application`."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

os.environ["DJANGO_SETTINGS_MODULE"] = "examples.shop.settings"
application = get_asgi_application()
