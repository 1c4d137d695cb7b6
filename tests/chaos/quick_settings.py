"""The product's settings with a time chain of seconds: a test waits until a lease really ends, but not for long."""

from __future__ import annotations

from datetime import timedelta

from config import settings as product
from config.celery_settings import celery_settings, transport_options

globals().update({name: getattr(product, name) for name in dir(product) if name.isupper()})

PROVIDER_TIMEOUT = timedelta(seconds=2)
SLICE_TIMEOUT = timedelta(seconds=3)
DELIVERY_LEASE = timedelta(seconds=5)
TASK_SOFT_TIME_LIMIT = timedelta(seconds=8)
TASK_TIME_LIMIT = timedelta(seconds=10)
EVENT_LEASE = timedelta(seconds=12)
VISIBILITY_TIMEOUT = timedelta(seconds=30)

CHANNELS = product.CHANNELS
for _channel in CHANNELS.values():
    for _provider in _channel["PROVIDERS"]:
        if "timeout" in _provider["OPTIONS"]:
            _provider["OPTIONS"]["timeout"] = PROVIDER_TIMEOUT.total_seconds()

BROKER_TRANSPORT_OPTIONS = transport_options(VISIBILITY_TIMEOUT)
_celery = celery_settings(
    redis_url=product.REDIS_URL,
    channels=CHANNELS,
    soft=TASK_SOFT_TIME_LIMIT,
    hard=TASK_TIME_LIMIT,
    visibility_timeout=VISIBILITY_TIMEOUT,
)
_celery["CELERY_BEAT_SCHEDULE"]["repair scan"]["schedule"] = timedelta(seconds=1)
_celery["CELERY_BEAT_SCHEDULE"]["repair scan"]["options"]["expires"] = 1.0
globals().update(_celery)
