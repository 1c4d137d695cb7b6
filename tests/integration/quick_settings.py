"""The product's settings with a time chain of seconds, for tests that wait until a link of it really runs out."""

from __future__ import annotations

from datetime import timedelta

from config import settings as product
from config.celery_settings import celery_settings, transport_options

globals().update({name: getattr(product, name) for name in dir(product) if name.isupper()})

PROVIDER_TIMEOUT = timedelta(seconds=1)
SLICE_TIMEOUT = timedelta(seconds=2)
DELIVERY_LEASE = timedelta(seconds=3)
TASK_SOFT_TIME_LIMIT = timedelta(seconds=4)
TASK_TIME_LIMIT = timedelta(seconds=5)
EVENT_LEASE = timedelta(seconds=6)
VISIBILITY_TIMEOUT = timedelta(seconds=7)

BROKER_TRANSPORT_OPTIONS = transport_options(VISIBILITY_TIMEOUT)
globals().update(
    celery_settings(
        redis_url=product.REDIS_URL,
        channels=product.CHANNELS,
        soft=TASK_SOFT_TIME_LIMIT,
        hard=TASK_TIME_LIMIT,
        visibility_timeout=VISIBILITY_TIMEOUT,
    )
)
